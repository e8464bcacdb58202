"""Double entry, append-only, in micro-USD; the only package that writes money."""
