"""Upstreams to run against without an account: they answer in the real wire shapes, and misbehave when asked to."""
