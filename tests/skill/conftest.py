"""The fixtures of the running server."""

from house_fixtures import _upstream, account, cards_dir, house, http, upstream  # noqa: F401
