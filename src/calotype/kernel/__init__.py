"""Shared value types: no I/O and no third-party import but msgspec."""
