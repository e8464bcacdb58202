"""The event log, the outbox of webhooks and the bus that wakes who waits."""
