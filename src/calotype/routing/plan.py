"""From a model's name to the ordered routes that may run it. Pure: everything it needs is an argument."""

from collections.abc import Container
from typing import Any

from msgspec import Struct

from calotype.accounts.types import KeyRecord, Organisation
from calotype.catalog import Card, Catalog, Route
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Context, DataClass, KeyClass, Operation, Region
from calotype.routing.rules import Rules, day_of, eligible
from calotype.routing.stamp import routed

AUTO = "auto"


class Plan(Struct, frozen=True):
    """Where a request may run: every route here passed every rule, so no failover among them can break one."""

    card: Card
    routes: tuple[Route, ...]
    region: Region
    data_class: DataClass
    warnings: tuple[str, ...] = ()

    def routed(self, index: int = 0) -> str:
        """Write a route as the `x-phi-routed` header does."""
        return routed(self.card.id, self.routes[index].provider, self.region, self.data_class)


def plan(
    catalog: Catalog,
    model: Card | str,
    ctx: Context,
    key: KeyRecord,
    org: Organisation,
    *,
    available: Container[str],
    now_ms: int,
    operation: Operation | None = None,
    fields: dict[str, Any] | None = None,
    strict_residency: bool = False,
) -> Plan:
    """Return the routes a request may take, in the order to try them.

    `available` holds the provider instances that are set up and have an adapter, and what is on this machine of what
    routes need. `auto` is the cheapest eligible model
    for the operation, preferring those that take the input `fields`; a named model is only ever run as itself.
    `strict_residency` is the server's setting and adds to the organisation's own.

    Raises:
        Problem: account_locked, model_not_found, model_retired, model_not_allowed, phi_blocked, no_route, planned, or
            invalid_input when the model does not do the operation.

    """
    if org.locked:
        raise Problem(Code.ACCOUNT_LOCKED, "This organisation is locked; ask its administrator.")
    rules = _rules(
        ctx, key, org, available=available, operation=operation, now_ms=now_ms, strict_residency=strict_residency
    )
    if model == AUTO:
        card = _cheapest(catalog, ctx, key, rules, fields)
        return Plan(card, tuple(eligible(card, rules)), rules.region, rules.data_class)
    card = catalog.find(model) if isinstance(model, str) else model
    _check_named(card, key, rules)
    warnings: tuple[str, ...] = ()
    if ctx.tier is not None and card.tier is not None and card.tier is not ctx.tier:
        warnings = (f"{card.id} is of tier {card.tier}; the tier {ctx.tier} asked for applies to auto only",)
    return Plan(card, tuple(eligible(card, rules)), rules.region, rules.data_class, warnings)


def _rules(
    ctx: Context,
    key: KeyRecord,
    org: Organisation,
    *,
    available: Container[str],
    operation: Operation | None,
    now_ms: int,
    strict_residency: bool,
) -> Rules:
    """Join what the request, the organisation and the server say; a region the organisation set counts as explicit."""
    region = ctx.region
    if not ctx.region_explicit and org.default_region is not None:
        region = org.default_region
    strict = strict_residency or org.strict_residency
    return Rules(ctx.data_class, region, strict, key.key_class, operation, available, day_of(now_ms))


def _check_named(card: Card, key: KeyRecord, rules: Rules) -> None:
    """Refuse a named model that is retired, not on the key's allow-list, or made for something else."""
    if card.retired(rules.today):
        raise card.retirement()
    if not key.allows(card.id, card.aliases):
        raise Problem(Code.MODEL_NOT_ALLOWED, f"This key may not use {card.id}.", field="model")
    if rules.operation is not None and rules.operation not in card.operations:
        does = " or ".join(card.operations)
        raise Problem(Code.INVALID_INPUT, f"{card.id} does {does}, not {rules.operation}.", field="model")


def _cheapest(catalog: Catalog, ctx: Context, key: KeyRecord, rules: Rules, fields: dict[str, Any] | None) -> Card:
    """Return the cheapest eligible model for the operation, by the price of each card's example.

    A model that costs nothing only because its upstream is an emulator comes after those that have a price.
    """
    if rules.operation is None:
        raise Problem(Code.INVALID_INPUT, "model auto needs an endpoint that says what to make.", field="model")
    found: list[tuple[tuple[bool, bool, int, str], Card]] = []
    previews: list[str] = []
    blocked = False
    for card in catalog.by_operation(rules.operation):
        if card.retired(rules.today) or not key.allows(card.id, card.aliases):
            continue
        try:
            first = eligible(card, rules)[0]
        except Problem as problem:
            blocked = blocked or problem.code is Code.PHI_BLOCKED
            continue
        if card.preview and key.key_class is not KeyClass.TEST and not ctx.allow_preview:
            previews.append(card.id)
        else:
            other_tier = ctx.tier is not None and card.tier is not ctx.tier
            found.append(((other_tier, first.unbilled, first.example_micro, card.id), card))
    if not found:
        raise _nothing_for(rules, previews, blocked)
    found.sort(key=lambda item: item[0])
    return next((card for _, card in found if fields is None or _takes(card, fields)), found[0][1])


def _takes(card: Card, fields: dict[str, Any]) -> bool:
    try:
        card.check(card.schema.renamed(fields))
    except Problem:
        return False
    return True


def _nothing_for(rules: Rules, previews: list[str], blocked: bool) -> Problem:
    where = "" if rules.region is Region.WORLD else f" in {rules.region}"
    if previews:
        sentence = f"Only preview models can do {rules.operation}{where} here: name {' or '.join(previews)}, or "
        return Problem(Code.NO_ROUTE, f"{sentence}set allow_preview to true.", field="model")
    if blocked:
        sentence = f"No model for {rules.operation} has a route{where} under an agreement for PHI; nothing was sent."
        return Problem(Code.PHI_BLOCKED, sentence, field="model")
    return Problem(Code.NO_ROUTE, f"No model for {rules.operation} can run{where} here.", field="model")
