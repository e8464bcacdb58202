"""The rules a route must pass, as functions of values; each removes routes and none puts one back."""

from collections.abc import Container, Sequence
from datetime import date
from functools import lru_cache

from msgspec import Struct

from calotype.catalog import ANY_REGION, Card, Route
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass, KeyClass, Operation, Region

EXTRAS = {"torch": "diffusers", "transformers": "diffusers", "diffusers": "diffusers", "openvino_genai": "openvino"}
"""The extra that brings a package, where it is not `local`."""

_DAY_MS = 86_400_000
_EPOCH = date(1970, 1, 1).toordinal()


class Rules(Struct, frozen=True):
    """Under which rules routes are chosen. `strict` wants a route that names the region; `today` is a day in UTC.

    `available` holds the providers that are set up, and of what routes need what is on this machine.
    """

    data_class: DataClass
    region: Region
    strict: bool
    key_class: KeyClass
    operation: Operation | None
    available: Container[str]
    today: date

    @property
    def phi(self) -> bool:
        """Whether the payload may only go where an agreement is in force."""
        return self.data_class is DataClass.PHI


def day_of(now_ms: int) -> date:
    """Return the day in UTC."""
    return _day(now_ms // _DAY_MS)


@lru_cache(maxsize=4)
def _day(number: int) -> date:
    return date.fromordinal(_EPOCH + number)


def serves_region(route: Route, rules: Rules) -> bool:
    """Say whether a route may process in the region: `*` stands for any region, but only for general data."""
    if rules.region is Region.WORLD or rules.region in route.regions:
        return True
    return ANY_REGION in route.regions and not rules.phi and not rules.strict


def serves_phi(route: Route, rules: Rules) -> bool:
    """Say whether the operator's declaration for this route is in force today."""
    return route.phi is not None and route.phi.valid(rules.today)


def eligible(card: Card, rules: Rules) -> list[Route]:
    """Return the routes that pass every rule, cheapest first.

    Where some of them name the region asked for only these are left, so that no failover takes a request that can be
    served inside its region to a host that promises none.

    Raises:
        Problem: none does; the first rule that left none says why.

    """
    routes: Sequence[Route] = card.routes
    if rules.operation is not None:
        routes = [route for route in routes if route.serves(rules.operation)]
    if rules.phi:
        routes = [route for route in routes if serves_phi(route, rules) and serves_region(route, rules)]
        if not routes:
            raise Problem(Code.PHI_BLOCKED, _phi_sentence(card, rules), field="model")
    else:
        inside = [route for route in routes if serves_region(route, rules)]
        if routes and not inside:
            raise Problem(Code.NO_ROUTE, _region_sentence(card, routes, rules), field="model")
        routes = inside
    reached = [route for route in routes if route.runs(rules.available)]
    if not reached:
        raise _unreachable(card, routes, rules.available)
    priced = [route for route in reached if route.priced]
    if not priced:
        sentence = f"{card.id} has no published cost: it runs once the operator has set prices.{card.id}."
        raise Problem(Code.NO_ROUTE, sentence, field="model")
    allowed = [route for route in priced if rules.key_class in route.key_classes]
    if not allowed:
        classes = sorted({word for route in priced for word in route.key_classes})
        sentence = f"{card.id} is not open to {rules.key_class} keys; it takes {' or '.join(classes)} keys."
        raise Problem(Code.MODEL_NOT_ALLOWED, sentence, field="model")
    if len(allowed) > 1 and rules.region is not Region.WORLD:
        return [route for route in allowed if rules.region in route.regions] or allowed
    return allowed


def _phi_sentence(card: Card, rules: Rules) -> str:
    where = "" if rules.region is Region.WORLD else f" in {rules.region}"
    return f"{card.id} has no route{where} under an agreement for PHI; nothing was sent anywhere."


def _region_sentence(card: Card, routes: Sequence[Route], rules: Rules) -> str:
    named = sorted({region for route in routes for region in route.regions if region != ANY_REGION})
    served = f"it runs in {', '.join(named)}" if named else "no provider names a region for it"
    return f"{card.id} has no route in {rules.region}; {served}."


def how_to_have(need: str) -> str:
    """Say how something that a route needs is brought to this machine."""
    kind, _, name = need.partition(":")
    if kind == "weights":
        return f"run calotype models pull {name}"
    if kind == "pipeline":
        return "its folder cannot be used, calotype doctor says why"
    return f'{name} is not installed, run pip install "calotype[{EXTRAS.get(name, "local")}]"'


def _unreachable(card: Card, routes: Sequence[Route], available: Container[str]) -> Problem:
    """Say what is missing: planned where the card says so, else what to bring here, else the provider to set up."""
    if card.status == "planned":
        return Problem(Code.PLANNED, f"{card.id} is planned and cannot run yet; nothing was charged.", field="model")
    steps = [how_to_have(need) for route in routes if route.provider in available for need in route.lacks(available)]
    if steps:
        sentence = f"{card.id} cannot run here yet: {', then '.join(dict.fromkeys(steps))}."
        return Problem(Code.NO_ROUTE, sentence, field="model")
    wanted = sorted({route.provider for route in routes})
    hint = f"set up {' or '.join(wanted)}" if wanted else "its card names no provider"
    return Problem(Code.NO_ROUTE, f"No provider here can run {card.id}: {hint}.", field="model")
