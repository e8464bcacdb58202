"""`POST /images/generations`: a synchronous call is a job that was waited for (`wire/providers.md §7.2`)."""

from collections.abc import Callable
from typing import Any, Literal

import msgspec
import pybase64
from msgspec import Struct

from calotype.dialects.door import Exchange, json_object
from calotype.dialects.headers import Headers
from calotype.dialects.openai.answers import failure_answer, job_headers
from calotype.dialects.openai.desk import NAME, Desk
from calotype.jobs.intake import Ask
from calotype.jobs.types import InlineOutput, JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Generation, Operation
from calotype.kernel.job import JobState
from calotype.media.artifacts import Artifact
from calotype.media.store import Store

FIELDS = frozenset(
    {
        "prompt", "n", "size", "quality", "background", "output_format", "output_compression", "moderation", "style",
        "partial_images", "safety_identifier", "seed", "negative_prompt", "aspect_ratio", "resolution", "complexity",
        "frame_count", "frame_duration_ms", "svg",
    }
)  # fmt: skip
"""Fields with a meaning in this dialect; the model's card decides which of them it takes."""


class ImageOptions(Struct):
    """The fields of an image request that steer the answer and not the picture."""

    model: str = "auto"
    response_format: Literal["url", "b64_json"] | None = None
    stream: bool | None = None
    user: str | None = None
    webhook_url: str | None = None
    allow_preview: bool | None = None


class ImageRequest(ImageOptions, kw_only=True):
    """The body of an image request, as documented; a model may take further fields of its own."""

    prompt: str
    n: int | None = None
    size: str | None = None
    quality: str | None = None
    background: str | None = None
    output_format: str | None = None
    seed: int | None = None


class ImageDatum(Struct, omit_defaults=True):
    """One picture of an answer."""

    url: str | None = None
    b64_json: str | None = None
    revised_prompt: str | None = None


UrlOf = Callable[[Artifact], str]
OPTIONS = frozenset(ImageOptions.__struct_fields__)
FORMS = (b"multipart/", b"application/x-www-form")
_encode = msgspec.json.Encoder().encode


def split(body: dict[str, Any]) -> tuple[ImageOptions, dict[str, Any]]:
    """Separate what steers the answer from the model's input.

    Raises:
        Problem: `invalid_input` naming the field.

    """
    given = {name: value for name, value in body.items() if name in OPTIONS and value is not None}
    try:
        options = msgspec.convert(given, ImageOptions)
    except msgspec.ValidationError as error:
        raise bad_option(error) from None
    if options.stream:
        raise Problem(Code.INVALID_INPUT, "stream is not offered for images; leave it out or false.", field="stream")
    return options, {name: value for name, value in body.items() if name not in OPTIONS}


def bad_option(error: msgspec.ValidationError) -> Problem:
    """Turn msgspec's sentence about a field into a refusal that names it."""
    sentence, _, path = str(error).partition(" - at `$")
    field = path.rstrip("`").lstrip(".") or None
    return Problem(Code.INVALID_INPUT, f"{field or 'The body'}: {sentence[:200]}.", field=field)


async def create_image(desk: Desk, x: Exchange) -> None:
    """Run an image request to its end and answer it."""
    caller = await desk.door.enter(x)
    if x.headers.get(b"content-type", b"").lower().startswith(FORMS):
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "Send the request as application/json.", field="Content-Type")
    body = await desk.door.body(x)
    options, fields = split(json_object(body))
    context = desk.with_options(
        desk.door.context(caller, x, NAME, body), allow_preview=options.allow_preview, webhook_url=options.webhook_url
    )
    ask = Ask(
        generation=Generation(Operation.TEXT_TO_IMAGE, options.model, fields), context=context, key=caller.key,
        org=caller.org, operation=Operation.TEXT_TO_IMAGE, known_fields=FIELDS,
        wants={"inline": True} if options.response_format == "b64_json" else {},
    )  # fmt: skip
    view, ticket = await desk.engine.run(ask)
    delivered = False
    try:
        if view.state is JobState.SUCCEEDED:
            headers, content = await encode(view, desk.url_of(x), desk.store)
            delivered = await x.answer(200, headers, content)
        else:
            delivered = await x.answer(*failure_answer(view))
    finally:
        desk.engine.answered(ticket, delivered=delivered)


async def encode(view: JobView, url_of: UrlOf, store: Store) -> tuple[Headers, bytes]:
    """Encode a succeeded job; inline pictures are joined as the text they came in, without decoding."""
    result = view.job.result
    texts = result.texts if result is not None else ()
    head: dict[str, Any] = {"created": (view.job.finished_at_ms or view.job.created_at_ms) // 1000}
    tail: dict[str, Any] = {}
    if result is not None and result.usage:
        tail["usage"] = usage_of(result.usage)
    tail["model"] = view.job.model
    if view.job.plan.label is not None:
        tail["label"] = view.job.plan.label
    if view.warnings:
        tail["warnings"] = view.warnings
    if not view.job.plan.wants.get("inline"):
        head["data"] = [_with_text({"url": url_of(one)}, texts, n) for n, one in enumerate(view.artifacts)]
        return job_headers(view), _encode(head | tail)
    if not view.inline and not view.artifacts:
        raise Problem(Code.GONE, "This result was answered once and is not kept; send a new request.", retryable=False)
    pictures = [_base64(one) for one in view.inline] or [await _stored(one, store) for one in view.artifacts]
    parts = [_encode(head)[:-1], b',"data":[']
    for n, text in enumerate(pictures):
        extra = _encode(_with_text({}, texts, n))[1:-1]
        parts += [b"," if n else b"", b'{"b64_json":"', text, b'"', b"," + extra if extra else b"", b"}"]
    parts += [b"],", _encode(tail)[1:]]
    return job_headers(view), b"".join(parts)


def usage_of(usage: dict[str, int]) -> dict[str, Any]:
    """Write measured tokens as OpenAI does."""
    if "input_tokens" not in usage and "output_tokens" not in usage:
        return dict(usage)
    given, made = usage.get("input_tokens", 0), usage.get("output_tokens", 0)
    pictures = usage.get("input_image_tokens", 0)
    return {
        "input_tokens": given,
        "output_tokens": made,
        "total_tokens": usage.get("total_tokens", given + made),
        "input_tokens_details": {"text_tokens": max(0, given - pictures), "image_tokens": pictures},
    }


def _with_text(datum: dict[str, Any], texts: tuple[str | None, ...], n: int) -> dict[str, Any]:
    if n < len(texts) and texts[n]:
        datum["revised_prompt"] = texts[n]
    return datum


def _base64(output: InlineOutput) -> bytes:
    if output.base64 is not None:
        return output.base64
    return pybase64.b64encode(output.data or b"")


async def _stored(artifact: Artifact, store: Store) -> bytes:
    if not artifact.stored:
        raise Problem(
            Code.INVALID_INPUT,
            "This picture is only available by URL, for the server does not store media: use response_format url.",
            field="response_format",
        )
    return pybase64.b64encode(await store.open(artifact.key))
