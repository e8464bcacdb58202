"""Short-lived tokens by which a browser opens a realtime session or a stream without a key (`wire/fal.md §6.2, §6.3`).

A token names the key it was made with and the models it is for. It is good for nothing else, nobody reads a key out of
it, and it ends with its key.
"""

from typing import Any

import msgspec
from msgspec import Struct

from calotype.dialects.door import Caller, json_object
from calotype.dialects.fal.answers import tell
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.endpoints import polled_as
from calotype.kernel.errors import Code, Problem

IN_QUERY = "fal_jwt_token"
USUAL_S = 120
LONGEST_S = 3600
MOST_APPS = 20
MOST_CHARS = 200
LIFETIMES = ("token_expiration", "duration")
"""What the clients call the lifetime, and what the newer address does."""


class Pass(Struct, frozen=True, array_like=True):
    """What a token allows: to use a key for some models until a moment, in Unix seconds."""

    key_id: str
    apps: tuple[str, ...]
    until_s: int


_encode = msgspec.msgpack.Encoder().encode
_decoder = msgspec.msgpack.Decoder(Pass)


async def make_token(desk: Desk, x: FalExchange) -> None:
    """Answer a token as a bare JSON text, the one form that every client reads."""
    caller = await desk.door.enter(x, counted=False)
    given = json_object(await desk.door.body(x))
    until_s = desk.now_s() + _lifetime_s(given)
    apps = _apps(given.get("allowed_apps"))
    claim = _encode(Pass(caller.key.id, apps, until_s))
    await tell(x, 200, desk.tickets.passes.close(claim))


async def caller_of(desk: Desk, x: FalExchange, endpoint: str) -> Caller:
    """Return who calls, by a key in the headers or else by a token for this endpoint in the query.

    Raises:
        Problem: `invalid_api_key`, the same for every kind of token that is not good here.

    """
    token = x.query.get(IN_QUERY)
    if token is None or b"authorization" in x.headers:
        return await desk.door.enter(x, counted=False)
    claim = desk.tickets.passes.open(token)
    found = None if claim is None else _decoder.decode(claim)
    if found is None or found.until_s <= desk.now_s() or not any(_covers(app, endpoint) for app in found.apps):
        raise Problem(Code.INVALID_API_KEY, "The token is wrong, expired or for another application.")
    return await desk.door.leave_of(found.key_id)


def _covers(app: str, endpoint: str) -> bool:
    """Say whether an entry of `allowed_apps` means an endpoint: by its alias alone, or as the beginning of its id."""
    if "/" not in app:
        return polled_as(endpoint).rpartition("/")[2] == app
    return endpoint == app or endpoint.startswith(f"{app}/")


def _apps(value: Any) -> tuple[str, ...]:
    listed = value if isinstance(value, list) else []
    apps = tuple(
        app.strip("/")
        for app in listed
        if isinstance(app, str) and app.isascii() and 0 < len(app.strip("/")) <= MOST_CHARS
    )
    if not 0 < len(listed) == len(apps) <= MOST_APPS:
        sentence = f"allowed_apps must list 1 to {MOST_APPS} applications, such as flux or fal-ai/flux."
        raise Problem(Code.INVALID_INPUT, sentence, field="allowed_apps")
    return apps


def _lifetime_s(given: dict[str, Any]) -> int:
    for name in LIFETIMES:
        value = given.get(name)
        if value is None:
            continue
        if type(value) is not int or value < 1:
            raise Problem(Code.INVALID_INPUT, f"{name} must be a whole number of seconds.", field=name)
        return min(value, LONGEST_S)
    return USUAL_S
