"""fal's API as its real clients use it: queue, direct calls, storage (`wire/fal.md`)."""

from calotype.dialects.fal.app import FalDialect

__all__ = ["FalDialect"]
