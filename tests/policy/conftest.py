"""The fixtures of the watched server."""

from watching import client, watched  # noqa: F401

from house_fixtures import _upstream, upstream  # noqa: F401
