"""The fixtures of the running server, and Node with its packages."""

import pytest
from openai_kit import _emulated, _kit_house, kit  # noqa: F401

from house_fixtures import _upstream, account, cards_dir, house, http, upstream  # noqa: F401
from node import Node, installed


@pytest.fixture(scope="session")
def node() -> Node:
    """Return Node with the client packages."""
    return installed()
