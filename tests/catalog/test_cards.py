"""Every built-in card is whole: schema, names, prices, routes, and the way out of it when it is retired."""

import pytest
from msgspec import json

from calotype.catalog import Card, Catalog, Pricing, cost_of, quote, rates
from calotype.catalog.prices import priced
from calotype.catalog.samples import samples
from calotype.kernel.errors import Problem
from calotype.kernel.generation import KeyClass, Operation
from calotype.settings import Settings

CATALOG = Catalog.load()
CARDS = CATALOG.cards(everything=True)
every_card = pytest.mark.parametrize("card", CARDS, ids=lambda card: card.id)


@every_card
def test_the_example_is_an_input_it_takes(card: Card) -> None:
    assert card.check(card.example).input.items() >= card.example.items()


@every_card
def test_a_price_exists_for_every_input_it_takes(card: Card) -> None:
    pricing = Pricing()
    for route in card.routes:
        assert rates(card, route, pricing)
        for fields in samples(card.schema, card.price or route.cost, card.example):
            made = quote(card, route, fields, pricing)
            cost = cost_of(card, route, fields)
            assert made.hold_micro >= 0
            assert cost is None or card.price is not None or made.hold_micro >= cost
            assert made.outputs >= 1
        for asked in range(1, 4):
            if card.count is not None:
                assert card.outputs_of({card.count: asked}) == asked * card.outputs


@every_card
def test_a_cost_says_where_it_is_published_and_a_route_who_may_use_it(card: Card) -> None:
    for route in card.routes:
        assert route.cost_source
        assert route.key_classes
        assert route.regions
        assert route.phi is None, "PHI is the operator's declaration, never a card's"
        assert route.priced is priced(card, route, CATALOG.pricing)


@every_card
def test_a_model_that_ends_says_when_and_what_instead(card: Card) -> None:
    if card.status == "retired":
        assert card.replacement is not None
        assert CATALOG.find(card.replacement).id != card.id
        with pytest.raises(Problem) as caught:
            CATALOG.find(card.id)
        assert card.replacement in caught.value.message
    if card.status == "deprecated":
        assert card.shutdown_date is not None


@every_card
def test_a_card_has_words_for_people(card: Card) -> None:
    assert card.title
    assert card.description.endswith(".")
    assert not card.preview or card.label


def test_names_are_unique_and_lead_to_their_card() -> None:
    names = [name for card in CARDS for name in card.names]
    assert len(names) == len(set(names))
    assert all(CATALOG.get(name) is card for card in CARDS for name in card.names)


def test_the_schema_can_be_published_as_it_is() -> None:
    for card in CARDS:
        assert b"_shared.toml" not in json.encode(card.schema.document)


def test_the_machine_itself_serves_everybody_and_the_cloud_paying_callers() -> None:
    assert CATALOG.find("local/sketch").routes[0].key_classes == set(KeyClass)
    assert CATALOG.find("gpt-image-2").routes[0].key_classes == {KeyClass.PAID, KeyClass.UNLIMITED}


def test_media_fields_are_known() -> None:
    assert CATALOG.find("avatar").media_fields == {"image_url": "image", "audio_url": "audio"}
    assert CATALOG.find("local/sketch").media_fields == {}


@pytest.mark.parametrize(
    ("model", "fields", "micro"),
    [
        ("local/sketch", {"n": 10}, 0),
        ("local/sketch-video", {"seconds": 20}, 0),
        ("krea-2", {}, 33_000),
        ("krea-2", {"n": 3}, 99_000),
        ("wan", {"seconds": 5}, 440_000),
        ("avatar", {"seconds": 1}, 220_000),
    ],
)
def test_products_have_their_published_prices(model: str, fields: dict[str, int], micro: int) -> None:
    card = CATALOG.find(model)
    checked = card.check({**card.example, **fields})
    settings = Settings()
    pricing = Pricing(margin_bps=settings.margin_bps)
    paid = next(route for route in card.routes if KeyClass.PAID in route.key_classes)
    assert quote(card, paid, checked.input, pricing).hold_micro == micro


def test_workers_of_the_operators_own_serve_everybody_but_paying_callers_for_nothing() -> None:
    served = [(card, route) for card in CARDS for route in card.routes if route.provider == "comfyui"]
    assert {"krea-2", "wan", "avatar", "bernini", "comfyui/test-card"} <= {card.id for card, _ in served}
    for card, route in served:
        assert route.key_classes == {KeyClass.TEST, KeyClass.UNLIMITED}
        assert quote(card, route, card.check(card.example).input, Pricing()).hold_micro == 0


def test_an_operation_lists_its_models() -> None:
    ids = {card.id for card in CATALOG.by_operation(Operation.TEXT_TO_IMAGE)}
    assert {"local/sketch", "gpt-image-2", "krea-2"} <= ids
    assert {card.id for card in CATALOG.by_operation(Operation.OCR)} == {"mistral-ocr", "azure-document-intelligence"}
