"""Where a request may run: data class, region, key and model decide before any byte leaves."""

from calotype.routing.plan import Plan, plan
from calotype.routing.stamp import Stamp

__all__ = ["Plan", "Stamp", "plan"]
