"""A caller of the fal dialect over plain HTTP."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from running import Account, House
from upstream import Upstream

MODEL = "test/picture"


class Fal:
    """The queue and the direct calls over plain HTTP, with a key."""

    def __init__(self, client: httpx2.Client, key: str) -> None:
        self.client = client
        self.auth = {"authorization": f"Key {key}"}

    def ask(self, method: str, path: str, **given: Any) -> httpx2.Response:
        headers = self.auth | given.pop("headers", {})
        return self.client.request(method, path, headers=headers, **given)

    def submit(self, model: str = MODEL, query: str = "", **given: Any) -> httpx2.Response:
        body = given.pop("json", {"prompt": "a lighthouse"})
        return self.ask("POST", f"/fal/queue/{model}{query}", json=body, **given)

    def run(self, model: str = MODEL, **given: Any) -> httpx2.Response:
        body = given.pop("json", {"prompt": "a lighthouse"})
        return self.ask("POST", f"/fal/run/{model}", json=body, **given)

    def status(self, ident: str, logs: str = "", model: str = MODEL) -> httpx2.Response:
        return self.ask("GET", f"/fal/queue/{model}/requests/{ident}/status{logs}")

    def result(self, ident: str, model: str = MODEL) -> httpx2.Response:
        return self.ask("GET", f"/fal/queue/{model}/requests/{ident}")

    def cancel(self, ident: str, model: str = MODEL) -> httpx2.Response:
        return self.ask("PUT", f"/fal/queue/{model}/requests/{ident}/cancel")

    def wait(self, ident: str) -> httpx2.Response:
        """Follow the status stream to its end, then answer the status."""
        with self.client.stream(
            "GET", f"/fal/queue/{MODEL}/requests/{ident}/status/stream", headers=self.auth
        ) as events:
            for _ in events.iter_lines():
                pass
        return self.status(ident)


@pytest.fixture
def fal(http: httpx2.Client, account: Account) -> Fal:
    return Fal(http, account.key())


@pytest.fixture
def gated(upstream: Upstream) -> Iterator[Upstream]:
    """Return the upstream holding every request until the test opens its gate."""
    upstream.gate.clear()
    yield upstream
    upstream.gate.set()


@pytest.fixture
def fal_of(house: House, http: httpx2.Client) -> Any:
    """Return a function that makes a caller of an organisation of its own."""

    def make(**org: Any) -> Fal:
        return Fal(http, house.account(**org).key())

    return make
