"""The jobs API, inbound (`wire/products.md B`): services that make a job to poll, credits, a chat, media tools."""

from calotype.dialects.jobs.app import JobsDialect

__all__ = ["JobsDialect"]
