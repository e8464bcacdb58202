"""No choice that a model offers makes its upstream dearer than what the caller is charged, where costs are known."""

from collections.abc import Iterator
from itertools import islice, product
from typing import Any

import pytest

from calotype.catalog import Card, Catalog, Pricing, cost_of, quote
from calotype.catalog import rules as r
from calotype.catalog.rules import AnyRule
from calotype.catalog.samples import priced_fields, samples
from calotype.catalog.unit_prices import Unit, UnitPrice, counted
from calotype.kernel.errors import Problem
from calotype.providers.price_lists import PRICE_LISTS

CARDS = Catalog.load().cards(everything=True)
every_card = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)
MOST = 4_000
UNITS: tuple[Unit, ...] = ("second", "request", "image", "megapixel")
DEARER = frozenset({"resolution", "generate_audio", "rendering_speed", "quality", "mode", "duration", "seconds"})
"""Fields by which providers scale what they bill."""
MEDIA = frozenset({"image", "video", "audio"})


def inputs(card: Card, rules: list[AnyRule]) -> Iterator[dict[str, Any]]:
    """Return what the card takes of every combination of the values that any of these rules reads."""
    several = [list(samples(card.schema, rule, card.example)) for rule in rules]
    for chosen in islice(product(*several), MOST):
        merged: dict[str, Any] = dict(chosen[0])
        for rule, fields in zip(rules[1:], chosen[1:], strict=True):
            merged |= {name: fields[name] for name in priced_fields(rule) if name in fields}
        for more in ({}, {card.count: 3}) if card.count is not None else ({},):
            try:
                yield card.check({**merged, **more}).input
            except Problem:
                continue


@every_card
def test_the_retail_price_of_every_choice_covers_the_published_cost_of_its_route(card: Card) -> None:
    for route in card.routes:
        if not route.cost_known:
            continue
        rules = [route.cost] if card.price is None else [card.price, route.cost]
        for fields in inputs(card, rules):
            cost = cost_of(card, route, fields)
            assert cost is not None and quote(card, route, fields, Pricing()).hold_micro >= cost, fields


@every_card
def test_a_unit_from_a_price_list_prices_a_model_only_where_every_choice_is_counted(card: Card) -> None:
    for route in card.routes:
        if route.kind not in PRICE_LISTS or route.cost_known or card.price is not None or card.output not in MEDIA:
            continue
        assert set(route.cost.varies) <= card.fields
        sold = {name for name, word in route.fields.items() if word == "!"}
        offered = (DEARER & card.fields) - sold - set(priced_fields(route.cost)) - {card.count}
        for unit in UNITS:
            price = UnitPrice("fal", "", route.upstream, unit, 1, 1, "a list", "2026-11-20")
            fits = counted(
                route.cost, price, output=card.output, count=card.count, fields=card.schema.properties
            )  # fmt: skip
            assert fits is None or not offered, (unit, offered)


def test_tools_that_a_provider_bills_apart_are_not_taken() -> None:
    for card in CARDS:
        if "tools" not in card.fields:
            continue
        assert card.check({**card.example, "tools": [{"type": "function", "function": {"name": "f"}}]}).input["tools"]
        for tool in ({"type": "openrouter:web_search"}, {"type": "web_search"}, {"googleSearch": {}}):
            with pytest.raises(Problem) as refused:
                card.check({**card.example, "tools": [tool]})
            assert (refused.value.field or "").startswith("tools")


def test_what_varies_in_an_unpublished_way_is_priced_by_no_list() -> None:
    price = UnitPrice("fal", "", "x", "second", 100_000, 1, "a list", "2026-11-20")
    plain, varying = r.Second(max=8), r.Second(max=8, varies=("generate_audio",))
    assert counted(plain, price, output="video", count=None, fields={}) == r.Second(max=8, micro=100_000)
    assert counted(varying, price, output="video", count=None, fields={}) is None
