"""Logs and metrics: what the server says about itself, never what callers said to it."""

from calotype.telemetry.logs import configure_logs
from calotype.telemetry.metrics import Metrics

__all__ = ["Metrics", "configure_logs"]
