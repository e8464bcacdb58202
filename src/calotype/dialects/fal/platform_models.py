"""Models of the Platform API: search, prices, and what calls would cost (`wire/products.md E4`, `E6`)."""

from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta, Struct

from calotype.catalog import Card, rates
from calotype.catalog.card import Route
from calotype.catalog.files import BUILTIN
from calotype.dialects.fal.answers import tell
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.model_schema import category, model_document
from calotype.dialects.fal.platform_queries import DAY_MS, Query, body_as, iso, page, seal, usd_number, wrong
from calotype.jobs.usage import Span, used
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation

USUAL_PAGE = 50
MOST_PAGE = 100
HISTORY_DAYS = 30
SCHEMA = "openapi-3.0"


class Calls(Struct):
    """How many calls are meant."""

    call_quantity: Annotated[int, Meta(ge=1, le=10**9)]


class Units(Struct):
    """How many units of the price are meant."""

    unit_quantity: Annotated[float, Meta(ge=1e-6, le=1e12)]


class ByHistory(Struct, tag_field="estimate_type", tag="historical_api_price"):
    """An estimate from what calls cost before."""

    endpoints: dict[str, Calls]


class ByUnit(Struct, tag_field="estimate_type", tag="unit_price"):
    """An estimate from the rate card."""

    endpoints: dict[str, Units]


class Price(Struct, frozen=True):
    """The rate card's first row for a model: `micro` for `per` units."""

    endpoint_id: str
    unit: str
    micro: int
    per: int
    rows: tuple[tuple[str, int, int, dict[str, str]], ...]


async def models(desk: Desk, x: FalExchange) -> None:
    """Answer the models that this server can run; a key is not needed."""
    query = Query(x)
    expand = query.expand(SCHEMA, "enterprise_status")
    wanted = query.choice("status", ("active", "deprecated"))
    words = (query.text("q") or "").lower().split()
    kind = query.text("category")
    named = query.models(desk.catalog)
    found = [card for card in desk.catalog.cards() if named is None or card.id in named]
    if named is not None and (missing := set(named) - {card.id for card in found}):
        raise Problem(Code.NOT_FOUND, f"There is no model {sorted(missing)[0][:100]!r}.", field="endpoint_id")
    listed = [
        card
        for card in found
        if (named is not None or _runs(desk, card))
        and wanted in (None, _status(desk, card))
        and (kind is None or kind in (category(card), card.category, *(one.value for one in card.operations)))
        and all(word in _words(card) for word in words)
    ]
    after = query.cursor(str)
    listed = [card for card in listed if after is None or card.id > after[0]]
    most = query.limit(USUAL_PAGE, MOST_PAGE)
    shown = listed[:most]
    items = [_model(desk, x, card, schema=SCHEMA in expand) for card in shown]
    await tell(x, 200, page("models", items, seal(shown[-1].id) if len(listed) > most else None))


async def pricing(desk: Desk, x: FalExchange) -> None:
    """Answer the retail price of models; one without a price is left out."""
    named = Query(x).models(desk.catalog, required=True) or ()
    prices = [price for name in named if (price := price_of(desk, _card(desk, name))) is not None]
    items = [
        {
            "endpoint_id": price.endpoint_id,
            "unit_price": usd_number(price.micro) / price.per,
            "unit": price.unit,
            "currency": "USD",
            **({"rates": _rows(price)} if len(price.rows) > 1 else {}),
        }
        for price in prices
    ]
    await tell(x, 200, page("prices", items, None))


async def estimate(desk: Desk, x: FalExchange) -> None:
    """Answer what calls or units would cost: by this organisation's own last 30 days, or by the rate card."""
    caller = await desk.door.enter(x)
    given = body_as(await desk.door.body(x), ByHistory | ByUnit)
    if not 1 <= len(given.endpoints) <= 50:
        raise wrong("endpoints", "must name 1 to 50 models.")
    cards = {name: _card(desk, name) for name in given.endpoints}
    total = 0.0
    if isinstance(given, ByUnit):
        for name, units in given.endpoints.items():
            price = price_of(desk, cards[name])
            if price is None:
                raise wrong(f"endpoints.{name}", "has no price here.")
            total += usd_number(price.micro) / price.per * units.unit_quantity
    else:
        now_ms = desk.now_ms()
        wanted = tuple({card.id for card in cards.values()})
        span = Span(caller.org.id, now_ms - HISTORY_DAYS * DAY_MS, now_ms + 1, wanted)
        sums = await desk.office.db.read(lambda tx: used(tx, span, (HISTORY_DAYS + 1) * DAY_MS))
        for name, calls in given.endpoints.items():
            mine = [one for one in sums if one.model == cards[name].id]
            jobs = sum(one.jobs for one in mine)
            each = sum(one.charged_micro for one in mine) / jobs if jobs else _example_micro(desk, cards[name])
            total += each / 1_000_000 * calls.call_quantity
    kind = "unit_price" if isinstance(given, ByUnit) else "historical_api_price"
    await tell(x, 200, {"estimate_type": kind, "total_cost": round(total, 9), "currency": "USD"})


async def schema(desk: Desk, x: FalExchange) -> None:
    """Answer the OpenAPI document of one model, which the path or `endpoint_id` names; a key is not needed."""
    name = x.rest or Query(x).text("endpoint_id")
    if not name:
        raise wrong("endpoint_id", "is needed: the id of a model.")
    await tell(x, 200, model_document(_card(desk, name), x.bases.queue, x.bases.media))


def price_of(desk: Desk, card: Card) -> Price | None:
    """Return a model's rate card by the route that would serve it, None where it has no price."""
    route = _route(desk, card)
    if route is None:
        return None
    try:
        found = rates(card, route, desk.catalog.pricing)
    except Problem:
        return None
    rows = tuple((one.unit, one.price_micro, one.per, one.when) for one in found)
    return Price(card.id, found[0].unit, found[0].price_micro, found[0].per, rows) if found else None


def _route(desk: Desk, card: Card) -> Route | None:
    here = [route for route in card.routes if route.priced]
    able = [route for route in here if route.runs(desk.office.available)] or here
    return min(able, key=lambda route: route.example_micro, default=None)


def _example_micro(desk: Desk, card: Card) -> int:
    """Return what the example of a model's card costs, for a model that was not called yet."""
    route = _route(desk, card)
    if route is None:
        raise wrong(f"endpoints.{card.id}", "has no price here and was not called yet.")
    return route.example_micro


def _rows(price: Price) -> list[dict[str, Any]]:
    return [
        {"unit": unit, "unit_price": usd_number(micro) / per, **({"when": when} if when else {})}
        for unit, micro, per, when in price.rows
    ]


def _card(desk: Desk, name: str) -> Card:
    card = desk.catalog.get(name)
    if card is None:
        raise Problem(Code.NOT_FOUND, f"There is no model {name[:100]!r}.", field="endpoint_id")
    return card


def _runs(desk: Desk, card: Card) -> bool:
    return any(route.runs(desk.office.available) for route in card.routes)


def _status(desk: Desk, card: Card) -> str:
    return "deprecated" if card.status_here(desk.office.available) in ("deprecated", "retired") else "active"


def _words(card: Card) -> str:
    return " ".join((*card.names, card.title, card.description, category(card), card.category, *card.tags)).lower()


def _model(desk: Desk, x: FalExchange, card: Card, *, schema: bool) -> dict[str, Any]:
    training = Operation.TRAINING in card.operations
    when = _changed(card)
    metadata = {
        "display_name": card.title,
        "category": category(card),
        "description": card.description,
        "status": _status(desk, card),
        "tags": list(card.tags),
        "updated_at": when,
        "date": when,
        "is_favorited": None,
        "thumbnail_url": "",
        "model_url": f"{x.bases.media}/docs#model-list",
        "highlighted": False,
        "pinned": False,
        "kind": "training" if training else "inference",
        "stream_url": f"{f'{x.bases.media}/fal/run' if x.place.host is None else 'https://fal.run'}/{card.id}/stream",
    }
    body: dict[str, Any] = {"endpoint_id": card.id, "metadata": metadata}
    if schema:
        body["openapi"] = model_document(card, x.bases.queue, x.bases.media)
    return body


def _changed(card: Card) -> str:
    """Return when a model's card was last changed on this machine: nothing else is known of its age."""
    for path in (Path(card.origin), BUILTIN / card.origin):
        if path.is_file():
            return iso(int(path.stat().st_mtime) * 1000)
    return iso(0)
