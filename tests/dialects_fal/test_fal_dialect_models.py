"""What models take and answer, as fal's users know it (`wire/fal.md §6.1, §13`)."""

import base64
from typing import Any

import httpx2
import pytest
from fal_caller import MODEL, Fal

from calotype.catalog import Catalog
from calotype.dialects.fal.inputs import PRESETS, fit, size_text
from calotype.kernel.errors import Problem
from calotype.kernel.generation import Operation
from house_fixtures import PRICE_MICRO
from running import Account
from upstream import PICTURE, Upstream

PNG = "data:image/png;base64," + base64.b64encode(PICTURE).decode()


@pytest.fixture(scope="module")
def catalog() -> Catalog:
    return Catalog.load()


def test_a_direct_call_answers_the_output_and_its_cost(fal: Fal, account: Account) -> None:
    answer = fal.run()
    body = answer.json()
    assert answer.status_code == 200 and len(body["images"]) == 1
    assert answer.headers["x-fal-billable-units"] == "1"
    assert answer.headers["x-phi-cost-micro"] == str(PRICE_MICRO) == str(account.spent_micro)
    got = httpx2.get(body["images"][0]["url"])
    assert got.status_code == 200 and got.headers["content-type"] == "image/png"


def test_sync_mode_answers_data_uris_directly_and_from_the_queue(fal: Fal) -> None:
    direct = fal.run(json={"prompt": "x", "sync_mode": True}).json()["images"][0]["url"]
    ident = fal.submit(json={"prompt": "x", "sync_mode": True}).json()["request_id"]
    fal.wait(ident)
    queued = fal.result(ident).json()["images"][0]["url"]
    for url in (direct, queued):
        head, _, text = url.partition(",")
        assert head == "data:image/png;base64" and base64.b64decode(text)[:4] == b"\x89PNG"


def test_unknown_fields_are_warnings_and_never_errors(fal: Fal, upstream: Upstream) -> None:
    answer = fal.run(json={"prompt": "unknown to all", "acceleration": "high", "num_inference_steps": 28, "x" * 200: 1})
    assert answer.status_code == 200
    warnings = answer.headers["x-calotype-warnings"]
    assert "acceleration has no effect" in warnings and "num_inference_steps" in warnings
    assert "x" * 41 not in warnings, "a long name is cut"
    (asked,) = (one.json for one in upstream.seen if one.json["prompt"] == "unknown to all")
    assert set(asked) == {"model", "prompt", "n"}
    many = {f"field_{n}": n for n in range(1000)}
    assert "990 more fields were ignored" in fal.run(json={"prompt": "x", **many}).headers["x-calotype-warnings"]


def test_sizes_are_fals_presets_or_an_object() -> None:
    assert {name: size_text(name) for name in PRESETS} == {
        "square_hd": "1024x1024", "square": "512x512", "portrait_4_3": "768x1024", "portrait_16_9": "576x1024",
        "landscape_4_3": "1024x768", "landscape_16_9": "1024x576",
    }  # fmt: skip
    assert size_text({"width": 640, "height": 480}) == "640x480"
    assert size_text({"width": 640}) == "640x512", "a side that is left out is 512"
    for wrong in ({"width": 0}, {"width": 14143}, {"width": "640"}, {"width": True}):
        with pytest.raises(Problem) as refusal:
            size_text(wrong)
        assert refusal.value.field == "image_size"


@pytest.mark.parametrize(
    ("model", "given", "fields"),
    [
        ("local/sketch", {"prompt": "x", "num_images": 2}, {"prompt": "x", "n": 2}),
        ("local/sketch-video", {"prompt": "x", "duration": "5"}, {"prompt": "x", "seconds": 5}),
        ("local/sketch-video", {"prompt": "x", "duration": "8s"}, {"prompt": "x", "seconds": 8}),
        ("local/ken-burns", {"image_url": {"url": "https://a.b/c.png"}}, {"image_url": "https://a.b/c.png"}),
        ("local/ken-burns", {"image_urls": ["https://a.b/c.png"]}, {"image_url": "https://a.b/c.png"}),
        ("fal-ai/flux/dev", {"prompt": "x", "image_size": "square", "num_images": 2},
         {"prompt": "x", "image_size": "square", "num_images": 2}),
        ("local/sketch", {"prompt": "x", "seed": 2**53 + 5}, {"prompt": "x", "seed": 5}),
        ("local/sketch", {"prompt": "x", "seed": None, "negative_prompt": "y"}, {"prompt": "x"}),
    ],
)  # fmt: skip
def test_what_has_another_name_here_is_renamed(
    model: str, given: dict[str, Any], fields: dict[str, Any], catalog: Catalog
) -> None:
    assert fit(catalog.find(model), given).fields == fields


def test_the_operation_is_the_cards_own(catalog: Catalog) -> None:
    assert fit(catalog.find("local/sketch"), {"prompt": "x"}).operation is Operation.TEXT_TO_IMAGE
    assert fit(catalog.find("local/ken-burns"), {"image_url": "https://a.b/c"}).operation is Operation.IMAGE_TO_VIDEO
    assert fit(catalog.find("avatar"), {}).operation is Operation.TALKING_AVATAR


def test_a_video_is_a_file_and_a_result_can_be_the_next_input(fal: Fal, account: Account) -> None:
    picture = fal.run("local/sketch", json={"prompt": "a hill", "image_size": "square", "seed": 3}).json()
    assert picture["seed"] == 3 and picture["label"] == "procedural illustration, not an AI model"
    assert "engine" not in picture
    (image,) = picture["images"]
    assert (image["width"], image["height"]) == (512, 512)
    given = {"image_url": image["url"], "duration": "1", "aspect_ratio": "1:1", "size": "256x256"}
    answer = fal.run("local/ken-burns", json=given)
    assert answer.status_code == 200, answer.text
    video = answer.json()["video"]
    assert (video["content_type"], video["width"], video["height"]) == ("video/mp4", 256, 256)
    assert answer.headers["x-fal-billable-units"] == "1"
    assert account.spent_micro == 0, "this machine is free"


def test_a_file_that_cannot_be_had_is_a_download_error_at_its_field(fal: Fal) -> None:
    answer = fal.run("local/ken-burns", json={"image_url": "http://127.0.0.1:9/x.png", "size": "256x256"})
    assert answer.status_code == 422
    (item,) = answer.json()["detail"]
    assert (item["loc"], item["type"]) == (["body", "image_url"], "file_download_error")


def test_a_data_uri_is_an_input(fal: Fal) -> None:
    answer = fal.run("local/ken-burns", json={"image_url": PNG, "duration": 1, "size": "256x256"})
    assert answer.status_code == 200, answer.text


def test_a_get_reads_its_input_from_the_query(fal: Fal, upstream: Upstream) -> None:
    answer = fal.ask("GET", f"/fal/run/{MODEL}?prompt=12&num_images=2&seed=4")
    assert answer.status_code == 200, answer.text
    assert [one.json["seed"] for one in upstream.seen if one.json["prompt"] == "12"] == [4]
