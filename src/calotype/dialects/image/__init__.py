"""A simple REST dialect for pictures and films (`wire/products.md D`): generate, edit, models, keys, usage, health."""

from calotype.dialects.image.app import ImageDialect

__all__ = ["ImageDialect"]
