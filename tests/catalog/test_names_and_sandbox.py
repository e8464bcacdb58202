"""What cards say beyond inputs and prices: other names of fields, patience, and runs that cost nobody anything."""

from typing import Any

import pytest

from calotype.catalog import Catalog, quote
from calotype.catalog.prices import Pricing
from calotype.catalog.rules import Megapixel, megapixels, sized
from calotype.catalog.schema import InputSchema
from calotype.settings import ProviderSettings, is_loopback

SCHEMA = InputSchema(
    {
        "properties": {
            "image_size": {"type": "string", "x-aliases": ["size"]},
            "duration": {"type": "string", "enum": ["4s", "8s"], "x-aliases": ["seconds"]},
            "image_urls": {"type": "array", "items": {"type": "string"}, "x-aliases": ["image", "image_url"]},
            "n": {"type": "integer", "x-aliases": ["num_images"]},
            "num_images": {"type": "integer"},
        }
    }
)


@pytest.mark.parametrize(
    ("given", "meant"),
    [
        ({"size": "1024x1024"}, {"image_size": "1024x1024"}),
        ({"size": "1x1", "image_size": "square"}, {"image_size": "square"}),
        ({"seconds": 8}, {"duration": "8s"}),
        ({"seconds": 5}, {"duration": "5"}),
        ({"image": "a"}, {"image_urls": ["a"]}),
        ({"image": ["a", "b"]}, {"image_urls": ["a", "b"]}),
        ({"num_images": 2, "n": 1}, {"num_images": 2, "n": 1}),
        ({"other": 1}, {"other": 1}),
    ],
)
def test_a_field_may_be_called_by_another_name_and_takes_the_form_it_has_here(
    given: dict[str, Any], meant: dict[str, Any]
) -> None:
    assert SCHEMA.renamed(given) == meant


@pytest.mark.parametrize(
    ("url", "here"),
    [
        ("http://127.0.0.1:8750/queue", True), ("http://localhost/queue", True), ("http://[::1]:1/", True),
        ("https://queue.fal.run", False), ("http://10.0.0.1/queue", False), ("http://127.0.0.1.example.com", False),
        ("http://[", False), (None, False),
    ],
)  # fmt: skip
def test_only_this_very_machine_is_a_sandbox(url: str | None, here: bool) -> None:
    assert is_loopback(url) is here


def test_a_model_without_a_published_cost_runs_free_in_the_sandbox_and_nowhere_else() -> None:
    def priced(url: str | None, pricing: Pricing | None = None) -> tuple[bool, int]:
        catalog = Catalog.load(None, {"fal": ProviderSettings(base_url=url)}, pricing)
        card = catalog.find("fal-ai/flux/dev")
        (route,) = card.routes
        return route.priced, quote(card, route, {"prompt": "x"}, catalog.pricing).hold_micro

    assert priced("http://127.0.0.1:8750/queue") == (True, 0)
    assert priced("http://127.0.0.1:8750/queue", Pricing(overrides={"fal-ai/flux/dev": 25_000})) == (True, 25_000)
    assert priced(None) == (False, 0)
    assert priced("https://queue.gw.example.com") == (False, 0)


def test_a_published_cost_is_charged_in_the_sandbox_too() -> None:
    fal = ProviderSettings(base_url="http://127.0.0.1:8750/queue")
    routes = Catalog.load(None, {"fal": fal}).find("krea-2").routes
    assert [route.example_micro for route in routes if route.provider == "fal"] == [33_000]


def test_a_size_may_be_an_object_where_megapixels_are_counted() -> None:
    rule = Megapixel(size="image_size", default_pixels=1_048_576)
    assert megapixels(rule, {"image_size": {"width": 2048, "height": 1024}}) == 2
    assert megapixels(rule, {"image_size": "2048x2048"}) == 4
    assert megapixels(rule, {"image_size": "square_hd"}) == 1
    assert sized(rule, {"image_size": {"width": 1, "height": 1}})
    assert not sized(rule, {"image_size": "square_hd"})
