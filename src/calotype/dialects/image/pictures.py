"""The calls that make pictures: `generate` from words, `edit` from a picture and words (`wire/products.md D2`)."""

from typing import Any

import msgspec

from calotype.catalog import Card
from calotype.dialects.door import Caller
from calotype.dialects.headers import Headers, stamp_headers, stamp_of, warning_headers
from calotype.dialects.image.answers import JSON, rate_headers, refused, success, usd_number
from calotype.dialects.image.desk import RATE, Desk, ImageExchange, base64_of
from calotype.dialects.image.fields import fitted
from calotype.dialects.image.offers import DEFAULTS, FROM_PICTURES, Verb, answers_base64
from calotype.dialects.image.requests import SimpleEditRequest, SimpleImageRequest, read, to_model
from calotype.dialects.kept import cache_header
from calotype.jobs.intake import Ask
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation
from calotype.kernel.job import JobState


async def generate(desk: Desk, x: ImageExchange) -> None:
    """Make pictures of words."""
    caller = await desk.enter(x)
    raw, body = await desk.body(x)
    if body.get("image_url") is not None:
        sentence = "image_url belongs to /api/v1/image/edit; a picture is generated from words alone."
        raise Problem(Code.INVALID_INPUT, sentence, field="image_url")
    await _made(desk, x, caller, raw, "generate", *read(body, SimpleImageRequest))


async def edit(desk: Desk, x: ImageExchange) -> None:
    """Make a picture of another one."""
    caller = await desk.enter(x)
    raw, body = await desk.body(x)
    await _made(desk, x, caller, raw, "edit", *read(body, SimpleEditRequest))


async def _made(
    desk: Desk, x: ImageExchange, caller: Caller, raw: bytes, verb: Verb, request: SimpleImageRequest,
    rest: dict[str, Any], warnings: tuple[str, ...],
) -> None:  # fmt: skip
    effort = desk.effort(x.headers, request)
    given = to_model(request, rest)
    asks: list[Ask] = []
    first = DEFAULTS[verb] if request.model is None else request.model
    for n, model in enumerate((first, *effort.fallback)):
        try:
            # a retired model has its turn, which fails, where there is one to fall back on
            retired = desk.catalog.get(model) if n == 0 and effort.fallback else None
            card = retired or desk.catalog.find(model)
            fields, changed = fitted(card, verb, given, strict=request.strict and not n)
        except Problem as problem:
            if n == 0:
                raise
            raise Problem(problem.code, problem.message, field=f"fallback.{n - 1}", data=problem.data) from None
        said = warnings + changed
        inline = answers_base64(card.id)
        asks.append(
            desk.ask(x, caller, raw, request, card, _operation(card, verb), fields, said, at_once=True, inline=inline)
        )
    tried = await desk.attempts.run(asks, effort)
    delivered = False
    try:
        delivered = await _tell(desk, x, caller, tried.view, cache_header(effort, kept=tried.kept))
    finally:
        if tried.ticket is not None:
            desk.engine.answered(tried.ticket, delivered=delivered)


async def _tell(desk: Desk, x: ImageExchange, caller: Caller, view: JobView, more: Headers) -> bool:
    standing = desk.door.standing(caller.key, x.scope, RATE)
    stamp = job_headers(view)
    if view.state is not JobState.SUCCEEDED:
        problem = view.problem or Problem(Code.INTERNAL, "The job ended without a reason.")
        return await x.answer(*refused(problem, standing, view.job.data_class, stamp))
    body = success(await _data(desk, x, view), view.warnings)
    return await x.answer(200, [JSON, *rate_headers(standing), *stamp, *more], body)


async def _data(desk: Desk, x: ImageExchange, view: JobView) -> dict[str, Any]:
    job = view.job
    facts = [{"width": one.width, "height": one.height} if one.width is not None else {} for one in view.artifacts]
    if job.plan.wants.get("inline"):
        pictures = await base64_of(view, desk.store)
        if not pictures:
            raise Problem(Code.GONE, "This result was answered once and is not kept; send a new request.")
        images: list[dict[str, Any]] = [
            {"base64": msgspec.Raw(b'"' + text + b'"'), "mimeType": kind} for kind, text in pictures
        ]
    else:
        url_of = desk.addresses.url_of(x)
        images = [{"url": url_of(one), "mimeType": one.content_type} for one in view.artifacts]
    if len(facts) == len(images):
        images = [picture | fact for picture, fact in zip(images, facts, strict=True)]
    result = job.result.data if job.result is not None else {}
    data: dict[str, Any] = {
        "id": job.id,
        "model": job.model,
        "provider": desk.provider_of(job),
        "images": images,
    }
    seed = result.get("seed", (job.input or {}).get("seed"))
    if seed is not None:
        data["seed"] = seed
    data["cost_usd"] = usd_number(stamp_of(view).cost_micro)
    if job.plan.label is not None:
        data["label"] = job.plan.label
    return data


def job_headers(view: JobView) -> Headers:
    """Return how a job was routed and what this answer costs, its id, and its warnings."""
    return [
        *stamp_headers(stamp_of(view)), (b"x-calotype-job-id", view.id.encode()), *warning_headers(view.warnings),
    ]  # fmt: skip


def _operation(card: Card, verb: Verb) -> Operation:
    if verb == "generate":
        return Operation.TEXT_TO_IMAGE
    return next((one for one in FROM_PICTURES if one in card.operations), FROM_PICTURES[0])
