"""Every call that takes a JSON body, with one that would do, and how each API words the usual refusals."""

import base64
from typing import Any

import httpx2
from msgspec import Struct

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PICTURE = "data:image/png;base64," + base64.b64encode(PNG).decode()
FILM = "https://example.com/a.mp4"
SOUND = "https://example.com/a.mp3"
PDF = "data:application/pdf;base64,JVBERi0xLjQK"
UUID = "01a1f9fb-51fa-704e-b50f-57f37d5c9d4e"
P = {"prompt": "a lighthouse"}


class Call(Struct, frozen=True):
    """A call and a body that would be accepted; `required` are the fields without which it would not be.

    `model` says that the body may name the model, `bounds` are fields with a number beyond what they take. A `form` is
    taken too, and a body may be `empty` where it is said.
    """

    api: str
    path: str
    body: dict[str, Any]
    required: tuple[str, ...] = ()
    model: bool = False
    bounds: tuple[tuple[str, Any], ...] = ()
    method: str = "POST"
    form: bool = False
    empty: bool = False

    @property
    def name(self) -> str:
        return f"{self.method} {self.path}"


def _openai(path: str, body: dict[str, Any], *required: str, **more: Any) -> Call:
    return Call("openai", f"/v1{path}", body, required, "model" in body, **more)


def _jobs(path: str, body: dict[str, Any], *required: str, **more: Any) -> Call:
    return Call("jobs", f"/api/v1{path}", body, required, **more)


def _image(path: str, body: dict[str, Any], *required: str, **more: Any) -> Call:
    return Call("image", f"/api/v1{path}", body, required, **more)


def _content(path: str, body: dict[str, Any], *required: str, **more: Any) -> Call:
    return Call("content", f"/v1/content{path}", body, required, **more)


def _fal(path: str, body: dict[str, Any], *required: str, **more: Any) -> Call:
    return Call("fal", f"/fal{path}", body, required, **more)


def _platform(path: str, body: dict[str, Any], *required: str, **more: Any) -> Call:
    return Call("platform", f"/fal/api/v1{path}", body, required, **more)


_TALK = [{"role": "user", "content": "hi"}]
_N: Any = (("n", 11), ("n", 10**30), ("seed", 2**32), ("seed", 1e400))
_SECONDS: Any = (("seconds", 21), ("seconds", 10**30))
CALLS: tuple[Call, ...] = (
    _openai("/images/generations", {"model": "test/picture", **P}, "prompt", bounds=_N),
    _openai("/images/edits", {"model": "test/edit", "image": [PICTURE], **P}, "image", form=True),
    _openai(
        "/chat/completions", {"model": "test/chat", "messages": _TALK}, "messages",
        bounds=(("max_tokens", 10**9), ("temperature", 2.5)),
    ),
    _openai(
        "/embeddings", {"model": "test/vectors", "input": "hi"}, "input", bounds=(("dimensions", 4097),)
    ),
    _openai("/ocr", {"model": "mistral-ocr", "document": PDF}, "document"),
    _openai(
        "/audio/speech", {"model": "local/tts", "input": "hi"}, "input", bounds=(("speed", 99),)
    ),
    _openai("/audio/transcriptions", {"model": "test/ear", "file": SOUND}, "file", form=True),
    _openai("/videos/generations", {"model": "local/sketch-video", **P}, "prompt", bounds=_SECONDS, form=True),
    _openai("/videos", {"model": "local/sketch-video", **P}, "prompt", bounds=_SECONDS, form=True),
    _jobs("/text-to-image/generate", P, "prompt"),
    _jobs("/seedream/create", P, "prompt"),
    _jobs("/nano-banana/create", P, "prompt"),
    _jobs("/image-to-video/create", {"image_url": PICTURE}, "image_url", bounds=(("duration", 10**6),)),
    _jobs("/sora2-video/create", {**P, "image_urls": [PICTURE]}, "prompt", "image_urls"),
    _jobs("/sora2-text-to-video/create", P, "prompt"),
    _jobs("/sora2-character/create", {"character_file_url": FILM}, "character_file_url"),
    _jobs("/seedance-video/create", P, "prompt"),
    _jobs("/kling-motion-control/create", {"input_urls": [PICTURE], "video_urls": [FILM]}, "input_urls", "video_urls"),
    _jobs("/veo31-video/create", P, "prompt", bounds=(("seeds", 10**9),)),
    _jobs("/text-to-music/generate", P, "prompt"),
    _jobs("/text-to-speech/generate", P, "prompt"),
    _jobs("/thai-subtitle/generate", {"media_url": FILM}, "media_url", bounds=(("timing_offset_ms", 301),)),
    _jobs("/video-download/create", {"url": "https://example.com/watch"}, "url"),
    _jobs("/media/merge-video", {"video_urls": [FILM, FILM]}, "video_urls"),
    _jobs("/media/merge-audio-video", {"video_url": FILM, "audio_url": SOUND}, "video_url", "audio_url"),
    _jobs("/media/merge-audio", {"audio_urls": [SOUND, SOUND]}, "audio_urls"),
    _jobs("/media/overlay-gif", {"video_url": FILM, "gif_url": PICTURE}, "video_url", "gif_url"),
    _jobs("/media/extract-last-frame", {"video_url": FILM}, "video_url"),
    _jobs("/phaya-gpt/chat/completions", {"messages": _TALK}, "messages", bounds=(("temperature", 99),)),
    _jobs("/embedding/create", {"input": "hi"}, "input"),
    _image("/image/generate", P, "prompt", model=True, bounds=(("width", 10**9), ("seed", 2**32))),
    _image("/image/edit", {**P, "image_url": PICTURE}, "prompt", "image_url", model=True),
    _image("/video/generate", P, "prompt", model=True),
    _image("/keys", {"name": "ci"}, "name", bounds=(("rateLimit", 10**9),)),
    _image("/keys/{key}", {"name": "ci"}, method="PATCH", bounds=(("rateLimit", 10**9),), empty=True),
    _content("/images/generate", P, "prompt"),
    _content("/images/fast-pack", P, "prompt"),
    _content("/images/edit", {**P, "imageUrls": [PICTURE]}, "prompt", "imageUrls"),
    _content("/images/listing-upgrade-pack", {"productImageUrl": PICTURE}, "productImageUrl"),
    _content("/videos/text-to-video/basic-5s", P, "prompt", bounds=(("duration", 10**6),)),
    _content("/videos/image-to-video/basic-5s", {**P, "imageUrl": PICTURE}, "prompt", "imageUrl"),
    _content("/videos/product-motion-5s", {"imageUrl": PICTURE}, "imageUrl"),
    _fal("/queue/test/picture", P, "prompt", bounds=(("num_images", 11), ("n", 10**30))),
    _fal("/run/test/picture", P, "prompt", bounds=(("num_images", 11), ("n", 10**30))),
    _fal("/run/test/picture/stream", P, "prompt", bounds=(("num_images", 11), ("n", 10**30))),
    _fal("/queue/local/ken-burns", {"image_url": PICTURE}, "image_url", bounds=(("duration", 10**6),)),
    _fal("/rest/tokens/", {"allowed_apps": ["picture"]}, "allowed_apps"),
    _fal("/rest/tokens/realtime", {"allowed_apps": ["picture"]}, "allowed_apps"),
    _fal("/rest/storage/upload/initiate", {"file_name": "a.png"}, empty=True),
    _fal("/rest/storage/upload/initiate-multipart", {"file_name": "a.png"}, empty=True),
    _platform(
        "/models/pricing/estimate",
        {"estimate_type": "unit_price", "endpoints": {"test/picture": {"unit_quantity": 1}}},
        "estimate_type", "endpoints",
    ),
    _platform("/keys", {"alias": "ci"}, "alias"),
    _platform("/storage/settings", {"expiration_duration_seconds": 60}, method="PUT", empty=True,
              bounds=(("expiration_duration_seconds", 10**30), ("expiration_duration_seconds", 2**41))),
)  # fmt: skip


OF_FAL = frozenset({"No user found for Key ID and Secret", "Request not found"})
"""Sentences that are fal's own, word by word."""


class Told(Struct, frozen=True):
    """What a refusal says to a program: its status, its code, and the field that is to blame."""

    status: int
    code: str
    field: str | None = None


def told(api: str, answer: httpx2.Response) -> Told:
    """Read a refusal as a client of this API does, and hold it to what every refusal has."""
    assert answer.headers["content-type"] == "application/json", (answer.status_code, answer.text[:200])
    assert answer.headers["x-request-id"] and int(answer.headers["content-length"]) == len(answer.content)
    body, status = answer.json(), answer.status_code
    if api != "platform":
        assert (answer.headers["x-phi-cost-micro"], answer.headers["x-phi-attempts"]) == ("0", "0")
    if api == "openai":
        error = body["error"]
        assert set(error) - {"data"} == {"message", "type", "code", "param"}
        found, sentence = Told(status, error["code"], error["param"]), error["message"]
    elif api == "jobs":
        found, sentence = _listed(status, body["detail"], "")
    elif api == "image":
        error = body["error"]
        found, sentence = Told(status, error["code"], error["details"].get("field")), error["message"]
    elif api == "content":
        error = body["error"]
        found, sentence = Told(status, error["code"], error.get("field")), error["message"]
    elif api == "fal":
        assert answer.headers["x-fal-request-id"] and body["message"] and body["error"]["code"]
        found, sentence = _listed(status, body["detail"], body.get("error_type", ""))
    else:
        error = body["error"]
        assert set(error) == {"type", "message", "request_id"}
        found, sentence = Told(status, error["type"]), error["message"]
    assert sentence in OF_FAL or (sentence.endswith((".", "?")) and len(sentence) > 10), sentence
    return found


def _listed(status: int, detail: Any, code: str) -> tuple[Told, str]:
    """Read a detail as FastAPI writes it: a text, or a list that names fields."""
    if isinstance(detail, str):
        return Told(status, code), detail
    (item,) = detail
    where = item["loc"][1:] or item["loc"]
    return Told(status, item["type"], ".".join(map(str, where))), item["msg"]
