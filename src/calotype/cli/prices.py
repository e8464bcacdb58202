"""`calotype prices sync`: what upstreams ask for their models, from their own lists, where no card knows it."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, get_args

import typer
from msgspec import Struct
from msgspec.structs import replace

from calotype.catalog import CardError, Catalog, Pricing, Route
from calotype.catalog.synced import FILE, pricing_of, read, write
from calotype.catalog.unit_prices import UnitPrice
from calotype.cli.options import DataDir, Json, settings_for
from calotype.cli.terminal import Failure, answer, facts, say, table
from calotype.http import Upstream
from calotype.kernel.money import usd
from calotype.kernel.outcome import Failed, FailedKind
from calotype.kernel.steps import TransportError
from calotype.providers.driver import drive
from calotype.providers.price_lists import PRICE_LISTS, PriceList, Source
from calotype.settings import ProviderSettings, Settings

prices = typer.Typer(help="What upstreams ask for their models: sync.", no_args_is_help=True)

State = Literal["new", "changed", "same", "card", "unfit", "unread"]


class Row(Struct, frozen=True):
    """One model of an upstream.

    `card`: a figure that the card names stays in force. `unfit`: no card says how to count such units. `unread`: the
    list has no price that we can count.
    """

    provider: str
    upstream: str
    models: list[str]
    state: State
    price: UnitPrice | None = None
    before: UnitPrice | None = None
    why: str | None = None


@prices.callback()
def _group() -> None:
    """Keep a group of one command a group."""


@prices.command()
def sync(
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would change and keep nothing.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Read the price lists of fal and OpenRouter and keep their costs; a running server takes them up at its start.

    A cost that a card names stays, and so does a price that the settings name. What cannot be counted is reported.
    """
    settings = settings_for(data_dir)
    asked = {name: source for name, one in settings.providers.items() if (source := PRICE_LISTS.get(one.kind or name))}
    if not asked:
        known = " or ".join(sorted(PRICE_LISTS))
        raise Failure(f"No provider with a price list is set up: set an api_key for {known}.")
    before = _kept(settings)
    bare = pricing_of(settings, before)
    catalog = Catalog.load(settings.cards_dir, settings.providers, replace(bare, synced={}))
    lists = asyncio.run(_read_all(settings, asked, catalog))
    rows = _rows(settings, catalog, bare, lists)
    kept = [row.price for row in rows if row.price is not None and row.state in ("new", "changed", "same")]
    others = [one for one in before if one.provider not in asked]
    if not dry_run:
        write(settings.data_dir, [*others, *kept])
    _show(settings, rows, dry_run=dry_run, as_json=as_json)


def _kept(settings: Settings) -> tuple[UnitPrice, ...]:
    try:
        return read(settings.data_dir)
    except CardError as error:
        say(f"What was kept before counts for nothing: {error}")
        return ()


async def _read_all(settings: Settings, asked: dict[str, Source], catalog: Catalog) -> dict[str, PriceList]:
    lists: dict[str, PriceList] = {}
    for name, source in asked.items():
        wanted = sorted({route.upstream for card in catalog.cards() for route in card.routes if route.provider == name})
        upstream = Upstream(name)
        try:
            found = [
                await _read(name, settings.providers[name], source, wanted[n : n + source.at_once], upstream)
                for n in range(0, len(wanted), source.at_once)
            ]
        except TransportError as error:
            raise Failure(f"The price list of {name} cannot be reached: {error}.") from None
        finally:
            await upstream.close()
        unread = {model: why for one in found for model, why in one.unread.items()}
        lists[name] = PriceList(tuple(price for one in found for price in one.prices), unread)
    return lists


async def _read(
    name: str, settings: ProviderSettings, source: Source, wanted: Sequence[str], upstream: Upstream
) -> PriceList:
    """Ask for some models; a list that refuses them all because of one is asked again in halves."""
    today = datetime.now(UTC).date().isoformat()
    credential = settings.credentials[0]
    found = await drive(source.ask(name, settings.model_copy(update={"api_key": credential}), wanted, today), upstream)
    if isinstance(found, PriceList):
        return found
    if found.kind is not FailedKind.INVALID:
        raise Failure(_words(found))
    if len(wanted) == 1:
        return PriceList(unread={wanted[0]: f"the list refuses it with status {found.status}"})
    half = len(wanted) // 2
    first, second = [await _read(name, settings, source, part, upstream) for part in (wanted[:half], wanted[half:])]
    return PriceList(first.prices + second.prices, first.unread | second.unread)


def _words(failed: Failed) -> str:
    return f"{failed.message} {failed.detail or ''}".strip()


def _rows(settings: Settings, catalog: Catalog, bare: Pricing, lists: dict[str, PriceList]) -> list[Row]:
    """Compare the lists with what is in force; whether a price fits is what the catalogue itself makes of it."""
    fresh = {(one.provider, one.upstream): one for found in lists.values() for one in found.prices}
    priced = Catalog.load(settings.cards_dir, settings.providers, replace(bare, synced=fresh))
    rows: list[Row] = []
    for name, found in lists.items():
        for upstream, why in found.unread.items():
            rows.append(Row(name, upstream, _models(catalog, name, upstream), "unread", why=why))
        for price in found.prices:
            models = _models(catalog, name, price.upstream)
            before = bare.synced.get((name, price.upstream))
            if any(one.cost_source == price.cost_source for one in _routes(priced, name, price.upstream)):
                state: State = "new" if before is None else "same" if price.same_as(before) else "changed"
                rows.append(Row(name, price.upstream, models, state, price, before))
            elif known := [one for one in _routes(catalog, name, price.upstream) if _says(one)]:
                rows.append(Row(name, price.upstream, models, "card", price, why=f"stays: {known[0].cost_source}"))
            else:
                why = _unfit(price, _routes(catalog, name, price.upstream))
                rows.append(Row(name, price.upstream, models, "unfit", price, why=why))
    return sorted(rows, key=lambda row: (row.provider, row.upstream))


def _routes(catalog: Catalog, provider: str, upstream: str) -> list[Route]:
    routes = (route for card in catalog.cards() for route in card.routes)
    return [route for route in routes if (route.provider, route.upstream) == (provider, upstream)]


def _unfit(price: UnitPrice, routes: list[Route]) -> str:
    """Say why a price of the list prices no request."""
    if varies := sorted({field for route in routes for field in route.cost.varies}):
        return f"the list does not say how {' and '.join(varies)} change it: set prices.<model>"
    return f"its card does not say how many units of {price.unit} a request has"


def _says(route: Route) -> bool:
    """Say whether the card itself knows the cost."""
    return route.cost_known and not route.unbilled


def _models(catalog: Catalog, provider: str, upstream: str) -> list[str]:
    return [
        card.id for card in catalog.cards()
        if any((route.provider, route.upstream) == (provider, upstream) for route in card.routes)
    ]  # fmt: skip


def _show(settings: Settings, rows: list[Row], *, dry_run: bool, as_json: bool) -> None:
    counts = {state: sum(row.state == state for row in rows) for state in get_args(State)}
    if as_json:
        answer(
            {"dry_run": dry_run, "file": str(settings.data_dir / FILE), **counts, "prices": list(map(_object, rows))}
        )
        return
    shown = [row for row in rows if row.state != "same"]
    if shown:
        table(
            ("PROVIDER", "MODEL", "STATE", "PRICE", "BEFORE", "WHY"),
            [(r.provider, r.upstream, r.state, _text(r.price), _text(r.before), r.why) for r in shown],
        )
    facts([(state, count) for state, count in counts.items() if count])
    if dry_run:
        say("Nothing was kept.")
    else:
        say(f"Kept in {settings.data_dir / FILE}. A running server takes it up when it is restarted.")


def _object(row: Row) -> dict[str, Any]:
    return {
        "provider": row.provider, "upstream": row.upstream, "models": row.models, "state": row.state,
        "price": _amounts(row.price), "before": _amounts(row.before), "why": row.why,
    }  # fmt: skip


def _amounts(price: UnitPrice | None) -> dict[str, Any] | None:
    if price is None:
        return None
    amounts: dict[str, Any] = {"unit": price.unit, "per": price.per, "micro": price.micro}
    return amounts | ({"input_micro": price.input_micro} if price.unit == "token" else {})


def _text(price: UnitPrice | None) -> str | None:
    if price is None:
        return None
    per = price.unit if price.per == 1 else f"{price.per:,} {price.unit}s"
    both = f"{usd(price.input_micro)} in, " if price.unit == "token" else ""
    return f"{both}{usd(price.micro)} / {per}"
