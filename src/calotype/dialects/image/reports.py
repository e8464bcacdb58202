"""What there is, what was spent, and whether the server works."""

from datetime import UTC, datetime, timedelta
from typing import Any, get_args

from calotype.catalog import Card, rates
from calotype.dialects.image.answers import JSON, encode, rate_headers, success, usd_number
from calotype.dialects.image.desk import RATE, Desk, ImageExchange
from calotype.dialects.image.fields import taken
from calotype.dialects.image.offers import maker_of, verb_of
from calotype.jobs.spending import Group, Spent, spending
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import KeyClass
from calotype.kernel.generation import Scope as KeyScope

HEALTH_RATE = 120
"""Looks a minute from one address (`wire/products.md D1`)."""
USUAL_DAYS = 30
MOST_DAYS = 366
LAST_MS = 253_402_300_799_000
"""The end of the year 9999, the last that can be written."""
_DAY_MS = 86_400_000


async def models(desk: Desk, x: ImageExchange) -> None:
    """Answer the models that make pictures and films, whose they are, and what they take and cost."""
    caller = await desk.enter(x, counted=False)
    found = [model_object(desk, card) for card in desk.catalog.cards() if verb_of(card) is not None]
    standing = desk.door.standing(caller.key, x.scope, RATE)
    await x.answer(200, [JSON, *rate_headers(standing)], success({"models": found}))


def model_object(desk: Desk, card: Card) -> dict[str, Any]:
    """Return a model: `parameters` are those of this dialect, `prices` what the first route that runs here costs."""
    maker, verb = maker_of(card), verb_of(card)
    running = [route for route in card.routes if route.runs(desk.available)]
    prices: list[dict[str, Any]] = []
    route = next((one for one in (*running, *card.routes) if one.priced), None)
    if route is not None:
        for rate in rates(card, route, desk.catalog.pricing):
            price: dict[str, Any] = {"unit": rate.unit, "per": rate.per, "usd": usd_number(rate.price_micro)}
            prices.append(price | {"when": rate.when} if rate.when else price)
    return {
        "id": card.id,
        "title": card.title,
        "call": verb,
        "provider": maker or (card.routes[0].provider if card.routes else "calotype"),
        "available": bool(running),
        "status": card.status_here(desk.available),
        "parameters": sorted(taken(card, verb)) if verb is not None else [],
        "prices": prices,
    }


async def usage(desk: Desk, x: ImageExchange) -> None:
    """Answer what was spent: by this key, or with a key of scope ADMIN by the whole organisation."""
    caller = await desk.enter(x, counted=False)
    if caller.key.key_class is KeyClass.TEST:
        raise Problem(Code.FORBIDDEN, "Many share a test key; it shows no usage.")
    query = x.query
    now_ms = desk.clock.now_ms()
    until_ms = _moment(query.get("to"), "to", now_ms + 1)
    since_ms = _moment(query.get("from"), "from", max(0, until_ms - USUAL_DAYS * _DAY_MS))
    if not 0 <= until_ms - since_ms <= MOST_DAYS * _DAY_MS:
        raise Problem(Code.INVALID_INPUT, f"from is at most {MOST_DAYS} days before to.", field="from")
    by, _, tag = query.get("group_by", "model").partition(":")
    if by not in get_args(Group) or (by == "tag") != bool(tag):
        sentence = "group_by is one of model, key, dialect, operation, customer, day, or tag:NAME."
        raise Problem(Code.INVALID_INPUT, sentence, field="group_by")
    group: Group = by  # type: ignore[assignment]  # looked up in the literal's own members
    key_id = None if KeyScope.ADMIN in caller.key.scopes else caller.key.id
    found = await desk.db.read(
        lambda tx: spending(tx, caller.org.id, since_ms=since_ms, until_ms=until_ms, by=group, tag=tag, key_id=key_id)
    )
    total = Spent()
    for one in found.values():
        total = total.plus(one)
    data = {
        "from": _iso(since_ms), "to": _iso(until_ms), **_spent(total), "group_by": query.get("group_by", "model"),
        "groups": [{"name": _named(group, name), **_spent(one)} for name, one in sorted(found.items())],
    }  # fmt: skip
    standing = desk.door.standing(caller.key, x.scope, RATE)
    await x.answer(200, [JSON, *rate_headers(standing), (b"cache-control", b"no-store")], success(data))


async def health(desk: Desk, x: ImageExchange) -> None:
    """Say whether the server works; no key is asked for."""
    client = x.scope.get("client")
    name = f"health@{client[0] if client else ''}"
    desk.door.take(name, HEALTH_RATE, HEALTH_RATE, "One address may ask for health")
    problems = await desk.healthy()
    standing = desk.door.standing_of(name, HEALTH_RATE, HEALTH_RATE)
    data: dict[str, Any] = {"status": "unavailable" if problems else "ok", "version": desk.version}
    if problems:
        data["problems"] = problems
    body = encode({"success": not problems, "data": data})
    await x.answer(503 if problems else 200, [JSON, *rate_headers(standing)], body)


def _spent(one: Spent) -> dict[str, Any]:
    return {
        "requests": one.requests, "succeeded": one.succeeded, "failed": one.failed, "cost_micro": one.charged_micro,
        "cost_usd": usd_number(one.charged_micro),
    }  # fmt: skip


def _named(group: Group, name: str) -> str:
    if group != "day":
        return name
    return (datetime(1970, 1, 1, tzinfo=UTC) + timedelta(days=int(name))).date().isoformat()


def _moment(text: str | None, field: str, usual_ms: int) -> int:
    """Read a date or a time since 1970 as Unix milliseconds; without a zone it is UTC."""
    if not text:
        return usual_ms
    try:
        found = datetime.fromisoformat(text)
        at_ms = int((found if found.tzinfo else found.replace(tzinfo=UTC)).timestamp() * 1000)
    except ValueError:
        at_ms = -1
    if not 0 <= at_ms <= LAST_MS:
        sentence = f"{field} is a date or a time since 1970 such as 2026-11-01T00:00:00Z."
        raise Problem(Code.INVALID_INPUT, sentence, field=field)
    return at_ms


def _iso(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
