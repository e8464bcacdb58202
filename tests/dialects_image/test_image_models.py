"""Every model of the dialect makes its picture, in its form and at its price (`wire/products.md D2`)."""

import base64
import io
from typing import Any

import httpx2
import msgspec
import pytest
from image_caller import PNG_URI, Caller
from PIL import Image

from calotype.dialects.image import shapes
from calotype.dialects.image.offers import MAKERS
from calotype.sandbox.base import Emulator
from running import Account

MADE: list[tuple[str, str, dict[str, Any], str, int]] = [
    ("imagen-4", "google", {}, "/v1beta/models/imagen-4.0-generate-001:predict", 40_000),
    ("imagen-4-fast", "google", {}, "/v1beta/models/imagen-4.0-fast-generate-001:predict", 20_000),
    ("imagen-4-ultra", "google", {}, "/v1beta/models/imagen-4.0-ultra-generate-001:predict", 60_000),
    ("flux-2-pro", "bfl", {"width": 512, "height": 512}, "/v1/flux-2-pro", 33_000),
    ("flux-2-klein", "bfl", {"width": 512, "height": 512}, "/v1/flux-2-klein-4b", 15_400),
    ("flux-1.1-pro", "bfl", {"width": 512, "height": 512}, "/v1/flux-pro-1.1", 40_000),
    ("recraft-v4", "fal", {"width": 512, "height": 512}, "/queue/fal-ai/recraft/v4/text-to-image", 40_000),
    ("recraft-v3", "fal", {"width": 512, "height": 512}, "/queue/fal-ai/recraft/v3/text-to-image", 40_000),
    ("ideogram-v3", "fal", {"width": 512, "height": 512}, "/queue/fal-ai/ideogram/v3", 60_000),
    ("sd-3.5", "fal", {"width": 512, "height": 512}, "/queue/fal-ai/stable-diffusion-v35-large", 30_000),
    ("qwen-image", "fal", {"aspect_ratio": "16:9"}, "/queue/fal-ai/qwen-image", 75_000),
]
EDITED: list[tuple[str, str, str, int]] = [
    ("flux-kontext", "bfl", "/v1/flux-kontext-pro", 44_000),
    ("qwen-image-edit", "fal", "/queue/fal-ai/qwen-image-edit", 75_000),
    ("seedream-5", "fal", "/queue/bytedance/seedream/v5/lite/edit", 40_000),
]


def answered(answer: httpx2.Response) -> shapes.ImageMade:
    assert answer.status_code == 200, answer.text
    return msgspec.json.decode(answer.content, type=shapes.ImageAnswer).data


def picture(made: shapes.ImageMade, n: int = 0) -> Image.Image:
    """Open a picture, which comes as base64 from Imagen and as a URL from everybody else."""
    one = made.images[n]
    if made.model.startswith("imagen-"):
        assert one.url is msgspec.UNSET
        return Image.open(io.BytesIO(base64.b64decode(str(one.base64), validate=True)))
    assert one.base64 is msgspec.UNSET
    return Image.open(io.BytesIO(httpx2.get(str(one.url)).raise_for_status().content))


def test_all_fourteen_models_are_here() -> None:
    assert len(MADE) + len(EDITED) == 14
    assert {row[0] for row in (*MADE, *EDITED)} <= MAKERS.keys()


@pytest.mark.parametrize(("model", "provider", "fields", "path", "micro"), MADE, ids=[row[0] for row in MADE])
def test_a_model_makes_a_picture_at_its_maker_and_price(
    model: str, provider: str, fields: dict[str, Any], path: str, micro: int, caller: Caller, account: Account,
    upstreams: dict[str, Emulator],
) -> None:  # fmt: skip
    answer = caller.generate(model=model, **fields)
    made = answered(answer)
    assert (made.model, made.provider) == (model, provider)
    shown = picture(made)
    assert (made.images[0].width, made.images[0].height) == shown.size
    assert made.images[0].mimeType == Image.MIME[str(shown.format)]
    (submit,) = upstreams[provider].submits
    assert submit.path == path
    assert (account.spent_micro, account.held_micro) == (micro, 0)
    assert made.cost_usd == micro / 1_000_000 and answer.headers["x-phi-cost-micro"] == str(micro)


@pytest.mark.parametrize(("model", "provider", "path", "micro"), EDITED, ids=[row[0] for row in EDITED])
def test_a_model_edits_a_picture_at_its_maker_and_price(
    model: str, provider: str, path: str, micro: int, caller: Caller, account: Account, upstreams: dict[str, Emulator]
) -> None:
    made = answered(caller.edit(model=model))
    assert (made.model, made.provider) == (model, provider)
    picture(made)
    (submit,) = upstreams[provider].submits
    assert submit.path == path and submit.json()["prompt"] == "make it winter"
    assert (account.spent_micro, account.held_micro) == (micro, 0)


def test_the_models_that_are_meant_when_none_is_named(caller: Caller, upstreams: dict[str, Emulator]) -> None:
    assert answered(caller.generate(width=512, height=512)).model == "flux-2-pro"
    assert answered(caller.edit()).model == "qwen-image-edit"


def test_imagen_is_base64_also_where_another_route_made_it(
    caller: Caller, account: Account, upstreams: dict[str, Emulator]
) -> None:
    upstreams["google"].settings["retired"] = 1  # as it is at Google's own API since 2026
    answer = caller.generate(model="imagen-4", num_images=2)
    made = answered(answer)
    assert answer.headers["x-phi-routed"].startswith("fal-imagen-4")
    assert len(upstreams["fal"].submits) == 1 and account.spent_micro == 80_000
    assert made.provider == "google" and len(made.images) == 2
    picture(made, 1)


def test_the_parameters_of_a_maker_reach_it(caller: Caller, upstreams: dict[str, Emulator]) -> None:
    made = answered(caller.generate(model="imagen-4", num_images=3, image_size="2K", aspect_ratio="9:16"))
    sent = upstreams["google"].submits[0].json()["parameters"]
    assert (sent["sampleCount"], sent["aspectRatio"]) == (3, "9:16") and len(made.images) == 3
    flux = caller.generate(width=1000, height=512, seed=7)
    assert answered(flux).seed == 7
    assert upstreams["bfl"].submits[0].json() | {"prompt": ""} == {
        "prompt": "", "width": 1008, "height": 512, "seed": 7, "safety_tolerance": 2, "output_format": "jpeg",
    }  # fmt: skip
    assert "1000x512 became 1008x512" in flux.json()["warnings"][0]
    assert answered(caller.edit(model="flux-kontext", seed=9)).seed == 9
    caller.generate(model="ideogram-v3", aspect_ratio="4:3")
    assert upstreams["fal"].submits[-1].json()["image_size"] == "landscape_4_3"


def test_a_model_of_the_catalogue_that_is_not_in_the_table_works_too(caller: Caller, account: Account) -> None:
    made = answered(caller.generate(model="local/sketch", width=256, height=320))
    assert picture(made).size == (256, 320) and made.provider == "local"
    refused = caller.generate(model="local/sketch", image_size="2K").json()["error"]
    assert refused["details"]["field"] == "image_size" and "width" in refused["message"]


def test_a_picture_given_as_data_reaches_the_maker(caller: Caller, upstreams: dict[str, Emulator]) -> None:
    answered(caller.edit(image_url=PNG_URI))
    assert upstreams["fal"].submits[0].json()["image_url"].startswith("http")
