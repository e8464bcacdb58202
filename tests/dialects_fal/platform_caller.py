"""A caller of the Platform API: with a key of scope ADMIN, with one of scope API, or with none."""

from typing import Any

import httpx2
import pytest
from fal_caller import Fal

from calotype.db import Sql
from calotype.kernel.generation import Scope
from running import Account, House


class Platform:
    """One organisation's view of the Platform API."""

    def __init__(self, client: httpx2.Client, account: Account) -> None:
        self.client = client
        self.account = account
        self.admin_id, self.admin = account.keyed(scopes=(Scope.API, Scope.ADMIN))
        self.plain_id, self.plain = account.keyed()
        self.fal = Fal(client, self.plain)

    def ask(self, method: str, path: str, *, key: str | None = "admin", **given: Any) -> httpx2.Response:
        headers = dict(given.pop("headers", {}))
        if key is not None:
            headers["authorization"] = f"Key {getattr(self, key, key)}"
        return self.client.request(method, f"/fal/api/v1{path}", headers=headers, **given)

    def get(self, path: str, *, key: str | None = "admin", **params: Any) -> Any:
        answer = self.ask("GET", path, key=key, params=params)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def made(self, **given: Any) -> str:
        """Make a picture and return its request's id."""
        answer = self.fal.run(**given)
        assert answer.status_code == 200, answer.text
        return answer.headers["x-fal-request-id"]


def rewrite(house: House, statement: str, **values: Any) -> None:
    """Change rows behind the server's back."""

    async def write() -> None:
        await house.app.db.write(lambda tx: tx.execute(Sql(statement), values))

    house.ask(write())


@pytest.fixture
def platform(http: httpx2.Client, account: Account) -> Platform:
    return Platform(http, account)


@pytest.fixture
def other(house: House, http: httpx2.Client) -> Platform:
    """Return another organisation's view."""
    return Platform(http, house.account())
