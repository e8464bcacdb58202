"""A caller of realtime sessions over a plain WebSocket."""

import contextlib
import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import msgspec
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from running import Account, House

ALIAS = "picture"
ENDPOINT = "test/picture"
WAIT_S = 30


class Session:
    """One open session; what was told beside results is kept."""

    def __init__(self, socket: ClientConnection) -> None:
        self.socket = socket
        self.notes: list[dict[str, Any]] = []

    def send(self, **given: Any) -> None:
        self.socket.send(msgspec.msgpack.encode(given))

    def send_json(self, given: Any) -> None:
        self.socket.send(json.dumps(given))

    def heard(self) -> Any:
        """Wait for the next result or error."""
        while True:
            message = self.socket.recv(timeout=WAIT_S)
            if isinstance(message, bytes):
                return msgspec.msgpack.decode(message)
            body = json.loads(message)
            if body.get("type") != "x-fal-message":
                return body
            self.notes.append(body)

    def ask(self, **given: Any) -> Any:
        self.send(**given)
        return self.heard()

    @property
    def closed(self) -> tuple[int, str]:
        """Read on to the end of the session; its code and reason."""
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.notes.append({"after": self.heard()})
        assert self.socket.close_code is not None
        return self.socket.close_code, self.socket.close_reason or ""


def token(house: House, key: str, *apps: str, **more: Any) -> str:
    """Fetch a token as the clients do."""
    with httpx2.Client(base_url=house.url, timeout=WAIT_S) as client:
        answer = client.post(
            "/fal/rest/tokens/", headers={"authorization": f"Key {key}"},
            json={"allowed_apps": apps or [ALIAS], "token_expiration": 120, **more},
        )  # fmt: skip
    assert answer.status_code == 200, answer.text
    return str(answer.json())


@contextlib.contextmanager
def opened(
    house: House, endpoint: str = ENDPOINT, query: str = "", suffix: str = "/realtime", **headers: str
) -> Iterator[Session]:
    """Open a session; `query` begins with its question mark."""
    url = f"{house.url.replace('http', 'ws', 1)}/fal/run/{endpoint}{suffix}{query}"
    with connect(url, additional_headers=headers, open_timeout=WAIT_S, max_size=None) as socket:
        yield Session(socket)


@contextlib.contextmanager
def keyed(house: House, key: str, endpoint: str = ENDPOINT, query: str = "", **more: str) -> Iterator[Session]:
    """Open a session with a key, as Python does without a token."""
    with opened(house, endpoint, query, authorization=f"Key {key}", **more) as session:
        yield session


def wait_for(house: House, count: str, wanted: int, account: Account) -> None:
    """Look until so many rows are there; `:org` begins with the organisation."""
    until_s = time.monotonic() + WAIT_S
    while house.rows(count, org=f"{account.org.id}%") != [(wanted,)]:
        assert time.monotonic() < until_s, count
        time.sleep(0.02)
