"""Pictures in OpenAI's words: what requests say, and how answers are written (`wire/providers.md §7.2`)."""

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec
import pybase64
from msgspec import Meta, Struct

from calotype.dialects.headers import Headers
from calotype.dialects.openai.answers import job_headers, kept_once
from calotype.dialects.openai.options import TriedOptions
from calotype.jobs.types import InlineOutput, JobView
from calotype.kernel.errors import Code, Problem
from calotype.media.artifacts import Artifact
from calotype.media.store import Store

FIELDS = frozenset(
    {
        "prompt", "n", "size", "quality", "background", "output_format", "output_compression", "moderation", "style",
        "safety_identifier", "input_fidelity", "seed", "negative_prompt", "aspect_ratio", "resolution", "complexity",
        "frame_count", "frame_duration_ms", "svg",
    }
)  # fmt: skip
"""Fields with a meaning in this dialect; the model's card decides which of them it takes."""


class ImageOptions(TriedOptions):
    """The fields of an image request that steer the answer and not the picture."""

    response_format: Literal["url", "b64_json"] | None = None
    stream: bool | None = None
    partial_images: Annotated[int, Meta(ge=0, le=3)] | None = None


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
_encode = msgspec.json.Encoder().encode


def wants_of(options: ImageOptions) -> dict[str, Any]:
    """Return what the answer needs of the job: the bytes, where they are part of it."""
    inline = options.response_format == "b64_json" or (options.stream and options.response_format is None)
    return {"inline": True} if inline else {}


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
        raise kept_once()
    pictures = await base64_of(view, store)
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
    text, pictures = usage.get("input_tokens", 0), usage.get("input_image_tokens", 0)
    given, made = text + pictures, usage.get("output_tokens", 0)
    return {
        "input_tokens": given,
        "output_tokens": made,
        "total_tokens": usage.get("total_tokens", given + made),
        "input_tokens_details": {"text_tokens": text, "image_tokens": pictures},
    }


async def base64_of(view: JobView, store: Store) -> list[bytes]:
    """Return the pictures of a job as base64 text."""
    return [_base64(one) for one in view.inline] or [await _stored(one, store) for one in view.artifacts]


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
