"""One server and one upstream for all tests of the surface; each test has its own organisation and keys."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from running import Account, House, running
from upstream import Upstream

PRICE_MICRO = 40_000
UPSTREAM_KEY = "sk-upstream-5f0c2ad1"
CARDS = """
[[cards]]
id = "test/picture"
title = "Test picture"
operation = "text-to-image"
output = "image"
aliases = ["picture"]

[cards.input]
required = ["prompt"]

[cards.input.properties]
prompt = { "$ref" = "_shared.toml#/prompt" }
n = { "$ref" = "_shared.toml#/n" }
size = { "$ref" = "_shared.toml#/size" }
seed = { "$ref" = "_shared.toml#/seed" }
quality = { type = "string", enum = ["low", "high"] }
guidance = { type = "number", minimum = 0, maximum = 20 }

[cards.example]
prompt = "a lighthouse"

[[cards.routes]]
provider = "cloud"
kind = "openai"
upstream = "upstream-picture"
cost_source = "a test"
cost = { unit = "image", micro = 30_000 }
"""


def settings_for(upstream: Upstream, **more: Any) -> dict[str, Any]:
    return {
        "providers": {"cloud": {"kind": "openai", "base_url": upstream.url, "api_key": UPSTREAM_KEY}},
        "prices": {"test/picture": PRICE_MICRO},
        **more,
    }


@pytest.fixture(scope="session")
def _upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    upstream.start()
    yield upstream
    upstream.stop()


@pytest.fixture
def upstream(_upstream: Upstream) -> Upstream:
    """Return the upstream with an empty memory and its best behaviour."""
    _upstream.reset()
    return _upstream


@pytest.fixture(scope="session")
def cards_dir(tmp_path_factory: pytest.TempPathFactory) -> Any:
    folder = tmp_path_factory.mktemp("cards")
    (folder / "test.toml").write_text(CARDS)
    return folder


@pytest.fixture(scope="session")
def house(_upstream: Upstream, cards_dir: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return the running server."""
    limits = {"max_body_bytes": 1 << 20}
    settings = settings_for(_upstream, cards_dir=cards_dir, limits=limits)
    with running(tmp_path_factory.mktemp("house"), **settings) as one:
        yield one


@pytest.fixture
def account(house: House, upstream: Upstream) -> Account:
    """Return an organisation with money, of this test alone."""
    return house.account()


@pytest.fixture
def http(house: House) -> Iterator[httpx2.Client]:
    """Return a plain HTTP client of the server."""
    with httpx2.Client(base_url=house.url, timeout=60) as client:
        yield client
