"""Generation on this machine, without a service."""
