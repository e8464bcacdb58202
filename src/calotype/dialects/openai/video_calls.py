"""The calls of the video endpoints: create, remix, look, list, fetch, delete."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from calotype.dialects.door import Caller, Exchange
from calotype.dialects.openai import videos
from calotype.dialects.openai.answers import JSON, job_headers
from calotype.dialects.openai.desk import Desk
from calotype.dialects.openai.forms import any_body
from calotype.dialects.openai.options import Options, split
from calotype.jobs.intake import Ask
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import KeyClass, Operation
from calotype.kernel.ids import OrgId
from calotype.kernel.job import JobState
from calotype.media.stills import spritesheet, thumbnail

VIDEOS = frozenset(
    {
        Operation.TEXT_TO_VIDEO, Operation.IMAGE_TO_VIDEO, Operation.VIDEO_TO_VIDEO, Operation.TALKING_AVATAR,
        Operation.LIP_SYNC,
    }
)  # fmt: skip
REMIX_FIELDS = videos.FIELDS | {"video_url"}
EDIT, EXTEND = "edit", "extend"
"""What is done with a film; the second is a word that models which can do it take as their `task`."""
STILLS: dict[str, tuple[bytes, Callable[[Path], bytes]]] = {
    "thumbnail": (b"image/webp", thumbnail),
    "spritesheet": (b"image/jpeg", spritesheet),
}
"""What is made of a film when it is asked for."""
_encode = msgspec.json.Encoder().encode


async def create_video(desk: Desk, x: Exchange) -> None:
    """Accept a video request and answer 202; OpenAI's own clients always send a form, others JSON."""
    caller = await desk.door.enter(x)
    raw, body = await any_body(desk, x, caller.org.id)
    options, given = split(body, Options, videos.FIELDS)
    fields, operation = videos.asked(given)
    await _begin(desk, x, desk.ask(x, caller, raw, options, operation, fields, videos.FIELDS, at_once=False))


async def remix_video(desk: Desk, x: Exchange) -> None:
    """Turn one of the organisation's films into another by words; the path names it."""
    caller = await desk.door.enter(x)
    raw, body = await any_body(desk, x, caller.org.id)
    options, fields = split(body, Options, REMIX_FIELDS)
    source = await _film(desk, x.rest, caller.org.id)
    if body.get("model") is None:
        options.model = source.job.model
    video = desk.url_of(x)(source.artifacts[0])
    await _remix(desk, x, caller, raw, options, fields | {"video_url": video}, videos.video_id(source.id))


async def edit_video(desk: Desk, x: Exchange) -> None:
    """Do the same with a film that the body names or brings."""
    await _from_body(desk, x, EDIT)


async def extend_video(desk: Desk, x: Exchange) -> None:
    """Carry a film on that the body names or brings, with a model that can."""
    await _from_body(desk, x, EXTEND)


async def _from_body(desk: Desk, x: Exchange, task: str) -> None:
    caller = await desk.door.enter(x)
    raw, body = await any_body(desk, x, caller.org.id)
    options, fields = split(body, Options, REMIX_FIELDS | {"video"})
    given = fields.pop("video", None)
    ident = given.get("id") if isinstance(given, dict) else given
    if isinstance(ident, str) and (isinstance(given, dict) or ident.startswith("video_")):
        source = await _film(desk, ident, caller.org.id)
        if body.get("model") is None:
            options.model = source.job.model
        fields["video_url"] = desk.url_of(x)(source.artifacts[0])
    elif isinstance(given, str):
        fields["video_url"], ident = given, None
    else:
        raise Problem(Code.INVALID_INPUT, "video is a file, a URL, or an object with a video's id.", field="video")
    if task != EDIT:
        card = desk.catalog.get(options.model)
        if card is None or task not in card.schema.properties.get("task", {}).get("enum", ()):
            sentence = f"{options.model} cannot carry a film on; name a model whose field task takes {task}."
            raise Problem(Code.INVALID_INPUT, sentence, field="model")
        fields["task"] = task
    await _remix(desk, x, caller, raw, options, fields, ident)


async def _film(desk: Desk, ident: str, org_id: OrgId) -> JobView:
    """Return a finished video.

    Raises:
        Problem: `job_not_found`, or `conflict` for one that is not finished.

    """
    view = await desk.engine.get(videos.job_id_of(ident), org_id)
    if not is_video(view.job.operation):
        raise Problem(Code.JOB_NOT_FOUND, "There is no such video.", field="id")
    if view.state is not JobState.SUCCEEDED or not view.artifacts:
        raise Problem(Code.CONFLICT, "The video is not there (yet, or any more).", field="id", retryable=False)
    return view


async def _remix(
    desk: Desk, x: Exchange, caller: Caller, raw: bytes, options: Options, fields: dict[str, Any], source: str | None
) -> None:
    wants = {videos.REMIXED_FROM: source} if source is not None else {}
    fields, _ = videos.asked(fields)
    await _begin(
        desk, x,
        desk.ask(
            x, caller, raw, options, Operation.VIDEO_TO_VIDEO, fields, REMIX_FIELDS, at_once=False, wants=wants
        ),
    )  # fmt: skip


async def _begin(desk: Desk, x: Exchange, ask: Ask) -> None:
    ticket = await desk.engine.accept(ask)
    delivered = False
    try:
        view = await desk.engine.get(ticket.job.id, ask.org.id) if ticket.joined else JobView(ticket.job)
        delivered = await _answer(desk, x, view, 202)
    finally:
        desk.engine.answered(ticket, delivered=delivered)


async def _answer(desk: Desk, x: Exchange, view: JobView, status: int) -> bool:
    headers = job_headers(view)
    if not view.job.ended:
        headers.append((b"openai-poll-after-ms", str(videos.POLL_AFTER_MS).encode()))
    return await x.answer(status, headers, _encode(videos.video_object(view, desk.url_of(x))))


async def get_video(desk: Desk, x: Exchange) -> None:
    """Answer how a video stands; polls are never refused for their number."""
    caller = await desk.door.enter(x, counted=False)
    view = await desk.engine.get(videos.job_id_of(x.rest), caller.org.id)
    if not is_video(view.job.operation):
        raise Problem(Code.JOB_NOT_FOUND, "There is no such video.", field="id")
    await _answer(desk, x, view, 200)


async def get_content(desk: Desk, x: Exchange) -> None:
    """Redirect to a video's file, or answer a still or a sheet of stills, which is work and takes from the rate."""
    caller = await desk.door.enter(x, counted=x.query.get("variant") in STILLS)
    view = await desk.engine.get(videos.job_id_of(x.rest), caller.org.id)
    if not is_video(view.job.operation):
        raise Problem(Code.JOB_NOT_FOUND, "There is no such video.", field="id")
    variant = x.query.get("variant", "video")
    if variant not in ("video", *STILLS):
        raise Problem(Code.INVALID_INPUT, f"variant is one of video, {', '.join(STILLS)}.", field="variant")
    if view.state is not JobState.SUCCEEDED or not view.artifacts:
        raise view.problem or Problem(Code.NOT_FOUND, "The video is not there (yet, or any more).", field="id")
    if variant == "video":
        location = desk.url_of(x)(view.artifacts[0])
        await x.answer(302, [*job_headers(view), (b"location", location.encode())], b"{}")
        return
    if not view.artifacts[0].stored:
        raise Problem(
            Code.NOT_FOUND, "This film lies at its provider; only variant=video leads there.", field="variant"
        )
    kind, make = STILLS[variant]
    async with desk.stills:
        path = await desk.store.borrow(view.artifacts[0].key)
        try:
            picture = await asyncio.to_thread(make, path)
        finally:
            await desk.store.give_back(path)
    await x.answer(200, job_headers(view, (b"content-type", kind)), picture)


async def delete_video(desk: Desk, x: Exchange) -> None:
    """Cancel a video that has not ended; remove the files of one that has."""
    caller = await desk.door.enter(x)
    job_id = videos.job_id_of(x.rest)
    if not is_video((await desk.engine.get(job_id, caller.org.id)).job.operation):
        raise Problem(Code.JOB_NOT_FOUND, "There is no such video.", field="id")
    outcome = await desk.engine.cancel(job_id, caller.org.id)
    if outcome.word == "requested":
        sentence = "The video is being made and its provider cannot be stopped."
        raise Problem(Code.CONFLICT, sentence, field="id", retryable=False)
    if outcome.word == "ended":
        await desk.engine.remove_media(outcome.view)
    body = {"id": videos.video_id(job_id), "object": "video.deleted", "deleted": True}
    await x.answer(200, job_headers(outcome.view), _encode(body))


async def list_videos(desk: Desk, x: Exchange) -> None:
    """Answer an organisation's videos, newest first; the shared test key lists nothing."""
    caller = await desk.door.enter(x, counted=False)
    if caller.key.key_class is KeyClass.TEST:
        raise Problem(Code.FORBIDDEN, "A test key lists no jobs; fetch a video by its id.")
    limit = x.query.get("limit", "20")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4) or not 1 <= int(limit) <= 100:
        raise Problem(Code.INVALID_INPUT, "limit is a whole number from 1 to 100.", field="limit")
    if x.query.get("order", "desc") != "desc":
        raise Problem(Code.INVALID_INPUT, "order is desc: videos are listed newest first.", field="order")
    after = x.query.get("after")
    before = videos.job_id_of(after, "after") if after else None
    views = await desk.engine.list(caller.org.id, operations=VIDEOS, before=before, limit=int(limit) + 1)
    data = [videos.video_object(view, desk.url_of(x)) for view in views[: int(limit)]]
    body = {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": len(views) > len(data),
    }
    await x.answer(200, [JSON], _encode(body))


def is_video(operation: Operation) -> bool:
    """Say whether an operation makes videos."""
    return operation in VIDEOS
