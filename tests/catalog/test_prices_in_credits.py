"""Any rule can be in credits: its amounts are micro-credits and become money by what a credit is worth."""

from typing import Any

import pytest
from msgspec.structs import replace

from calotype.catalog import Card, Delivered, Pricing, Route, captured, quote, rates
from calotype.catalog import rules as r
from calotype.catalog.schema import InputSchema
from calotype.kernel.generation import Operation

PRICING = Pricing(credit_micro=30_000)
MOTION = r.Matrix(
    base="second",
    credits=True,
    fields=("mode",),
    cells={"720p": 1_210_000, "1080p": 1_820_000},
    max=30,
    max_table={"orientation": {"image": 10}},
)


def model(price: r.AnyRule) -> Card:
    route = Route("p", "p", "up", r.Request())
    operations = (Operation.VIDEO_TO_VIDEO,)
    return Card("m", "m", operations, "video", InputSchema({}), (route,), {}, "m.toml", price=price)


@pytest.mark.parametrize(
    ("rule", "fields", "micro"),
    [
        (r.Credit(micro=1_500_000), {}, 45_000),
        (r.Request(micro=1_500_000, credits=True), {}, 45_000),
        (r.Second(micro=1_210_000, credits=True), {"seconds": 3}, 108_900),
        (r.Minute(micro=170_000, credits=True), {"seconds": 90}, 7_650),
        (r.TenMegabytes(micro=500_000, credits=True, max_bytes=25_000_000), {}, 45_000),
        (MOTION, {"mode": "720p"}, 30 * 36_300),
        (MOTION, {"mode": "1080p", "orientation": "video"}, 30 * 54_600),
        (MOTION, {"mode": "1080p", "orientation": "image"}, 10 * 54_600),
    ],
)
def test_an_amount_in_credits_is_worth_what_the_setting_says(
    rule: r.AnyRule, fields: dict[str, Any], micro: int
) -> None:
    card = model(rule)
    assert rule.in_credits
    assert quote(card, card.routes[0], fields, PRICING).hold_micro == micro
    dearer = replace(PRICING, credit_micro=60_000)
    assert quote(card, card.routes[0], fields, dearer).hold_micro == 2 * micro


def test_measured_seconds_are_captured_in_started_ones_and_never_above_the_hold() -> None:
    card = model(MOTION)
    quoted = quote(card, card.routes[0], {"mode": "720p"}, PRICING)
    assert captured(quoted, Delivered(1, {"duration_ms": 4_200})) == 5 * 36_300
    assert captured(quoted, Delivered(1, {"duration_ms": 99_000})) == quoted.hold_micro
    assert captured(quoted, Delivered(0)) == 0


def test_the_operators_flat_price_is_money_and_no_credits() -> None:
    card = model(MOTION)
    assert quote(card, card.routes[0], {"mode": "720p"}, replace(PRICING, overrides={"m": 2_000})).hold_micro == 60_000


def test_the_rate_card_shows_a_second_of_each_mode() -> None:
    card = model(MOTION)
    shown = {rate.when["mode"]: (rate.unit, rate.price_micro) for rate in rates(card, card.routes[0], PRICING)}
    assert shown == {"720p": ("second", 36_300), "1080p": ("second", 54_600)}


def test_a_request_that_delivers_anything_costs_the_least_at_least() -> None:
    card = model(r.Minute(micro=170_000, credits=True, least=70_000, max=600))
    quoted = quote(card, card.routes[0], {}, PRICING)
    assert quoted.hold_micro == 10 * 170_000 * 30_000 // 1_000_000
    assert captured(quoted, Delivered(1, {"duration_ms": 1_000})) == 70_000 * 30_000 // 1_000_000
    assert captured(quoted, Delivered(1, {"duration_ms": 60_000})) == 170_000 * 30_000 // 1_000_000
    assert captured(quoted, Delivered(0, {"duration_ms": 60_000})) == 0
    assert rates(card, card.routes[0], PRICING)[0].price_micro == 170_000 * 30_000 // 1_000_000
    short = quote(card, card.routes[0], {"seconds": 1}, PRICING)
    assert short.hold_micro == captured(short, Delivered(1)) == 2_100
