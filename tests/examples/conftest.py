"""The running server, also over TLS."""

from example_house import house  # noqa: F401

from dialects_fal.fal_tls import secure  # noqa: F401
