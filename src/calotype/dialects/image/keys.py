"""API keys of an organisation, for whoever holds a key of scope ADMIN (`wire/products.md D1`)."""

from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from calotype.accounts import KeyRecord
from calotype.dialects.image.answers import JSON, rate_headers, success
from calotype.dialects.image.desk import RATE, Desk, ImageExchange
from calotype.kernel.errors import Code, Problem

MAX_NAME_CHARS = 100
MAX_RATE = 1_000_000
Asked = TypeVar("Asked", bound=Struct)


class NewKey(Struct, forbid_unknown_fields=True):
    """A key to be made: its name, and how many requests it may send in a minute."""

    name: str
    rateLimit: int | None = None  # noqa: N815  (the wire's own name)


class KeyChange(Struct, forbid_unknown_fields=True):
    """What of a key may change."""

    name: str | None = None
    rateLimit: int | None = None  # noqa: N815
    enabled: bool | None = None


async def create_key(desk: Desk, x: ImageExchange) -> None:
    """Make a key: with the class, the bounds and the budget of the one that makes it, but without its scope ADMIN."""
    caller = await desk.administrator(x)
    _, body = await desk.body(x)
    asked = _read(body, NewKey)
    rate = _rate(asked.rateLimit, caller.key)
    record, text = await desk.accounts.key_from(caller.key, name=_name(asked.name), requests_per_minute=rate)
    await _tell(desk, x, 201, {"keyId": record.id, "key": text, "name": record.name})


async def list_keys(desk: Desk, x: ImageExchange) -> None:
    """Answer the organisation's keys, oldest first, without their secrets; revoked ones are left out."""
    caller = await desk.administrator(x)
    found = await desk.accounts.list_keys(caller.org.id)
    await _tell(desk, x, 200, {"keys": [key_object(one) for one in found if one.revoked_at_ms is None]})


async def get_key(desk: Desk, x: ImageExchange) -> None:
    """Answer one key."""
    caller = await desk.administrator(x)
    await _tell(desk, x, 200, key_object(await _found(desk, caller.org.id, x.rest)))


async def change_key(desk: Desk, x: ImageExchange) -> None:
    """Rename a key, change its rate, or switch it off and on."""
    caller = await desk.administrator(x)
    _, body = await desk.body(x)
    asked = _read(body, KeyChange)
    await _found(desk, caller.org.id, x.rest)
    record = await desk.accounts.change_key(
        x.rest, org_id=caller.org.id, name=None if asked.name is None else _name(asked.name),
        requests_per_minute=_rate(asked.rateLimit, caller.key), enabled=asked.enabled,
    )  # fmt: skip
    await _tell(desk, x, 200, key_object(record))


async def delete_key(desk: Desk, x: ImageExchange) -> None:
    """Revoke a key for good."""
    caller = await desk.administrator(x)
    await _found(desk, caller.org.id, x.rest)
    await desk.accounts.revoke(x.rest, org_id=caller.org.id)
    await x.answer(204, rate_headers(desk.door.standing(caller.key, x.scope, RATE)), b"")


def key_object(record: KeyRecord) -> dict[str, Any]:
    """Return a key as it is shown after it was made."""
    return {
        "keyId": record.id,
        "name": record.name,
        "rateLimit": record.requests_per_minute,
        "enabled": record.disabled_at_ms is None,
        "class": record.key_class.value,
        "scopes": sorted(scope.value for scope in record.scopes),
        "createdAt": _moment(record.created_at_ms),
        "expiresAt": None if record.expires_at_ms is None else _moment(record.expires_at_ms),
    }


async def _found(desk: Desk, org_id: str, key_id: str) -> KeyRecord:
    for record in await desk.accounts.list_keys(org_id):
        if record.id == key_id and record.revoked_at_ms is None:
            return record
    raise Problem(Code.NOT_FOUND, "There is no such key.", field="id")


async def _tell(desk: Desk, x: ImageExchange, status: int, data: Any) -> None:
    standing = None if x.caller is None else desk.door.standing(x.caller.key, x.scope, RATE)
    await x.answer(status, [JSON, *rate_headers(standing), (b"cache-control", b"no-store")], success(data))


def _read(body: dict[str, Any], kind: type[Asked]) -> Asked:
    try:
        return msgspec.convert(body, kind)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".") or next((one for one in ("name",) if f"`{one}`" in sentence), None)
        data = {"rule": "required"} if "missing required" in sentence else {}
        raise Problem(Code.INVALID_INPUT, f"{sentence[:200]}.", field=field, data=data) from None


def _name(given: str) -> str:
    if not 1 <= len(given.strip()) <= MAX_NAME_CHARS or not given.isprintable():
        raise Problem(Code.INVALID_INPUT, f"name has 1 to {MAX_NAME_CHARS} characters that can be shown.", field="name")
    return given.strip()


def _rate(given: int | None, maker: KeyRecord) -> int | None:
    """Check a rate; nobody gives away more than its own."""
    most = maker.requests_per_minute or MAX_RATE
    if given is not None and not 1 <= given <= most:
        raise Problem(Code.INVALID_INPUT, f"rateLimit is from 1 to {most} requests a minute.", field="rateLimit")
    return given


def _moment(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
