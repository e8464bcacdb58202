"""Content by fixed prices (`wire/products.md C`): a catalogue, a search, pictures, packs of them, and short films."""

from calotype.dialects.content.app import ContentDialect

__all__ = ["ContentDialect"]
