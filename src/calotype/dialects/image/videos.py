"""Films: always made in the background and polled (`wire/products.md D3`)."""

from typing import Any
from urllib.parse import quote

import msgspec

from calotype.dialects.effort import FIELDS as EFFORT_FIELDS
from calotype.dialects.effort import effort_of
from calotype.dialects.headers import stamp_headers, stamp_of, warning_headers
from calotype.dialects.image.answers import JSON, error_of, rate_headers, success, usd_number
from calotype.dialects.image.desk import RATE, Desk, ImageExchange
from calotype.dialects.image.fields import fitted
from calotype.dialects.image.offers import DEFAULTS, FROM_PICTURE, VIDEO_OPERATIONS
from calotype.dialects.image.requests import SimpleFilmRequest, read, to_model
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation
from calotype.kernel.job import JobState

PREFIX = "operations/"
STATUS = "/api/v1/video/status"
FIELDS = frozenset({"aspect_ratio", "resolution", "seconds"})
"""Fields that have no effect on a model that a picture switched to, where the one named takes them."""


async def generate(desk: Desk, x: ImageExchange) -> None:
    """Accept a film and answer where it is polled."""
    caller = await desk.enter(x)
    raw, body = await desk.body(x)
    request, rest, warnings = read(body, SimpleFilmRequest)
    effort = effort_of(x.headers, {name: getattr(request, name) for name in EFFORT_FIELDS})
    model = DEFAULTS["video"] if request.model is None else request.model
    if request.image_url is not None:
        model = FROM_PICTURE.get(model, model)
    card = desk.catalog.find(model)
    fields, changed = fitted(card, "video", to_model(request, rest), strict=request.strict)
    operation = Operation.TEXT_TO_VIDEO if request.image_url is None else Operation.IMAGE_TO_VIDEO
    idle = {"fallback": effort.fallback, "timeout": effort.timeout_ms, "X-Cache-TTL": effort.cache_ttl_s}
    for name, wished in idle.items():
        if wished:
            warnings += (f"{name} has no effect on films, which are made in the background",)
    ask = desk.ask(x, caller, raw, request, card, operation, fields, warnings + changed, at_once=False, inline=False)
    ask = msgspec.structs.replace(ask, known_fields=FIELDS, rounds=effort.rounds)
    ticket = await desk.engine.accept(ask)
    delivered = False
    try:
        view = await desk.engine.get(ticket.job.id, caller.org.id) if ticket.joined else JobView(ticket.job)
        delivered = await _answer(desk, x, view, 202)
    finally:
        desk.engine.answered(ticket, delivered=delivered)


async def status(desk: Desk, x: ImageExchange) -> None:
    """Answer how a film stands; polls are never refused for their number."""
    caller = await desk.enter(x, counted=False)
    query = x.query
    ident = query.get("operation_id", "")
    if not ident:
        raise Problem(Code.INVALID_INPUT, "operation_id is required.", field="operation_id", data={"rule": "required"})
    view = await desk.engine.get(ident.removeprefix(PREFIX), caller.org.id)
    provider = desk.provider_of(view.job)
    if view.job.operation not in VIDEO_OPERATIONS or (query.get("provider") or provider) != provider:
        raise Problem(Code.JOB_NOT_FOUND, "There is no such operation.", field="operation_id")
    await _answer(desk, x, view, 200)


async def _answer(desk: Desk, x: ImageExchange, view: JobView, status: int) -> bool:
    standing = None if x.caller is None else desk.door.standing(x.caller.key, x.scope, RATE)
    headers = [
        JSON, *rate_headers(standing), *stamp_headers(stamp_of(view)), (b"x-calotype-job-id", view.id.encode()),
        *warning_headers(view.warnings),
    ]  # fmt: skip
    return await x.answer(status, headers, success(film_object(desk, view, desk.addresses.base(x)), view.warnings))


def film_object(desk: Desk, view: JobView, base: str) -> dict[str, Any]:
    """Return a film's status: `processing`, `completed` with its URL, or `failed` with the reason."""
    job = view.job
    provider = desk.provider_of(job)
    ident = PREFIX + job.id
    data: dict[str, Any] = {
        "model": job.model,
        "provider": provider,
        "status": _WORDS.get(job.state, "processing"),
        "operation_id": ident,
        "poll_url": f"{STATUS}?provider={quote(provider)}&operation_id={ident}",
    }
    if not job.ended:
        data["progress"] = job.progress
    elif job.state is JobState.SUCCEEDED:
        data["url"] = desk.addresses.urls(base)(view.artifacts[0]) if view.artifacts else None
        data["cost_usd"] = usd_number(job.charged_micro or 0)
    else:
        problem = view.problem or Problem(Code.INTERNAL, "The job ended without a reason.")
        data["error"] = error_of(problem)[1]
    if job.plan.label is not None:
        data["label"] = job.plan.label
    return data


_WORDS = {JobState.SUCCEEDED: "completed", JobState.FAILED: "failed", JobState.CANCELED: "failed"}
