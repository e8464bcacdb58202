"""The calls that make pictures: from words, and from pictures (`wire/providers.md §7.2`)."""

from functools import partial
from typing import Any

from calotype.catalog import Card
from calotype.dialects.door import Caller, Exchange
from calotype.dialects.effort import Effort
from calotype.dialects.openai.desk import Desk
from calotype.dialects.openai.forms import any_body, json_body
from calotype.dialects.openai.image_words import PictureWords
from calotype.dialects.openai.images import FIELDS, ImageOptions, encode, wants_of
from calotype.dialects.openai.options import split
from calotype.dialects.openai.runs import Answer, answer_tried, stream_tried
from calotype.dialects.openai.tries import Fitted, effort_in, idle_in_streams, turns
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation

EDIT_FIELDS = FIELDS | {"image", "mask"}
FROM_PICTURES = (Operation.IMAGE_TO_IMAGE, Operation.UPSCALE, Operation.BACKGROUND_REMOVAL)
"""What a model may do with the picture of an edit, in this order."""


async def create_image(desk: Desk, x: Exchange) -> None:
    """Make pictures of words."""
    caller = await desk.door.enter(x)
    raw, body = await json_body(desk, x)
    options, fields = split(body, ImageOptions, FIELDS)
    effort = effort_in(x, body, options)
    await _made(desk, x, caller, raw, options, effort, lambda _: (Operation.TEXT_TO_IMAGE, fields))


async def create_edit(desk: Desk, x: Exchange) -> None:
    """Make pictures of pictures; the request is a form, or JSON that names them."""
    caller = await desk.door.enter(x)
    raw, body = await any_body(desk, x, caller.org.id)
    options, fields = split(body, ImageOptions, EDIT_FIELDS)
    effort = effort_in(x, body, options)
    await _made(desk, x, caller, raw, options, effort, lambda card: (_verb(card), with_pictures(card, fields)))


async def _made(
    desk: Desk, x: Exchange, caller: Caller, raw: bytes, options: ImageOptions, effort: Effort, fitted: Fitted
) -> None:
    operation, fields = fitted(desk.catalog.get(options.model))
    idle = idle_in_streams(effort) if options.stream else ()
    if options.partial_images and not options.stream:
        idle = ("partial_images has no effect without stream",)
    ask = desk.ask(
        x, caller, raw, options, operation, fields, EDIT_FIELDS, wants=wants_of(options), warnings=idle, effort=effort
    )  # fmt: skip
    asks = turns(desk, ask, effort, fitted)
    if options.stream:
        kind = "image_generation" if operation is Operation.TEXT_TO_IMAGE else "image_edit"
        wanted = options.partial_images or 0
        await stream_tried(desk, x, asks, effort, partial(PictureWords, desk=desk, x=x, kind=kind, wanted=wanted))
    else:
        await answer_tried(desk, x, asks, effort, partial(_told, desk, x))


async def _told(desk: Desk, x: Exchange, view: JobView) -> Answer:
    return await encode(view, desk.url_of(x), desk.store)


def _verb(card: Card | None) -> Operation:
    """Return what a model may do with the picture of an edit."""
    able = () if card is None else card.operations
    return next((one for one in FROM_PICTURES if one in able), FROM_PICTURES[0])


def with_pictures(card: Card | None, fields: dict[str, Any]) -> dict[str, Any]:
    """Put the pictures of an edit, and its mask, into the fields in which the model takes them.

    Raises:
        Problem: `invalid_input` naming the field.

    """
    kept = {name: value for name, value in fields.items() if name not in ("image", "images", "mask")}
    given = fields.get("image") if fields.get("image") is not None else fields.get("images")
    pictures = [_reference(one, "image") for one in (given if isinstance(given, list) else [given]) if one is not None]
    name = _field(card, "image")
    if pictures:
        kept[name] = _shaped(card, name, pictures, "image")
    elif name not in kept:
        sentence = "image is required: a file, a URL, a file id, or an object with image_url or file_id."
        raise Problem(Code.INVALID_INPUT, sentence, field="image")
    if fields.get("mask") is not None:
        name = _field(card, "mask")
        kept[name] = _shaped(card, name, [_reference(fields["mask"], "mask")], "mask")
    return kept


def _reference(given: Any, field: str) -> str:
    """Return the URL, data URI or file id of a picture, however it was given."""
    found = given
    if isinstance(given, dict):
        found = given.get("image_url") or given.get("file_id")
    if not isinstance(found, str):
        sentence = f"{field} is a file, a URL, a file id, or an object with image_url or file_id."
        raise Problem(Code.INVALID_INPUT, sentence, field=field)
    return found


def _field(card: Card | None, wanted: str) -> str:
    """Return the model's own field for the pictures (`image`) or for the mask."""
    if card is None or wanted in card.fields:
        return wanted
    if wanted in card.schema.aliases:
        return str(card.schema.aliases[wanted])
    for name, kind in card.media_fields.items():
        if kind == "image" and name.startswith("mask") == (wanted == "mask"):
            return name
    return wanted


def _shaped(card: Card | None, name: str, pictures: list[str], field: str) -> Any:
    """Return a list where the model takes one, else the only picture."""
    rule = card.schema.properties.get(name, {}) if card is not None else {}
    if rule.get("type") == "array" or (card is None and field == "image"):
        return pictures
    if len(pictures) > 1:
        sentence = f"{card.id if card is not None else 'A mask'} takes one picture, not {len(pictures)}."
        raise Problem(Code.INVALID_INPUT, sentence, field=field)
    return pictures[0]
