"""What requests say: their fields as types, checked by hand-written sentences that name the field."""

from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta, Struct

from calotype.dialects.effort import NOT_OFFERED, not_offered
from calotype.kernel.errors import Code, Problem

IDLE = {"load_balance": "load_balance has no effect: routes are ordered by their price"}

Side = Annotated[int, Meta(ge=256, le=2048)]
Ratio = Literal["1:1", "3:4", "4:3", "9:16", "16:9"]


class MediaRequest(Struct, kw_only=True):
    """What every request that makes something may say; with `strict` off, what a model does not take is dropped."""

    prompt: str
    model: str | None = None
    strict: bool = True
    fallback: list[str] | None = None
    retries: int | None = None
    timeout: int | None = None
    webhook_url: str | None = None


class SimpleImageRequest(MediaRequest, kw_only=True):
    """A picture from words; a model may take further fields of its own."""

    width: Side | None = None
    height: Side | None = None
    aspect_ratio: Ratio | None = None
    num_images: Annotated[int, Meta(ge=1, le=4)] | None = None
    image_size: Literal["1K", "2K"] | None = None
    seed: int | None = None


class SimpleEditRequest(SimpleImageRequest, kw_only=True):
    """A picture from a picture and words."""

    image_url: str


class SimpleFilmRequest(MediaRequest, kw_only=True):
    """A film from words, or from a picture and words."""

    image_url: str | None = None
    duration: Literal["4", "6", "8"] | None = None
    aspect_ratio: Literal["16:9", "9:16"] | None = None
    resolution: Literal["720p", "1080p", "4k"] | None = None


_TO_SERVER = frozenset(MediaRequest.__struct_fields__) - {"prompt"}
Request = TypeVar("Request", bound=MediaRequest)


def read(body: dict[str, Any], kind: type[Request]) -> tuple[Request, dict[str, Any], tuple[str, ...]]:
    """Return a request, what the body says beside it, and warnings; a null counts as left out.

    Raises:
        Problem: `invalid_input` naming the field.

    """
    given = {name: value for name, value in body.items() if value is not None}
    for name in NOT_OFFERED:
        if given.get(name):
            raise not_offered(name)
    warnings = tuple(sentence for name, sentence in IDLE.items() if given.pop(name, None))
    if isinstance(given.get("duration"), int) and not isinstance(given["duration"], bool):
        given["duration"] = str(given["duration"])
    for name in ("prompt", "image_url"):
        if name in _required(kind) and name not in given:
            raise Problem(Code.INVALID_INPUT, f"{name} is required.", field=name, data={"rule": "required"})
        if given.get(name) == "":
            raise Problem(Code.INVALID_INPUT, f"{name} must not be empty.", field=name)
    known = {name: value for name, value in given.items() if name in kind.__struct_fields__}
    try:
        request = msgspec.convert(known, kind)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at `$")
        field = path.rstrip("`").lstrip(".").partition("[")[0] or None
        accepted = _accepted(kind, field) if field else ""
        raise Problem(Code.INVALID_INPUT, f"{field}: {sentence[:200]}{accepted}.", field=field) from None
    rest = {name: value for name, value in given.items() if name not in known and name not in NOT_OFFERED}
    return request, rest, warnings


def to_model(request: MediaRequest, rest: dict[str, Any]) -> dict[str, Any]:
    """Return what a request says to the model, and not to the server."""
    named = {name: value for name, value in msgspec.structs.asdict(request).items() if value is not None}
    return {name: value for name, value in named.items() if name not in _TO_SERVER} | rest


def _required(kind: type[Struct]) -> frozenset[str]:
    return frozenset(field.name for field in msgspec.structs.fields(kind) if field.required)


def _accepted(kind: type[Struct], field: str) -> str:
    """Say what a field takes, where its type names it."""
    schema = msgspec.json.schema(kind)["$defs"][kind.__name__]["properties"].get(field, {})
    rules = [schema, *schema.get("anyOf", ())]
    for rule in rules:
        if choices := [one for one in rule.get("enum", ()) if one is not None]:
            return f"; use one of {', '.join(str(one) for one in choices)}"
        if "minimum" in rule:
            return f"; use a whole number from {rule['minimum']} to {rule['maximum']}"
    return ""
