"""From a card as written to a card in force: schema compiled, routes joined with the operator's providers, priced."""

import contextlib
from collections.abc import Mapping

import jsonschema_rs
from msgspec.structs import replace

from calotype.catalog.card import ANY_REGION, SANDBOX, Card, Declaration, Route
from calotype.catalog.files import CardError, CardFile, RouteFile
from calotype.catalog.prices import Pricing, cost_of, priced, quote, rates
from calotype.catalog.rules import AnyRule, Image, PriceError, Request
from calotype.catalog.samples import samples
from calotype.catalog.schema import InputSchema
from calotype.catalog.unit_prices import counted
from calotype.kernel.errors import Problem
from calotype.kernel.generation import KeyClass, Operation
from calotype.settings import ProviderSettings, is_loopback

KEY_CLASSES: dict[str, frozenset[KeyClass]] = {
    "local": frozenset(KeyClass),
    "comfyui": frozenset({KeyClass.TEST, KeyClass.UNLIMITED}),
    "http": frozenset({KeyClass.TEST, KeyClass.UNLIMITED}),
}
"""Key classes by kind of provider, where neither card nor settings say: this machine, then workers."""
STREAMS_BY_CARD = frozenset({"fal"})
"""Kinds of provider of which a model streams only if its card says so."""
CLOUD_CLASSES = frozenset({KeyClass.PAID, KeyClass.UNLIMITED})


def build(origin: str, file: CardFile, providers: Mapping[str, ProviderSettings], pricing: Pricing) -> Card:
    """Return the card in force.

    Raises:
        CardError: something in it does not fit together.

    """
    schema = _schema(origin, file)
    routes = tuple(_routes(origin, file, schema, providers))
    # a planned model is active as soon as the operator has set up a provider of one of its routes
    started = file.status == "planned" and any(route.provider in providers for route in routes)
    # a retired one is back in force where the operator names an upstream that still runs it
    revived = file.status == "retired" and any(file.id in settings.models for settings in providers.values())
    card = Card(
        id=file.id,
        title=file.title,
        operations=tuple(file.operation) if isinstance(file.operation, list) else (file.operation,),
        output=file.output,
        schema=schema,
        routes=routes,
        example=file.example,
        origin=origin,
        aliases=tuple(file.aliases),
        description=file.description,
        category=file.category,
        status="active" if started or revived else file.status,
        shutdown_date=None if revived else file.shutdown_date,
        replacement=file.replacement,
        tags=tuple(file.tags),
        licence=file.licence,
        label=file.label,
        preview=file.preview,
        tier=file.tier,
        count=file.count or ("n" if "n" in schema.fields else None),
        outputs=file.outputs,
        deadline_s=file.deadline_s,
        price=file.price,
        warnings=_warnings(file),
        csv_rows=tuple(file.csv_rows),
    )
    _check_life(origin, card)
    return _priced(origin, card, providers, pricing)


def _schema(origin: str, file: CardFile) -> InputSchema:
    try:
        schema = InputSchema(file.input)
    except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError, TypeError) as error:
        raise CardError(origin, "input", f"is not a JSON Schema of an object: {str(error).splitlines()[0]}") from error
    try:
        schema.check(file.example, file.id)
    except Problem as problem:
        raise CardError(origin, f"example.{problem.field or ''}".rstrip("."), problem.message) from None
    if file.count is not None and file.count not in schema.fields:
        raise CardError(origin, "count", f"{file.count!r} is not an input field; use one of {_list(schema.fields)}")
    return schema


def _routes(origin: str, file: CardFile, schema: InputSchema, providers: Mapping[str, ProviderSettings]) -> list[Route]:
    """Join the card's routes with the providers' settings, then add the routes that settings name."""
    routes: list[Route] = []
    for index, written in enumerate(file.routes):
        key = f"routes[{index}]"
        for name in written.fields:
            if name not in schema.fields:
                raise CardError(origin, f"{key}.fields", f"{name!r} is not an input field; use {_list(schema.fields)}")
        if written.cost is not None and written.cost.micro and written.cost_source == "unknown":
            raise CardError(origin, f"{key}.cost_source", "is required with a cost: say where the figure is published")
        if written.cost is not None and written.cost.in_credits:
            raise CardError(origin, f"{key}.cost", "credits are a retail unit: write what the provider charges in USD")
        routes.append(_route(file, written, written.provider, providers.get(written.provider)))
    served = {route.provider for route in routes}
    for name, settings in providers.items():
        if file.id in settings.models and name not in served:
            routes.append(_added(file, name, settings))
    return routes


def _added(file: CardFile, name: str, settings: ProviderSettings) -> Route:
    """Make the route that `providers.<name>.models` asks for.

    Field names come from a route of the same kind. Its cost holds only for the same upstream model; otherwise the cost
    is unknown and only the unit is kept.
    """
    kind, upstream = settings.kind or name, settings.models[file.id]
    like = next((route for route in file.routes if (route.kind or route.provider) == kind), None)
    if like is None:
        written = RouteFile(provider=name, upstream=upstream, kind=kind)
    elif like.upstream == upstream:
        written = replace(like, provider=name, kind=kind)
    else:
        written = replace(like, provider=name, kind=kind, upstream=upstream, cost_source="unknown")
    return _route(file, written, name, settings)


def _route(file: CardFile, written: RouteFile, provider: str, settings: ProviderSettings | None) -> Route:
    kind = (settings.kind if settings else None) or written.kind or provider
    regions = frozenset[str](written.regions)
    classes = frozenset(written.key_classes) if written.key_classes else KEY_CLASSES.get(kind, CLOUD_CLASSES)
    upstream, phi = written.upstream, None
    if settings is not None:
        if not written.operations or _first_operation(file) in written.operations:  # a side route keeps its own
            upstream = settings.models.get(file.id, upstream)
        regions = _narrowed(regions, frozenset(settings.regions))
        classes = frozenset(settings.key_classes) if settings.key_classes is not None else classes
        phi = Declaration(settings.phi.reference, settings.phi.expires) if settings.phi else None
    return Route(
        provider=provider,
        kind=kind,
        upstream=upstream,
        cost=written.cost or _unpriced_rule(file.output),
        cost_source=written.cost_source,
        operations=frozenset(written.operations),
        fields=written.fields,
        constants=written.constants,
        regions=regions,
        phi=phi,
        key_classes=classes,
        needs=written.needs,
        streams=kind not in STREAMS_BY_CARD if written.streams is None else written.streams,
        realtime=written.realtime,
    )


def _first_operation(file: CardFile) -> Operation:
    return file.operation[0] if isinstance(file.operation, list) else file.operation


def _narrowed(card: frozenset[str], operator: frozenset[str]) -> frozenset[str]:
    """Return the regions that both the card and the operator allow."""
    if ANY_REGION in card:
        return operator
    return card if ANY_REGION in operator else card & operator


def _unpriced_rule(output: str) -> AnyRule:
    return Image() if output == "image" else Request()


def _costed(card: Card, route: Route, providers: Mapping[str, ProviderSettings], pricing: Pricing) -> Route:
    """Fill in a cost that the card does not know: the upstream's own list, or nothing at one on this very machine."""
    if route.cost_known:
        return route
    price = pricing.synced.get((route.provider, route.upstream))
    if price is not None:
        fields = card.schema.properties
        rule = counted(route.cost, price, output=card.output, count=card.count, fields=fields)
        with contextlib.suppress(PriceError):
            if rule is not None:
                found = replace(route, cost=rule, cost_source=price.cost_source)
                for sample in samples(card.schema, rule, card.example):
                    cost_of(card, found, sample)
                return found
    settings = providers.get(route.provider)
    if settings is not None and is_loopback(settings.base_url) and card.id not in pricing.overrides:
        free = replace(_unpriced_rule(card.output), varies=route.cost.varies)
        return replace(route, cost=free, cost_source=SANDBOX)
    return route


def _priced(origin: str, card: Card, providers: Mapping[str, ProviderSettings], pricing: Pricing) -> Card:
    """Mark the routes that have a price, having tried the rule on inputs that stand for all it may meet."""
    filled = card.schema.check(card.example, card.id)
    routes = []
    for index, written in enumerate(card.routes):
        route = _costed(card, written, providers, pricing)
        key = "price" if card.price is not None else f"routes[{index}].cost"
        try:
            for rule in (route.cost, card.price):
                for fields in samples(card.schema, rule, card.example) if rule is not None else ():
                    quote(card, route, fields, pricing)
                    cost_of(card, route, fields)
            rates(card, route, pricing)
            retail = quote(card, route, filled, pricing).hold_micro
            cost = cost_of(card, route, filled)
        except (PriceError, ValueError) as error:
            raise CardError(origin, key, str(error)) from None
        has_price = priced(card, route, pricing)
        routes.append(replace(route, priced=has_price, example_micro=retail, example_cost_micro=cost or 0))
    routes.sort(key=lambda one: (not one.cost_known, one.unbilled, one.example_cost_micro))
    return replace(card, routes=tuple(routes))


def _check_life(origin: str, card: Card) -> None:
    if card.status == "deprecated" and card.shutdown_date is None:
        raise CardError(origin, "shutdown_date", "is required for a deprecated model: the day it stops, as YYYY-MM-DD")
    if card.status == "retired" and card.replacement is None:
        raise CardError(origin, "replacement", "is required for a retired model: the model to use instead")


def _warnings(file: CardFile) -> tuple[str, ...]:
    if file.status != "deprecated" or file.shutdown_date is None:
        return ()
    instead = f"; use {file.replacement} instead" if file.replacement else ""
    return (f"{file.id} stops on {file.shutdown_date.isoformat()}{instead}",)


def _list(names: frozenset[str]) -> str:
    return ", ".join(sorted(names)) or "none, as the schema has no properties"
