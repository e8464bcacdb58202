"""`calotype models`: the model cards, with prices from the one function that computes them."""

from typing import Annotated, Any

import typer

from calotype.app import catalog_of
from calotype.catalog import Card, Catalog, Pricing, Rate, Route, quote, rates
from calotype.cli.errors import EXPECTED
from calotype.cli.opened import with_settings
from calotype.cli.options import DataDir, Json, settings_for
from calotype.cli.terminal import answer, facts, table
from calotype.db.schema import current, newest
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import KeyClass
from calotype.kernel.money import usd
from calotype.providers.available import MODELS_FOLDER, Available
from calotype.providers.registry import LOCAL
from calotype.providers.workers.crew import FLEETS
from calotype.routing.rules import how_to_have
from calotype.settings import USUAL_VARIABLES, Settings

UNPRICED = {"text": "no price"}
models = typer.Typer(help="Models: list, show, check, pull weights.", no_args_is_help=True)


@models.command("list")
def list_(
    everything: Annotated[
        bool, typer.Option("--all", help="Also models that are retired, planned or have no provider set up.")
    ] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List the models that can run here, with their prices."""
    catalog, available = _catalog(settings_for(data_dir))
    cards = [card for card in catalog.cards(everything=everything) if everything or _runs(card, available)]
    if as_json:
        answer([card_object(card, catalog.pricing, available) for card in cards])
        return
    rows = [
        (
            card.id, ", ".join(operation.value for operation in card.operations), card.status,
            _here(card, available), (_price(card, catalog.pricing, available) or UNPRICED)["text"], card.label,
        )
        for card in cards
    ]  # fmt: skip
    table(("ID", "OPERATION", "STATUS", "RUNS HERE", "PRICE", "LABEL"), rows)


@models.command()
def show(
    model: Annotated[str, typer.Argument(metavar="ID", help="A model's id or alias.")],
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Show one model: what it takes, what it costs, where it runs."""
    catalog, available = _catalog(settings_for(data_dir))
    card = catalog.get(model) or catalog.find(model)
    shown = card_object(card, catalog.pricing, available)
    if as_json:
        answer(shown | {"input": card.schema.document, "example": card.example})
        return
    facts(
        [
            ("id", card.id),
            ("title", card.title),
            ("description", card.description or None),
            ("label", card.label),
            ("operations", ", ".join(shown["operations"])),
            ("status", card.status),
            ("replacement", card.replacement),
            ("aliases", ", ".join(card.aliases) or None),
            ("licence", card.licence),
            ("runs here", "yes" if shown["available"] else "no"),
            ("price", shown["unpriced"] or shown["price"]["text"]),
            ("fields", ", ".join(sorted(card.fields))),
            *(("route", _route(route, available)) for route in card.routes),
        ]
    )


def card_object(card: Card, pricing: Pricing, available: Available) -> dict[str, Any]:
    """Return a card as `--json` shows it; prices are micro-USD. `price` is null where `unpriced` says why."""
    first = _first(card, available)
    price = _price(card, pricing, available)
    return {
        "id": card.id,
        "title": card.title,
        "aliases": card.aliases,
        "operations": [operation.value for operation in card.operations],
        "output": card.output,
        "status": card.status,
        "preview": card.preview,
        "label": card.label,
        "licence": card.licence,
        "tags": card.tags,
        "replacement": card.replacement,
        "shutdown_date": None if card.shutdown_date is None else card.shutdown_date.isoformat(),
        "available": _runs(card, available),
        "price": price,
        "unpriced": None if price is not None else _unpriced(card),
        "rates": [] if first is None else [_rate(rate) for rate in _rates(card, first, pricing)],
        "routes": [
            {
                "provider": route.provider,
                "upstream": route.upstream,
                "regions": sorted(route.regions),
                "phi": route.phi is not None,
                "key_classes": sorted(item.value for item in route.key_classes),
                "available": route.runs(available),
                "needs": route.needs,
                "lacks": route.lacks(available),
                "why": why_not(route, available),
                "priced": route.priced,
                "cost_source": route.cost_source,
            }
            for route in card.routes
        ],
        "csv_rows": card.csv_rows,
    }


def why_not(route: Route, available: Available) -> str | None:
    """Say what keeps a route from running here, None when nothing does."""
    if route.provider not in available:
        if route.kind in FLEETS:
            return f"no worker here: run calotype workers add, or set workers.<name>.url for {route.provider}"
        keys = [name for name, (who, _, what) in USUAL_VARIABLES.items() if (who, what) == (route.provider, "api_key")]
        return f"{route.provider} is not set up: set {' or '.join(keys) or f'providers.{route.provider}'}"
    lacks = route.lacks(available)
    return ", then ".join(map(how_to_have, lacks)) if lacks else None


def _catalog(settings: Settings) -> tuple[Catalog, Available]:
    workers = {worker.provider or worker.kind for worker in settings.workers.values()}
    fleets = {name for name, provider in settings.providers.items() if (provider.kind or name) in FLEETS}
    present = {LOCAL, *(settings.providers.keys() - fleets), *workers, *_registered(settings)}
    return catalog_of(settings), Available(present, settings.data_dir / MODELS_FOLDER)


def _registered(settings: Settings) -> set[str]:
    """Return the instances that workers were added to; none where the database cannot be read or is not there yet."""
    try:
        if current(settings.database) != newest():
            return set()
        found = with_settings(settings, lambda app: app.crew.roster.list())
    except EXPECTED:
        return set()
    return {worker.provider for worker, _ in found}


def _runs(card: Card, available: Available) -> bool:
    return card.status in ("active", "deprecated") and any(
        route.runs(available) and route.priced for route in card.routes
    )


def _here(card: Card, available: Available) -> str:
    """Say whether it runs here, and how what is missing on this machine is brought."""
    if _runs(card, available):
        return "yes"
    lacks = next((route.lacks(available) for route in card.routes if route.provider in available), ())
    steps = dict.fromkeys(map(how_to_have, lacks))
    return f"no: {', then '.join(steps)}" if steps else "no"


def _first(card: Card, available: Available) -> Route | None:
    """Return the route whose price is shown, if possible one that can run here and that paying callers reach."""
    priced = [route for route in card.routes if route.priced]
    priced.sort(key=lambda route: (not route.runs(available), KeyClass.PAID not in route.key_classes))
    return priced[0] if priced else None


def _rates(card: Card, route: Route, pricing: Pricing) -> tuple[Rate, ...]:
    try:
        return rates(card, route, pricing)
    except Problem as problem:
        if problem.code in (Code.NO_ROUTE, Code.UNAVAILABLE):
            return ()
        raise


def _rate(rate: Rate) -> dict[str, Any]:
    return {"unit": rate.unit, "per": rate.per, "price_micro": rate.price_micro, "when": rate.when}


def _unpriced(card: Card) -> str:
    providers = sorted({route.provider for route in card.routes}) or ["nobody"]
    return (
        f"no price list that is known says what {' or '.join(providers)} charges for it: set prices.{card.id}, or run"
        " calotype prices sync"
    )


def _price(card: Card, pricing: Pricing, available: Available) -> dict[str, Any] | None:
    """Return the lowest rate and, as an example, the price of the card's own example; None where nobody knows it."""
    route = _first(card, available)
    rows = () if route is None else _rates(card, route, pricing)
    if route is None or not rows:
        return None
    low = min(rows, key=lambda rate: rate.price_micro * 10**9 // rate.per)
    per = low.unit if low.per == 1 else f"{low.per:,} {low.unit}s"
    text = "free" if not any(rate.price_micro for rate in rows) else f"{usd(low.price_micro)} / {per}"
    return {
        "unit": low.unit,
        "per": low.per,
        "price_micro": low.price_micro,
        "example_micro": quote(card, route, card.check(card.example).input, pricing).hold_micro,
        "text": f"from {text}" if len(rows) > 1 and text != "free" else text,
    }


def _route(route: Route, available: Available) -> str:
    where = "any region" if "*" in route.regions else ", ".join(sorted(route.regions))
    ready = why_not(route, available) or "ready"
    phi = "" if route.phi is None else f"; PHI until {route.phi.expires}"
    return f"{route.provider} → {route.upstream} ({where}{phi}; {ready}{'' if route.priced else '; no price'})"
