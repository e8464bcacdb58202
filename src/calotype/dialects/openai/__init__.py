"""OpenAI's API, inbound (`wire/providers.md §7`, `wire/products.md A`): images, videos, models, files, pricing."""

from calotype.dialects.openai.app import OpenAIDialect

__all__ = ["OpenAIDialect"]
