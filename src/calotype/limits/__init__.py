"""Bounds on what callers may ask of one process: a rate, and how many at once."""

from calotype.limits.gcra import Gcra
from calotype.limits.slots import Slots

__all__ = ["Gcra", "Slots"]
