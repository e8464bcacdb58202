"""Edits and streams of pictures in OpenAI's words: forms and JSON, masks, previews, what is refused."""

import base64
import io
from typing import Any

import httpx2
import pytest
from openai_kit import PICTURE_MICRO, Kit, picture, refused
from PIL import Image

from calotype.catalog import Card
from calotype.dialects.openai.image_calls import with_pictures
from calotype.dialects.openai.image_words import PictureWords
from calotype.jobs.types import JobView
from calotype.kernel.outcome import Delta

PNG = b"\x89PNG\r\n\x1a\n"
URI = f"data:image/png;base64,{base64.b64encode(picture()).decode()}"


def parts(kit: Kit) -> list[tuple[str, str | None]]:
    """Return name and type of what the upstream was sent as a form."""
    (submit,) = kit.upstream.submits
    found = []
    for piece in submit.body.split(b"\r\n--")[0:]:
        head = piece.partition(b"\r\n\r\n")[0].decode("latin-1")
        if 'name="' in head:
            kind = head.lower().partition("content-type: ")[2].partition("\r\n")[0] or None
            found.append((head.partition('name="')[2].partition('"')[0], kind))
    return found


def edit(kit: Kit, *files: tuple[str, bytes], **fields: str) -> httpx2.Response:
    form = [(name, ("a.png", body, "image/png")) for name, body in files]
    return kit.http.post("/images/edits", files=form, data={"model": "test/edit", "prompt": "brighter", **fields})


@pytest.mark.client
def test_the_python_package_edits_one_picture_and_several(kit: Kit) -> None:
    one = kit.client.images.edit(model="test/edit", image=("a.png", picture()), prompt="brighter", n=2)
    assert one.data is not None and len(one.data) == 2
    assert httpx2.get(str(one.data[0].url)).content.startswith(PNG)
    assert kit.money == (2 * PICTURE_MICRO, 0)
    kit.upstream.reset()
    kit.client.images.edit(
        model="test/edit", image=[("a.png", picture()), ("b.png", picture(32))], mask=("m.png", picture()),
        prompt="x", response_format="b64_json",
    )  # fmt: skip
    names = [name for name, _ in parts(kit)]
    assert names.count("image[]") == 2 and names.count("mask") == 1


@pytest.mark.client
async def test_the_asynchronous_package_does_the_same(kit: Kit) -> None:
    async with kit.asynchronous() as client:
        made = await client.images.edit(
            model="test/edit", image=("a.png", picture()), prompt="x", response_format="b64_json"
        )
    assert made.data is not None and base64.b64decode(made.data[0].b64_json or "").startswith(PNG)


@pytest.mark.parametrize(
    "given",
    [
        {"image": URI},
        {"image": [URI]},
        {"images": [{"image_url": URI}]},
        {"image": {"image_url": URI}},
    ],
)
@pytest.mark.parametrize("model", ["test/edit", "test/retouch"])
def test_a_picture_may_come_in_json(kit: Kit, given: dict[str, Any], model: str) -> None:
    answer = kit.http.post("/images/edits", json={"model": model, "prompt": "x", **given})
    assert answer.status_code == 200 and "warnings" not in answer.json(), answer.text
    assert ("image", "image/png") in parts(kit)


def test_an_upload_may_be_edited(kit: Kit) -> None:
    upload = kit.http.post("/files", files={"file": ("a.png", picture())}, data={"purpose": "vision"}).json()
    answer = kit.http.post(
        "/images/edits", json={"model": "test/edit", "prompt": "x", "images": [{"file_id": upload["id"]}]}
    )
    assert answer.status_code == 200, answer.text


def test_this_machine_enlarges_and_cuts_out_without_words(kit: Kit) -> None:
    for model, size in (("local/upscale", (128, 128)), ("local/remove-background", (64, 64))):
        form = {"image": ("a.png", picture(), "image/png")}
        data = {"model": model, "response_format": "b64_json"}
        answer = kit.http.post("/images/edits", files=form, data=data)
        assert answer.status_code == 200, answer.text
        made = Image.open(io.BytesIO(base64.b64decode(answer.json()["data"][0]["b64_json"])))
        assert made.width >= size[0] and made.format == "PNG"
    assert kit.money == (0, 0)


def test_auto_is_a_model_that_takes_pictures(kit: Kit) -> None:
    answer = edit(kit, ("image", picture()), model="auto")
    assert answer.status_code == 200, answer.text
    assert answer.json()["model"] in ("test/edit", "test/retouch")


def test_the_mask_s_field_is_the_model_s_own(kit: Kit) -> None:
    card: Card = kit.house.app.catalog.find("fal-ai/flux-kontext/dev")
    assert with_pictures(card, {"image": "file_1", "prompt": "x"}) == {"image_url": "file_1", "prompt": "x"}
    fill = kit.house.app.catalog.find("bfl/flux-pro-1.0-fill")
    assert with_pictures(fill, {"image": ["file_1"], "mask": "file_2"}) == {"image": "file_1", "mask": "file_2"}
    assert with_pictures(None, {"image": "file_1"}) == {"image": ["file_1"]}


BODIES: list[tuple[dict[str, Any], int, str, str, str]] = [
    ({}, 400, "invalid_input", "image", "required"),
    ({"image": []}, 400, "invalid_input", "image", "required"),
    ({"image": 7}, 400, "invalid_input", "image", "a file, a URL"),
    ({"image": {"url": URI}}, 400, "invalid_input", "image", "image_url or file_id"),
    ({"image": URI, "mask": 7}, 400, "invalid_input", "mask", "a file"),
    ({"image": [URI] * 4}, 400, "invalid_input", "image", "1 to 3"),
    ({"image": [URI, URI], "model": "test/retouch"}, 400, "invalid_input", "image", "takes one picture, not 2"),
    ({"image": "http://10.0.0.1/a.png"}, 400, "invalid_input", "image.0", "public"),
    ({"image": URI, "prompt": ""}, 400, "invalid_input", "prompt", "1 to 32000"),
    ({"image": URI, "n": 99}, 400, "invalid_input", "n", "from 1 to 10"),
    ({"image": URI, "promt": "x"}, 400, "invalid_input", "promt", "Did you mean prompt?"),
    ({"image": URI, "partial_images": 4}, 400, "invalid_input", "partial_images", "3"),
    ({"image": URI, "response_format": "gif"}, 400, "invalid_input", "response_format", "'gif'"),
    ({"image": URI, "model": "test/chat"}, 400, "invalid_input", "model", "chat, not image-to-image"),
    ({"image": URI, "model": "local/sketch"}, 400, "invalid_input", "model", "text-to-image, not image-to-image"),
    ({"image": URI, "model": "dall-e-2"}, 410, "model_retired", "model", "gpt-image-2"),
]


@pytest.mark.parametrize(("body", "status", "code", "param", "word"), BODIES)
def test_an_edit_that_does_not_fit_is_refused_by_name_and_costs_nothing(
    kit: Kit, body: dict[str, Any], status: int, code: str, param: str, word: str
) -> None:
    asked = {"model": "test/edit", "prompt": "x", **body}
    refused(kit.http.post("/images/edits", json=asked), status, code, param, word)
    assert kit.upstream.submits == []
    kit.account.untouched()


def test_numbers_of_a_form_are_numbers_and_words_are_refused(kit: Kit) -> None:
    assert edit(kit, ("image", picture()), n="2").status_code == 200
    refused(edit(kit, ("image", picture()), n="two"), 400, "invalid_input", "n", "whole number")
    refused(edit(kit, ("image", b"")), 400, "invalid_input", "file", "empty")


# -- streams -----------------------------------------------------------------------------------------------------------


@pytest.mark.client
def test_the_python_package_streams_a_picture(kit: Kit) -> None:
    events = list(
        kit.client.images.generate(
            model="local/sketch", prompt="a fox in a forest by a lake", size="1024x1024", stream=True, partial_images=2
        )
    )
    last = events[-1]
    assert last.type == "image_generation.completed" and last.size == "1024x1024" and last.output_format == "png"
    assert Image.open(io.BytesIO(base64.b64decode(last.b64_json))).size == (1024, 1024)
    partial = events[:-1]
    assert 1 <= len(partial) <= 2 and {event.type for event in partial} == {"image_generation.partial_image"}
    for number, event in enumerate(partial):
        assert event.type == "image_generation.partial_image" and event.partial_image_index == number
        assert (event.size, event.output_format) == ("1024x1024", "jpeg")
        assert Image.open(io.BytesIO(base64.b64decode(event.b64_json))).size == (512, 512)


@pytest.mark.client
def test_an_edit_streams_in_its_own_words(kit: Kit) -> None:
    events = list(kit.client.images.edit(model="test/edit", image=("a.png", picture()), prompt="x", stream=True, n=2))
    assert [event.type for event in events] == ["image_edit.completed"] * 2
    assert kit.money == (2 * PICTURE_MICRO, 0)


def test_previews_without_a_stream_are_a_warning(kit: Kit) -> None:
    body = {"model": "local/sketch", "prompt": "a fox", "size": "256x256", "partial_images": 2}
    assert kit.http.post("/images/generations", json=body).json()["warnings"] == [
        "partial_images has no effect without stream"
    ]


def test_a_stream_may_answer_urls(kit: Kit) -> None:
    asked = {"model": "local/sketch", "prompt": "x", "size": "256x256", "stream": True, "response_format": "url"}
    _, events = kit.events("/images/generations", asked)
    ((name, body),) = events
    assert name == body["type"] == "image_generation.completed" and "b64_json" not in body
    assert httpx2.get(body["url"]).content.startswith(PNG)


def test_a_stream_that_fails_before_a_picture_is_an_ordinary_error(kit: Kit) -> None:
    form = {"image": ("a.png", picture(), "image/png")}
    data = {"model": "test/edit", "prompt": "x @status=502", "stream": "true"}
    answer = kit.http.post("/images/edits", files=form, data=data)
    assert answer.status_code == 502 and answer.json()["error"]["code"] == "upstream_failed"
    assert kit.money == (0, 0)


def test_previews_are_spread_over_the_work_and_no_more_than_asked_for(kit: Kit) -> None:
    kit.http.post("/images/generations", json={"model": "local/sketch", "prompt": "x", "size": "256x256"})
    (ident,) = kit.house.rows("SELECT id FROM job WHERE org_id = :org", org=kit.account.org.id)[0]
    view: JobView = kit.house.ask(kit.house.app.engine.get(ident, kit.account.org.id))
    words: Any = PictureWords(view, desk=None, x=None, kind="image_generation", wanted=2)  # type: ignore[arg-type]
    seen = []
    for percent in range(0, 100, 10):
        assert words.piece(Delta("progress", {"fraction": percent / 100})) == []
        seen += [(percent, one["partial_image_index"]) for _, one in words.piece(_preview(percent))]
    assert seen == [(40, 0), (70, 1)]
    without: Any = PictureWords(view, desk=None, x=None, kind="image_generation", wanted=2)  # type: ignore[arg-type]
    told = [one for n in range(5) for _, one in without.piece(_preview(n))]
    assert [one["partial_image_index"] for one in told] == [0, 1]
    assert (told[0]["size"], told[0]["output_format"], told[0]["quality"]) == ("256x256", "jpeg", "auto")


def _preview(number: int) -> Delta:
    return Delta("preview", body=bytes([number]), content_type="image/jpeg")
