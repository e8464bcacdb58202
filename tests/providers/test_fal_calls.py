"""How a request is written for fal: sizes, lengths, addresses (`wire/fal.md §13`)."""

from typing import Any

import pytest
from pydantic import SecretStr

from calotype.catalog import Catalog
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind
from calotype.providers.base import Call
from calotype.providers.fal import Fal
from calotype.providers.fal_calls import bases, upstream_input
from calotype.settings import ProviderSettings


@pytest.mark.parametrize(
    ("fields", "sent"),
    [
        ({"image_size": "640x480"}, {"image_size": {"width": 640, "height": 480}}),
        ({"image_size": "16:9"}, {"image_size": "landscape_16_9"}),
        ({"image_size": "square_hd"}, {"image_size": "square_hd"}),
        ({"image_size": "auto"}, {}),
        ({"image_size": {"width": 1, "height": 2}}, {"image_size": {"width": 1, "height": 2}}),
        ({"duration@": 5}, {"duration": "5"}),
        ({"safety_tolerance@": 2}, {"safety_tolerance": "2"}),
        ({"aspect_ratio@": "1792x1024"}, {"aspect_ratio": "16:9"}),
        ({"aspect_ratio@": "768x1024"}, {"aspect_ratio": "3:4"}),
        ({"aspect_ratio@": "768x1024", "aspect_ratio": "1:1"}, {"aspect_ratio": "1:1"}),
        ({"aspect_ratio@": "auto"}, {}),
    ],
)
def test_what_a_card_says_is_written_as_fal_wants_it(fields: dict[str, Any], sent: dict[str, Any]) -> None:
    assert upstream_input(fields) == sent


@pytest.mark.parametrize(
    ("base_url", "rest", "platform"),
    [
        ("https://queue.fal.run", "https://rest.fal.ai", "https://api.fal.ai/v1"),
        ("http://127.0.0.1:8750/queue", "http://127.0.0.1:8750/rest", "http://127.0.0.1:8750/platform/v1"),
        ("https://queue.gw.example.com", "https://rest.gw.example.com", "https://api.gw.example.com/v1"),
    ],
)
def test_every_service_is_found_beside_the_queue(base_url: str, rest: str, platform: str) -> None:
    found = bases("fal", base_url)
    assert (found.queue, found.rest, found.platform) == (base_url, rest, platform)


def test_a_request_with_a_field_that_an_endpoint_does_not_take_goes_elsewhere_unsent() -> None:
    fal = Fal("fal", ProviderSettings(api_key=SecretStr("a:b")))
    call = Call("job", 1, "token", Operation.TEXT_TO_IMAGE, "fal-ai/flux-pro/v1.1", {"prompt": "x", "!": "https://a/b"})
    with pytest.raises(StopIteration) as end:
        next(fal.submit(call))
    assert isinstance(end.value.value, Failed) and end.value.value.kind is FailedKind.GONE


def test_a_route_that_bills_stands_before_the_free_one_of_a_sandbox() -> None:
    providers = {"fal": ProviderSettings(base_url="http://127.0.0.1:1/queue"), "bfl": ProviderSettings(kind="bfl")}
    card = Catalog.load(None, providers).find("flux-2-pro")
    ready = [route.provider for route in card.routes if route.provider in providers]
    assert ready == ["bfl", "fal"]


def test_imagen_runs_at_fal_where_google_has_switched_it_off() -> None:
    catalog = Catalog.load(None, {"fal": ProviderSettings()})
    for model, micro in (("imagen-4", 40_000), ("imagen-4-fast", 20_000), ("imagen-4-ultra", 60_000)):
        card = catalog.find(model)
        route = next(one for one in card.routes if one.provider == "fal")
        assert (card.status, route.cost.micro) == ("active", micro)
        sent = upstream_input(route.upstream_fields(card.check({"prompt": "x", "size": "1024x1024", "n": 2}).input))
        assert (sent["aspect_ratio"], sent["num_images"]) == ("1:1", 2)
