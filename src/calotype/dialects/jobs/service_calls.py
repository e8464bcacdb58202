"""Jobs of the services: made, looked at, cancelled, listed (`wire/products.md B1`)."""

from typing import Any

from calotype.catalog import Card
from calotype.dialects.door import Exchange
from calotype.dialects.jobs.answers import as_sent, job_headers, tell
from calotype.dialects.jobs.desk import Desk, whole
from calotype.dialects.jobs.services import BY_MODEL, Service
from calotype.dialects.jobs.shapes import JobCancelled, JobCreated
from calotype.dialects.jobs.statuses import history_object, status_object
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation
from calotype.kernel.ids import is_uuid
from calotype.kernel.job import JobState

PAGE = 20
MOST = 100
PICTURED = {
    Operation.TEXT_TO_IMAGE: Operation.IMAGE_TO_IMAGE,
    Operation.TEXT_TO_VIDEO: Operation.IMAGE_TO_VIDEO,
}
"""What a model does that takes pictures where it is given some."""
FIELDS = frozenset(
    {
        "prompt", "aspect_ratio", "image_urls", "quality", "image_input", "google_search", "resolution",
        "output_format", "image_url", "music_url", "duration", "image_format", "zoom", "n_frames", "remove_watermark",
        "character_id_list", "character_file_url", "character_prompt", "safety_instruction", "input_urls",
        "fixed_lens", "generate_audio", "video_urls", "character_orientation", "mode", "model", "generation_type",
        "seeds", "enable_translation", "watermark", "style", "title", "instrumental", "negative_tags", "vocal_gender",
        "style_weight", "weirdness_constraint", "audio_weight", "voice", "slow", "language", "media_url", "script",
        "animation", "timing_offset_ms", "url", "format", "video_url", "audio_url", "audio_urls", "gif_url", "x", "y",
        "start", "end",
    }
)  # fmt: skip
"""Every field of every service: to one that does not take it, it is a warning and no refusal."""


async def create(desk: Desk, x: Exchange, service: Service) -> None:
    """Take a request and answer the id of its job."""
    caller = await desk.enter(x)
    raw, body = await desk.body(x)
    given = _named(body, service)
    card = desk.catalog.find(_model(given, service))
    fields = _without_empty_lists(given, card)
    ask = desk.ask(x, caller, raw, card.id, _operation(card, fields), fields, FIELDS, at_once=False)
    try:
        ticket = await desk.engine.accept(ask)
    except Problem as problem:
        raise as_sent(problem, service.names) from None
    delivered = False
    try:
        view = JobView(ticket.job)
        delivered = await tell(x, JobCreated(view.id, view.warnings), job_headers(view))
    finally:
        desk.engine.answered(ticket, delivered=delivered)


async def show(desk: Desk, x: Exchange, services: tuple[Service, ...]) -> None:
    """Answer how a job stands; looks are never refused for their number."""
    view, service = await _found(desk, x, services, counted=False)
    await tell(x, status_object(view, service, desk.url_of(x)), job_headers(view))


async def cancel(desk: Desk, x: Exchange, services: tuple[Service, ...]) -> None:
    """Stop a job where it can be stopped; the answer says whether it was."""
    view, _ = await _found(desk, x, services, counted=True)
    outcome = await desk.engine.cancel(view.id, view.job.org_id)
    done = outcome.word == "canceled"
    said = {
        "canceled": "The job was cancelled; nothing was charged.",
        "requested": "The job is being made and its provider cannot be stopped; it goes on.",
        "ended": "The job had ended before.",
    }[outcome.word]
    await tell(x, JobCancelled(done, said), job_headers(outcome.view))


async def history(desk: Desk, x: Exchange, service: Service, *, only_made: bool = False) -> None:
    """Answer a page of the jobs of a service, newest first."""
    caller = await desk.enter(x)
    desk.refuse_lists(caller)
    limit = whole(x, "limit", PAGE, MOST)
    cursor = x.query.get("cursor")
    if cursor is not None and not is_uuid(cursor):
        raise Problem(Code.INVALID_INPUT, "cursor is the next_cursor of the page before.", field="cursor")
    views = await desk.engine.list(
        caller.org.id, models=service.models, before=cursor, limit=limit + 1,
        state=JobState.SUCCEEDED if only_made else None,
    )  # fmt: skip
    page, more = views[:limit], len(views) > limit
    url_of = desk.url_of(x)
    body = {
        "success": True,
        "items": [history_object(view, service, url_of, desk.rate) for view in page],
        "next_cursor": page[-1].id if more else None,
    }
    await tell(x, body)


async def _found(desk: Desk, x: Exchange, services: tuple[Service, ...], *, counted: bool) -> tuple[JobView, Service]:
    """Return the job that the path names, and its service.

    Raises:
        Problem: `job_not_found`, also for another tenant's job and for one of another service.

    """
    caller = await desk.enter(x, counted=counted)
    view = await desk.engine.get(x.rest, caller.org.id)
    service = BY_MODEL.get(view.job.model)
    if service is None or service not in services:
        raise Problem(Code.JOB_NOT_FOUND, "There is no such job.")
    return view, service


def _named(body: dict[str, Any], service: Service) -> dict[str, Any]:
    """Return the fields as the card calls them."""
    if not service.names:
        return body
    return {service.names.get(name, name): value for name, value in body.items()}


def _model(given: dict[str, Any], service: Service) -> str:
    """Take the field that chooses a card out of the input.

    Raises:
        Problem: `invalid_input` for a word that names none.

    """
    if service.chosen_by is None:
        return service.models[0]
    word = given.pop(service.chosen_by, None) or service.models[0]
    if word not in service.models:
        sentence = f"{service.chosen_by} must be one of {', '.join(service.models)}."
        raise Problem(Code.INVALID_INPUT, sentence, field=service.chosen_by, data={"rule": "enum"})
    return str(word)


def _without_empty_lists(given: dict[str, Any], card: Card) -> dict[str, Any]:
    """Leave out lists without anything in them where the card does not ask for one: "up to three" may be none."""
    needed = card.schema.required
    return {name: value for name, value in given.items() if value != [] or name in needed}


def _operation(card: Card, fields: dict[str, Any]) -> Operation:
    """Return what is asked of a card that can do several things: with pictures it works on them."""
    first = card.operations[0]
    other = PICTURED.get(first)
    names = card.schema.renamed(fields)
    return other if other in card.operations and any(names.get(name) for name in card.media_fields) else first
