"""One function computes the price: quote, rate card, capture and cost agree, whatever the rule."""

from fractions import Fraction
from math import ceil
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calotype.catalog import Card, Delivered, Pricing, Quote, Rate, Route, captured, cost_of, quote, rates
from calotype.catalog import rules as r
from calotype.catalog.prices import priced
from calotype.catalog.schema import InputSchema
from calotype.kernel.generation import Operation

FREE = Pricing(margin_bps=0)


def model(rule: r.AnyRule, *, source: str = "a list", price: r.AnyRule | None = None, outputs: int = 1) -> Card:
    route = Route("p", "p", "up", rule, source)
    schema = InputSchema({"properties": {}})
    operations = (Operation.TEXT_TO_IMAGE,)
    return Card("m", "m", operations, "image", schema, (route,), {}, "m.toml", count="n", outputs=outputs, price=price)


def price_of(rule: r.AnyRule, fields: dict[str, Any], pricing: Pricing = FREE) -> Quote:
    card = model(rule)
    return quote(card, card.routes[0], fields, pricing)


TOKENS = r.Token(input_micro=5_000_000, micro=30_000_000, max_input=1000, max_output=400)
SEEDANCE = r.Matrix(
    base="credit",
    fields=("resolution", "duration", "audio"),
    cells={"480p/4/false": 2_000_000, "480p/4/true": 3_000_000, "720p/*/*": 9_000_000},
)
FLUX = r.Megapixel(
    first_micro=30_000, micro=15_000, image_micro=15_000, images=("image",), max_image=4, default_pixels=4 * r.MEGAPIXEL
)
FACTORED = r.Matrix(base="second", micro=100_000, factors={"resolution": {"720p": 100, "1080p": 150, "*": 250}})

TABLE: list[tuple[r.AnyRule, dict[str, Any], int]] = [
    (r.Request(micro=99_000), {"n": 3}, 99_000),
    (r.Image(micro=30_000), {"n": 3}, 90_000),
    (r.Image(micro=30_000), {}, 30_000),
    (r.Megapixel(micro=25_000), {"size": "1024x1024"}, 25_000),
    (r.Megapixel(micro=25_000), {"size": "1024x1025", "n": 2}, 100_000),
    (r.Megapixel(micro=25_000), {"width": 2048, "height": 1024}, 50_000),
    (r.Megapixel(micro=25_000, default_pixels=1_000_000), {"size": "auto"}, 25_000),
    (r.Megapixel(first_micro=30_000, micro=15_000), {"size": "2048x1024", "n": 2}, 90_000),
    (FLUX, {"size": "1024x1024", "image": ["a", "b"]}, 30_000 + 8 * 15_000),
    (FLUX, {"size": "auto"}, 30_000),
    (FLUX, {"size": "auto", "image": ["a"]}, 30_000 + 3 * 15_000 + 4 * 15_000),
    (r.Second(micro=80_000), {"seconds": 5}, 400_000),
    (r.Second(micro=80_000), {"seconds": "5"}, 400_000),
    (r.Second(micro=80_000), {"seconds": 4.2}, 400_000),
    (r.Second(micro=200_000, max=60), {}, 12_000_000),
    (r.Minute(micro=4_500, max=600), {"seconds": 90}, 6_750),
    (r.Character(micro=15_000_000), {"input": "hello"}, 75),
    (TOKENS, {"prompt": "é"}, 10 + 12_000),
    (TOKENS, {"prompt": "x" * 5000, "n": 2}, 5_000 + 24_000),
    (r.Token(micro=1_000_000, max_input=0, max_output=500, output_field="max_tokens"), {"max_tokens": 100}, 100),
    (r.Token(micro=1_000_000, max_input=0, max_output=500, output_field="max_tokens"), {"max_tokens": 900}, 500),
    (
        r.Token(micro=1_000_000, max_input=0, max_output=90, output_table={"quality": {"low": 10}}, by_megapixel=True),
        {"quality": "low", "size": "2048x1024"},
        20,
    ),
    (
        r.Token(input_image_micro=1_000_000, max_input=0, max_output=0, images=("image", "mask"), max_image=50),
        {"image": ["a", "b"], "mask": "c"},
        150,
    ),
    (r.Page(micro=1_500, max=100), {"pages": 3}, 4_500),
    (r.Page(micro=1_500, max=100), {"pages": [0, 4]}, 3_000),
    (r.Page(micro=1_500, max=100), {}, 150_000),
    (r.Step(micro=2), {"steps": 1000}, 2_000),
    (r.TenMegabytes(micro=15_000, max_bytes=25_000_000), {}, 45_000),
    (r.Credit(micro=1_500_000), {}, 45_000),
    (SEEDANCE, {"resolution": "480p", "duration": 4, "audio": True}, 90_000),
    (SEEDANCE, {"resolution": "720p", "duration": 12, "audio": False}, 270_000),
    (FACTORED, {"resolution": "1080p", "seconds": 4}, 600_000),
    (FACTORED, {"resolution": "4k", "seconds": 1}, 250_000),
]


@pytest.mark.parametrize(("rule", "fields", "micro"), TABLE, ids=lambda value: type(value).__name__)
def test_each_rule_counts_what_its_name_says(rule: r.AnyRule, fields: dict[str, Any], micro: int) -> None:
    assert price_of(rule, fields).hold_micro == micro


def test_the_margin_is_on_the_total_and_rounds_up_once() -> None:
    assert price_of(r.Image(micro=30_000), {}, Pricing()).hold_micro == 33_000
    assert price_of(r.Character(micro=15_000_000), {"input": "a"}, Pricing()).hold_micro == 17
    assert price_of(r.Image(micro=1, per=3), {"n": 9}, FREE).hold_micro == 3
    assert price_of(r.Image(micro=1, per=3), {"n": 10}, FREE).hold_micro == 4


def test_the_operators_price_replaces_cost_and_margin() -> None:
    own = Pricing(margin_bps=1000, overrides={"m": 1_000})
    assert price_of(r.Image(), {"n": 3}, own).hold_micro == 3_000
    assert price_of(FACTORED, {"resolution": "4k", "seconds": 2}, own).hold_micro == 2_000
    assert price_of(r.Credit(micro=1_500_000), {}, own).hold_micro == 1_000
    card = model(FACTORED)
    assert rates(card, card.routes[0], own) == (Rate("second", 1, 1_000),)


def test_a_price_on_the_card_takes_no_margin() -> None:
    card = model(r.Image(micro=10_000), price=r.Image(micro=50_000))
    assert quote(card, card.routes[0], {"n": 2}, Pricing()).hold_micro == 100_000
    assert cost_of(card, card.routes[0], {"n": 2}) == 20_000


def test_an_unpublished_cost_is_unknown_until_a_price_is_set() -> None:
    card = model(r.Image(), source="unknown")
    assert cost_of(card, card.routes[0], {}) is None
    assert not priced(card, card.routes[0], Pricing())
    assert priced(card, card.routes[0], Pricing(overrides={"m": 1}))


def test_measured_units_capture_what_was_delivered() -> None:
    video = price_of(r.Second(micro=80_000), {"seconds": 5}, Pricing())
    assert video.measured
    assert captured(video, Delivered(1, {"duration_ms": 2_400})) == 264_000
    assert captured(video, Delivered(1, {"duration_ms": 9_000})) == video.hold_micro
    assert captured(video, Delivered(1)) == video.hold_micro
    text = price_of(TOKENS, {"prompt": "abc"}, Pricing())
    assert captured(text, Delivered(1, {"input_tokens": 1, "output_tokens": 100})) == ceil(3_005 * 1.1)
    file = price_of(r.TenMegabytes(micro=15_000, max_bytes=50_000_000), {})
    assert captured(file, Delivered(1, {"bytes": 10_000_001})) == 30_000


def test_pictures_of_unknown_size_are_held_at_the_most_and_charged_as_they_were() -> None:
    edit = price_of(FLUX, {"size": "auto", "image": ["a"]})
    assert edit.hold_micro == 30_000 + 3 * 15_000 + 4 * 15_000
    assert captured(edit, Delivered(1, {"input_megapixels": 2, "further_megapixels": 0})) == 60_000
    assert captured(edit, Delivered(1)) == edit.hold_micro


def test_partial_delivery_is_priced_by_delivered_output_and_nothing_is_free() -> None:
    images = price_of(r.Image(micro=30_000), {"n": 4}, Pricing())
    assert [captured(images, Delivered(done)) for done in range(6)] == [0, 33_000, 66_000, 99_000, 132_000, 132_000]
    pack = model(r.Request(micro=100), outputs=4)
    assert captured(quote(pack, pack.routes[0], {}, FREE), Delivered(1)) == 25


def test_of_what_the_upstream_made_only_the_stored_share_is_charged() -> None:
    videos = price_of(r.Second(micro=80_000), {"seconds": 5, "n": 4})
    assert captured(videos, Delivered(3, {"duration_ms": 20_000}, made=4)) == 1_200_000
    assert captured(videos, Delivered(3, {"duration_ms": 15_000})) == 1_200_000


def test_the_cost_of_a_delivery_is_not_bounded_by_the_hold() -> None:
    card = model(r.Second(micro=80_000))
    delivered = Delivered(1, {"duration_ms": 9_000})
    assert cost_of(card, card.routes[0], {"seconds": 5}, delivered) == 720_000
    assert captured(quote(card, card.routes[0], {"seconds": 5}, FREE), delivered) == 400_000


def test_the_rate_card_has_a_row_for_each_cell_and_kind_of_token() -> None:
    card = model(SEEDANCE)
    assert [(row.price_micro, row.when) for row in rates(card, card.routes[0], FREE)] == [
        (60_000, {"resolution": "480p", "duration": "4", "audio": "false"}),
        (90_000, {"resolution": "480p", "duration": "4", "audio": "true"}),
        (270_000, {"resolution": "720p", "duration": "*", "audio": "*"}),
    ]
    card = model(TOKENS)
    assert rates(card, card.routes[0], Pricing()) == (
        Rate("input token", 1_000_000, 5_500_000),
        Rate("output token", 1_000_000, 33_000_000),
    )
    card = model(r.Minute(micro=4_500, max=60))
    assert rates(card, card.routes[0], FREE) == (Rate("minute", 1, 4_500),)


def test_a_quote_survives_being_stored() -> None:
    made = price_of(TOKENS, {"prompt": "abc"}, Pricing())
    assert msgspec.json.decode(msgspec.json.encode(made), type=Quote) == made


def test_a_quote_explains_itself() -> None:
    assert price_of(r.Image(micro=30_000), {"n": 2}, Pricing()).breakdown() == "2 images: 0.066 USD"
    assert price_of(r.Second(micro=80_000), {"seconds": 1}).breakdown() == "up to 1 second: 0.08 USD"
    assert price_of(r.Image(micro=30_000), {"n": 2}, Pricing()).unit_micro == 33_000


def test_the_unit_price_of_a_quote_is_that_of_the_rate_card() -> None:
    assert price_of(r.Credit(micro=1_500_000), {}).unit_micro == 45_000
    assert price_of(FACTORED, {"resolution": "1080p", "seconds": 4}).unit_micro == 150_000
    assert price_of(r.Minute(micro=4_500, max=600), {}).unit_micro == 4_500


def test_a_rule_that_cannot_price_an_input_says_so() -> None:
    for rule in (r.Second(micro=1), r.Megapixel(micro=1), SEEDANCE):
        with pytest.raises(r.PriceError):
            price_of(rule, {"seconds": "auto", "size": "auto"})
    with pytest.raises(ValueError, match="from 0 up"):
        r.Image(micro=-1)
    with pytest.raises(ValueError, match="at least 1"):
        r.Image(per=0)


micros = st.integers(0, 10**8)
pers = st.sampled_from([1, 3, 1000, 1_000_000])
single = st.one_of(
    st.builds(r.Image, micro=micros, per=pers),
    st.builds(r.Second, micro=micros, per=pers),
    st.builds(r.Minute, micro=micros, per=pers),
    st.builds(r.Step, micro=micros, per=pers),
    st.builds(r.Page, micro=micros, per=pers, max=st.just(5)),
    st.builds(r.Megapixel, micro=micros, per=pers),
    st.builds(r.Matrix, base=st.just("second"), micro=micros, per=pers, factors=st.just({"q": {"hd": 130}})),
)
pricings = st.builds(
    Pricing, margin_bps=st.integers(0, 20_000), overrides=st.one_of(st.just({}), st.fixed_dictionaries({"m": micros}))
)


@given(rule=single, pricing=pricings, asked=st.integers(0, 5000), n=st.integers(1, 10))
def test_quote_rate_card_and_capture_agree(rule: r.AnyRule, pricing: Pricing, asked: int, n: int) -> None:
    """For every rule of one line: the exact price of what is counted, rounded up once, captured in full."""
    card = model(rule)
    route = card.routes[0]
    fields = {"seconds": asked, "steps": asked, "pages": asked, "size": "2048x1024", "n": n, "q": "hd"}
    made = quote(card, route, fields, pricing)
    (row,) = rates(card, route, pricing)
    (line,) = made.lines

    flat = pricing.overrides.get("m")
    exact = Fraction(rule.micro if flat is None else flat) * (Fraction(13, 10) if isinstance(rule, r.Matrix) else 1)
    if flat is None:
        exact *= Fraction(10_000 + pricing.margin_bps, 10_000)
    elif isinstance(rule, r.Matrix):
        exact = Fraction(flat)
    units = Fraction(line.quantity, 60 if isinstance(rule, r.Minute) else 1)
    assert row.per == rule.per
    assert row.price_micro == ceil(exact)
    assert made.hold_micro == ceil(exact * units / rule.per)
    assert made.unit_micro == row.price_micro
    assert made.hold_micro <= ceil(row.price_micro * units / rule.per)

    measured = {line.usage: line.quantity * line.step} if line.usage else {}
    assert captured(made, Delivered(n, measured)) == made.hold_micro
    assert captured(made, Delivered(n)) == made.hold_micro
    assert captured(made, Delivered(0, measured)) == 0


@given(
    rule=st.one_of(single, st.just(TOKENS)),
    pricing=pricings,
    n=st.integers(1, 10),
    done=st.integers(0, 12),
    usage=st.dictionaries(
        st.sampled_from(["duration_ms", "pages", "input_tokens", "output_tokens"]), st.integers(-5, 10**9)
    ),
)
def test_a_capture_is_never_above_the_hold_and_grows_with_what_is_delivered(
    rule: r.AnyRule, pricing: Pricing, n: int, done: int, usage: dict[str, int]
) -> None:
    made = price_of(rule, {"seconds": 7, "steps": 7, "pages": 7, "size": "1024x1024", "n": n, "q": "hd"}, pricing)
    taken = captured(made, Delivered(done, usage))
    assert 0 <= taken <= made.hold_micro
    assert taken <= captured(made, Delivered(done + 1, usage))


@given(micro=micros, n=st.integers(1, 10), bps=st.integers(0, 20_000))
def test_the_retail_price_is_never_below_the_cost(micro: int, n: int, bps: int) -> None:
    card = model(r.Image(micro=micro))
    cost = cost_of(card, card.routes[0], {"n": n})
    assert cost == micro * n
    assert quote(card, card.routes[0], {"n": n}, Pricing(margin_bps=bps)).hold_micro >= cost
    assert cost_of(card, card.routes[0], {"n": n}, Delivered(1)) == micro
