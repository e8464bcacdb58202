"""Webhooks of our own: the outbox delivered, signed and retried (the surface contract, §6)."""

from calotype.webhooks.deliver import Deliverer
from calotype.webhooks.sign import WebhookSigner

__all__ = ["Deliverer", "WebhookSigner"]
