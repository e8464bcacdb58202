"""Who may run what where: each rule by a table, and all of them together by a property."""

from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calotype.accounts.types import KeyRecord, Organisation, OrgStatus
from calotype.catalog import ANY_REGION, Card, Catalog, Declaration, Pricing, Route
from calotype.catalog.rules import Image
from calotype.catalog.schema import InputSchema
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Context, DataClass, KeyClass, Operation, Region, Tier
from calotype.kernel.ids import KeyId, OrgId
from calotype.routing import Plan, plan

NOW_MS = 1_800_000_000_000
TODAY = date(2027, 1, 15)
ORG = Organisation(OrgId("o"), "o")
AGREED = Declaration("DPA 7", TODAY)
EVERY = frozenset({"a", "b", "c", "local"})
IMAGE = Operation.TEXT_TO_IMAGE


def route(provider: str = "a", cost_micro: int = 10, **more: Any) -> Route:
    more = {"regions": frozenset({ANY_REGION}), "key_classes": frozenset(KeyClass), "priced": True, **more}
    return Route(provider, provider, "up", Image(micro=cost_micro), "test", example_micro=cost_micro, **more)


def card(model: str, *routes: Route, **more: Any) -> Card:
    schema = InputSchema({"properties": {"prompt": {"type": "string"}}, "required": ["prompt"]})
    return Card(model, model, (IMAGE,), "image", schema, routes, {"prompt": "a"}, "test.toml", **more)


def ask(
    *cards: Card,
    model: str = "m",
    key_class: KeyClass = KeyClass.PAID,
    models: tuple[str, ...] | None = None,
    org: Organisation = ORG,
    available: frozenset[str] = EVERY,
    fields: dict[str, Any] | None = None,
    operation: Operation | None = IMAGE,
    strict: bool = False,
    **context: Any,
) -> Plan:
    key = KeyRecord(KeyId("k"), org.id, "k", key_class, models=models)
    if "region" in context:
        context["region_explicit"] = True
    ctx = Context(key.principal, "openai", **context)
    return plan(
        Catalog(cards, Pricing()),
        model,
        ctx,
        key,
        org,
        available=available,
        now_ms=NOW_MS,
        operation=operation,
        fields=fields,
        strict_residency=strict,
    )


PHI = {"data_class": DataClass.PHI}
EU_ONLY = {"regions": frozenset({"EU"})}
REFUSALS: dict[str, tuple[Code, Card, dict[str, Any]]] = {
    "PHI needs an agreement": (Code.PHI_BLOCKED, card("m", route()), PHI),
    "an agreement ends": (
        Code.PHI_BLOCKED,
        card("m", route(phi=Declaration("DPA 7", TODAY - timedelta(days=1)))),
        PHI,
    ),
    "an agreement has a reference": (Code.PHI_BLOCKED, card("m", route(phi=Declaration("", TODAY))), PHI),
    "PHI stays out of regions nobody named": (
        Code.PHI_BLOCKED,
        card("m", route(phi=AGREED)),
        {**PHI, "region": Region.CH},
    ),
    "PHI is refused for planned models too": (Code.PHI_BLOCKED, card("m", route("x"), status="planned"), PHI),
    "a region without a route": (Code.NO_ROUTE, card("m", route(**EU_ONLY)), {"region": Region.CH}),
    "strict residency wants the region named": (
        Code.NO_ROUTE,
        card("m", route()),
        {"region": Region.EU, "strict": True},
    ),
    "strict residency of the organisation and its own region": (
        Code.NO_ROUTE,
        card("m", route()),
        {"org": Organisation(OrgId("o"), "o", default_region=Region.CH, strict_residency=True)},
    ),
    "no provider": (Code.NO_ROUTE, card("m", route("x")), {}),
    "no routes": (Code.NO_ROUTE, card("m"), {}),
    "planned": (Code.PLANNED, card("m", route("x"), status="planned"), {}),
    "no price": (Code.NO_ROUTE, card("m", route(priced=False)), {}),
    "key class": (
        Code.MODEL_NOT_ALLOWED,
        card("m", route(key_classes=frozenset({KeyClass.PAID}))),
        {"key_class": KeyClass.TEST},
    ),
    "allow-list": (Code.MODEL_NOT_ALLOWED, card("m", route()), {"models": ("other", "local/*")}),
    "retired": (Code.MODEL_RETIRED, card("m", route(), status="retired", replacement="m"), {}),
    "shut down today": (Code.MODEL_RETIRED, card("m", route(), status="deprecated", shutdown_date=TODAY), {}),
    "another operation": (Code.INVALID_INPUT, card("m", route()), {"operation": Operation.CHAT}),
    "a locked organisation": (
        Code.ACCOUNT_LOCKED,
        card("m", route()),
        {"org": Organisation(OrgId("o"), "o", OrgStatus.LOCKED)},
    ),
    "unknown": (Code.MODEL_NOT_FOUND, card("n", route()), {}),
    "auto without an operation": (Code.INVALID_INPUT, card("m", route()), {"model": "auto", "operation": None}),
    "auto with previews only": (Code.NO_ROUTE, card("m", route(), preview=True), {"model": "auto"}),
    "auto with PHI": (Code.PHI_BLOCKED, card("m", route()), {"model": "auto", **PHI}),
    "auto outside the allow-list": (Code.NO_ROUTE, card("m", route()), {"model": "auto", "models": ("x",)}),
    "auto with planned models only": (Code.NO_ROUTE, card("m", route("x"), status="planned"), {"model": "auto"}),
}


@pytest.mark.parametrize("rule", REFUSALS)
def test_a_request_against_the_rules_is_refused(rule: str) -> None:
    code, model, request = REFUSALS[rule]
    with pytest.raises(Problem) as caught:
        ask(model, **request)
    assert caught.value.code is code, caught.value.message


ALLOWED: dict[str, tuple[Card, dict[str, Any]]] = {
    "anything, anywhere": (card("m", route()), {}),
    "PHI on the last day of the agreement": (card("m", route(phi=AGREED)), PHI),
    "PHI in a named region": (card("m", route(phi=AGREED, **EU_ONLY)), {**PHI, "region": Region.EU}),
    "general data anywhere by a star": (card("m", route()), {"region": Region.CH}),
    "WORLD takes a route of one region": (card("m", route(**EU_ONLY)), {"region": Region.WORLD}),
    "strict residency and a route that names it": (card("m", route(**EU_ONLY)), {"region": Region.EU, "strict": True}),
    "strict residency without a region": (card("m", route()), {"strict": True}),
    "a planned model whose provider is there": (card("m", route(), status="planned"), {}),
    "a deprecated model until its day": (
        card("m", route(), status="deprecated", shutdown_date=TODAY + timedelta(days=1)),
        {},
    ),
    "an alias": (card("n", route(), aliases=("m",)), {}),
    "an alias on the allow-list": (card("n", route(), aliases=("m",)), {"models": ("m",)}),
    "a preview model by name": (card("m", route(), preview=True), {}),
    "auto with a preview for a test key": (
        card("m", route(), preview=True),
        {"model": "auto", "key_class": KeyClass.TEST},
    ),
    "auto with a preview when allowed": (card("m", route(), preview=True), {"model": "auto", "allow_preview": True}),
}


@pytest.mark.parametrize("rule", ALLOWED)
def test_a_request_inside_the_rules_has_a_route(rule: str) -> None:
    model, request = ALLOWED[rule]
    assert ask(model, **request).routes == model.routes


def test_auto_is_the_cheapest_model_that_may_run() -> None:
    cards = (card("dear", route(cost_micro=30)), card("cheap", route(cost_micro=20)), card("far", route("x", 1)))
    assert ask(*cards, model="auto").card.id == "cheap"


def test_auto_prefers_the_tier_and_falls_back_to_any() -> None:
    cards = (card("slow", route(cost_micro=30), tier=Tier.THINKING), card("fast", route(), tier=Tier.FAST))
    assert ask(*cards, model="auto", tier=Tier.THINKING).card.id == "slow"
    assert ask(*cards, model="auto", tier=Tier.BASELINE).card.id == "fast"


def test_auto_prefers_a_model_that_takes_the_input() -> None:
    wide = InputSchema({"properties": {"prompt": {"type": "string"}, "n": {"type": "integer"}}})
    cards = (
        card("narrow", route()),
        Card("wide", "wide", (IMAGE,), "image", wide, (route(cost_micro=90),), {}, "test.toml"),
    )
    assert ask(*cards, model="auto", fields={"prompt": "a", "n": 2}).card.id == "wide"
    assert ask(*cards, model="auto", fields={"prompt": "a"}).card.id == "narrow"
    assert ask(*cards, model="auto", fields={"other": 1}).card.id == "narrow"


def test_a_named_model_is_never_answered_by_another_one() -> None:
    local = card("local/sketch", route("local", 0), preview=True)
    with pytest.raises(Problem) as caught:
        ask(local, card("m", route("x")), key_class=KeyClass.TEST)
    assert caught.value.code is Code.NO_ROUTE


def test_a_request_that_can_be_served_inside_its_region_never_goes_to_a_cheaper_host_that_promises_none() -> None:
    star, named = route("a", 10), route("b", 20, **EU_ONLY)
    model = card("m", star, named)
    assert ask(model, region=Region.EU).routes == (named,)
    assert ask(model, region=Region.EU, available=frozenset("a")).routes == (star,)
    assert ask(model, region=Region.CH).routes == (star,)
    assert ask(model).routes == (star, named)


def test_the_organisations_region_applies_where_the_request_names_none() -> None:
    org = Organisation(OrgId("o"), "o", default_region=Region.EU)
    model = card("m", route("a", **EU_ONLY), route("b", regions=frozenset({"US"})))
    assert [found.provider for found in ask(model, org=org).routes] == ["a"]
    assert [found.provider for found in ask(model, org=org, region=Region.US).routes] == ["b"]


def test_a_family_route_serves_its_own_operations_only() -> None:
    model = card("m", route("a", operations=frozenset({Operation.IMAGE_TO_IMAGE})), route("b"))
    assert [found.provider for found in ask(model).routes] == ["b"]


def test_a_tier_that_a_named_model_does_not_have_is_a_warning() -> None:
    assert "fast" in ask(card("m", route(), tier=Tier.THINKING), tier=Tier.FAST).warnings[0]
    assert ask(card("m", route(), tier=Tier.FAST), tier=Tier.FAST).warnings == ()


regions = st.frozensets(st.sampled_from(["*", "EU", "CH", "US"]), min_size=1, max_size=3)
routes = st.builds(
    route,
    provider=st.sampled_from(["a", "b", "c", "x"]),
    cost_micro=st.integers(0, 50),
    regions=regions,
    key_classes=st.frozensets(st.sampled_from(KeyClass)),
    priced=st.booleans(),
    phi=st.one_of(st.none(), st.builds(Declaration, st.just("DPA"), st.dates(date(2026, 1, 1), date(2028, 1, 1)))),
)


@given(
    routes=st.lists(routes, max_size=6),
    data_class=st.sampled_from(DataClass),
    region=st.sampled_from([Region.WORLD, Region.EU, Region.CH]),
    key_class=st.sampled_from(KeyClass),
    strict=st.booleans(),
    name=st.sampled_from(["m", "auto"]),
)
def test_no_route_that_breaks_a_rule_is_ever_in_a_plan(
    routes: list[Route], data_class: DataClass, region: Region, key_class: KeyClass, strict: bool, name: str
) -> None:
    def passes(one: Route) -> bool:
        named = region is Region.WORLD or region in one.regions
        if data_class is DataClass.PHI:
            allowed = one.phi is not None and one.phi.expires >= TODAY and named
        else:
            allowed = named or ("*" in one.regions and not strict)
        return allowed and one.priced and one.provider in EVERY and key_class in one.key_classes

    try:
        made = ask(
            card("m", *routes), model=name, data_class=data_class, region=region, key_class=key_class, strict=strict
        ).routes
    except Problem as problem:
        assert problem.code in (Code.PHI_BLOCKED, Code.NO_ROUTE, Code.MODEL_NOT_ALLOWED)
        made = ()
    fit = [one for one in routes if passes(one)]
    inside = [one for one in fit if region in one.regions] if region is not Region.WORLD else []
    assert sorted(map(repr, made)) == sorted(map(repr, inside or fit))


def test_the_built_in_models_answer_as_the_first_release_says(tmp_path: Path) -> None:
    catalog = Catalog.load()
    cards = catalog.cards()
    assert ask(*cards, model="local/sketch").routes[0].provider == "local"
    for model, operation in [("krea-2", IMAGE), ("wan", Operation.TEXT_TO_VIDEO)]:
        with pytest.raises(Problem) as caught:
            ask(*cards, model=model, operation=operation)
        assert caught.value.code is Code.PLANNED
        with pytest.raises(Problem) as caught:
            ask(*cards, model=model, operation=operation, data_class=DataClass.PHI)
        assert caught.value.code is Code.PHI_BLOCKED
    assert ask(*cards, model="auto", key_class=KeyClass.TEST).card.id == "local/sketch"


def test_what_a_route_needs_on_this_machine_is_named_with_the_way_to_have_it() -> None:
    wanting = card("m", route(provider="local", needs=("package:whisper", "weights:tiny")))
    with pytest.raises(Problem) as caught:
        ask(wanting, available=frozenset({"local"}))
    assert caught.value.code is Code.NO_ROUTE
    steps = 'whisper is not installed, run pip install "calotype[local]", then run calotype models pull tiny'
    assert caught.value.message == f"m cannot run here yet: {steps}."
    here = frozenset({"local", "package:whisper", "weights:tiny"})
    assert ask(wanting, available=here).routes[0].provider == "local"
    with pytest.raises(Problem, match="set up local"):
        ask(wanting, available=here - {"local"})
