"""The calls of the video endpoints: create, look, list, fetch, delete."""

from typing import Any

import msgspec
from starlette.datastructures import UploadFile

from calotype.dialects.door import Exchange, json_object, refuse_phi_files
from calotype.dialects.openai import videos
from calotype.dialects.openai.answers import JSON, job_headers
from calotype.dialects.openai.desk import NAME, Desk
from calotype.dialects.openai.files import FORM_BYTES, chunks_of, form_of
from calotype.dialects.openai.images import FORMS
from calotype.jobs.intake import Ask
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Generation, KeyClass, Operation
from calotype.kernel.job import JobState

VIDEOS = frozenset(
    {
        Operation.TEXT_TO_VIDEO, Operation.IMAGE_TO_VIDEO, Operation.VIDEO_TO_VIDEO, Operation.TALKING_AVATAR,
        Operation.LIP_SYNC,
    }
)  # fmt: skip
_encode = msgspec.json.Encoder().encode


async def create_video(desk: Desk, x: Exchange) -> None:
    """Accept a video request and answer 202; OpenAI's own clients always send a form, others JSON."""
    caller = await desk.door.enter(x)
    if x.headers.get(b"content-type", b"").lower().startswith(FORMS):
        refuse_phi_files(x)
        body, given = await _form(desk, x, caller.org.id)
        card = desk.catalog.get(given["model"]) if isinstance(given.get("model"), str) else None
        given = videos.typed(given, card.schema.properties if card is not None else {})
    else:
        body = await desk.door.body(x)
        given = json_object(body)
    options, fields, operation = videos.split(given)
    context = desk.with_options(
        desk.door.context(caller, x, NAME, body), allow_preview=options.allow_preview, webhook_url=options.webhook_url
    )
    ask = Ask(
        generation=Generation(operation, options.model, fields), context=context, key=caller.key, org=caller.org,
        operation=operation, at_once=False, known_fields=videos.FIELDS,
    )  # fmt: skip
    ticket = await desk.engine.accept(ask)
    delivered = False
    try:
        view = await desk.engine.get(ticket.job.id, caller.org.id) if ticket.joined else JobView(ticket.job)
        delivered = await _answer(desk, x, view, 202)
    finally:
        desk.engine.answered(ticket, delivered=delivered)


async def _form(desk: Desk, x: Exchange, org_id: str) -> tuple[bytes, dict[str, Any]]:
    """Read a form; a file in it becomes an upload, and its digest stands for it in the fingerprint."""
    form = await form_of(x, max_files=2, max_bytes=desk.uploads.max_bytes + FORM_BYTES)
    given: dict[str, Any] = {}
    for name, value in form.items():
        if isinstance(value, UploadFile):
            upload = await desk.uploads.create(
                chunks_of(value), org_id=org_id, filename=value.filename or "input", purpose="input"
            )
            given[name] = upload.id
            form[name] = upload.sha256
            await value.close()
        else:
            given[name] = value
    return _encode(sorted(form.items())), given


async def _answer(desk: Desk, x: Exchange, view: JobView, status: int) -> bool:
    headers = job_headers(view)
    if not view.job.ended:
        headers.append((b"openai-poll-after-ms", str(videos.POLL_AFTER_MS).encode()))
    return await x.answer(status, headers, _encode(videos.video_object(view, desk.url_of(x))))


async def get_video(desk: Desk, x: Exchange) -> None:
    """Answer how a video stands, or redirect to its file; polls are never refused for their number."""
    caller = await desk.door.enter(x, counted=False)
    ident, slash, tail = x.rest.partition("/")
    view = await desk.engine.get(videos.job_id_of(ident), caller.org.id)
    if not is_video(view.job.operation):
        raise Problem(Code.JOB_NOT_FOUND, "There is no such video.", field="id")
    if not slash:
        await _answer(desk, x, view, 200)
        return
    if tail != "content":
        raise Problem(Code.NOT_FOUND, "A video has only /content below it.")
    if x.query.get("variant", "video") != "video":
        raise Problem(Code.INVALID_INPUT, "Only variant=video is kept.", field="variant")
    if view.state is not JobState.SUCCEEDED or not view.artifacts:
        raise view.problem or Problem(Code.NOT_FOUND, "The video is not there (yet, or any more).", field="id")
    location = desk.url_of(x)(view.artifacts[0])
    await x.answer(302, [*job_headers(view), (b"location", location.encode())], b"{}")


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
        raise Problem(Code.MODEL_NOT_ALLOWED, "A test key lists no jobs; fetch a video by its id.")
    limit = x.query.get("limit", "20")
    if not (limit.isascii() and limit.isdigit() and len(limit) < 4) or not 1 <= int(limit) <= 100:
        raise Problem(Code.INVALID_INPUT, "limit is a whole number from 1 to 100.", field="limit")
    if x.query.get("order", "desc") != "desc":
        raise Problem(Code.INVALID_INPUT, "order is desc: videos are listed newest first.", field="order")
    after = x.query.get("after")
    views = await desk.engine.list(
        caller.org.id, operations=VIDEOS, before=videos.job_id_of(after) if after else None, limit=int(limit) + 1
    )
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
