"""Requests that ended, with their payloads on demand, and the removal of payloads (`wire/products.md E4`)."""

from typing import Any

from calotype.accounts.types import Organisation
from calotype.dialects.door import Caller
from calotype.dialects.fal.answers import tell
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.errors import failure_of, media_of, refused
from calotype.dialects.fal.outputs import body_of, file_of, forgotten
from calotype.dialects.fal.platform_queries import DAY_MS, Query, iso, page, seal, window, wrong
from calotype.jobs.forget import forget
from calotype.jobs.types import JobRow, JobView
from calotype.jobs.usage import Place, Span, ended, slowest
from calotype.jobs.views import load_views
from calotype.kernel.errors import Code, Problem
from calotype.kernel.job import TERMINAL, JobState
from calotype.media.store import StoreError

USUAL_PAGE = 50
MOST_PAGE = 100
BY_ID_MS = 90 * DAY_MS
ROWS_AT_ONCE = 500
MOST_ROWS = 5000
"""Failures that one page looks at for those of the kind asked for; a cursor leads on."""
REMEMBERED_MS = 600_000
MOST_REMEMBERED = 1000
STATES: dict[str | None, frozenset[JobState]] = {
    "success": frozenset({JobState.SUCCEEDED}),
    "error": TERMINAL - {JobState.SUCCEEDED},
    "user_error": TERMINAL - {JobState.SUCCEEDED},
    None: TERMINAL,
}


async def by_endpoint(desk: Desk, x: FalExchange, org: Organisation) -> None:
    """Answer the requests of some models that have ended, the last ones or the longest ones first."""
    query = Query(x)
    payloads = "payloads" in query.expand("payloads")
    status = query.choice("status", ("success", "error", "user_error"))
    models = query.models(desk.catalog, required=True)
    ident = query.text("request_id")
    usual_ms = DAY_MS if ident is None else BY_ID_MS
    start_ms, end_ms = window(query, desk.now_ms(), usual_ms=usual_ms)
    most = query.limit(USUAL_PAGE, MOST_PAGE)
    span = Span(org.id, start_ms, end_ms, models)
    if ident is not None:
        rows, cursor = await _one(desk, span, ident, status), None
    elif query.choice("sort_by", ("ended_at", "duration"), "ended_at") == "duration":
        rows, cursor = await _longest(desk, query, span, status, most)
    else:
        rows, cursor = await _newest(desk, query, span, status, most)
    await tell(x, 200, page("items", await _items(desk, x, rows, payloads=payloads), cursor))


async def search(desk: Desk, x: FalExchange, org: Organisation) -> None:
    """Answer the requests that have ended, newest first; search by meaning is not offered."""
    query = Query(x)
    for name in ("query", "image_url", "video_url", "min_similarity"):
        if query.text(name) is not None:
            raise Problem(
                Code.PLANNED, f"{name}: search by meaning is not offered; leave it out to browse.", field=name
            )
    sources = [query.choice(name, ("true", "false")) for name in ("exclude_api_requests", "only_api_requests")]
    if sources == ["true", "true"]:
        raise wrong("exclude_api_requests", "and only_api_requests exclude each other.")
    start_ms, end_ms = window(query, desk.now_ms(), usual_ms=BY_ID_MS)
    span = Span(org.id, start_ms, end_ms, query.models(desk.catalog))
    most = query.limit(USUAL_PAGE, MOST_PAGE)
    rows: list[JobRow] = []
    cursor = None
    if sources[0] != "true":  # every request here came over the API
        rows, cursor = await _newest(desk, query, span, "success", most)
    await tell(x, 200, page("results", await _items(desk, x, rows, payloads=True), cursor))


async def delete_payloads(desk: Desk, x: FalExchange, caller: Caller) -> None:
    """Remove what a request was given and what it answered, files too; an `Idempotency-Key` repeats the answer."""
    org_id = caller.org.id
    memory = desk.payload_answers
    name = x.header("idempotency-key")
    known = memory.get((org_id, x.rest, name)) if name else None
    if known is not None and desk.now_ms() < known[0]:
        await tell(x, 200, known[1])
        return
    view = await desk.look(x, x.rest, org_id)
    if not view.job.ended:
        raise Problem(Code.INVALID_INPUT, "The request is still in progress.", field="request_id")
    links = [file_of(artifact, desk.urls(x.bases.media))["url"] for artifact in view.artifacts]
    failed = None
    try:
        await desk.engine.remove_media(view)
    except StoreError as error:
        failed = error.message
    await forget(desk.office.db, [view.id], desk.now_ms())
    body = {"cdn_delete_results": [{"link": link, "exception": failed} for link in links]}
    if name and failed is None:
        while len(memory) >= MOST_REMEMBERED:
            del memory[next(iter(memory))]
        memory[org_id, x.rest, name] = (desk.now_ms() + REMEMBERED_MS, body)
    x.job = None
    await tell(x, 200, body)


async def _one(desk: Desk, span: Span, ident: str, status: str | None) -> list[JobRow]:
    try:
        job = (await desk.engine.get(ident.lower(), span.org_id)).job  # type: ignore[arg-type]
    except Problem as problem:
        if problem.code is not Code.JOB_NOT_FOUND:
            raise
        return []
    within = job.ended and span.start_ms <= (job.finished_at_ms or 0) < span.end_ms
    return [job] if within and job.model in (span.models or ()) and _is(job, status) else []


async def _newest(
    desk: Desk, query: Query, span: Span, status: str | None, most: int
) -> tuple[list[JobRow], str | None]:
    place = Place(*(query.cursor(int, str) or ()))
    found: list[JobRow] = []
    looked = 0
    while looked < MOST_ROWS:
        at = place
        many = most + 1 if status in (None, "success") else ROWS_AT_ONCE
        rows = await desk.office.db.read(lambda tx: ended(tx, span, most=many, place=at, states=STATES[status]))  # noqa: B023
        for row in rows:
            if _is(row, status):
                if len(found) == most:
                    return found, seal(place.at_ms, place.before)
                found.append(row)
            place = Place(row.finished_at_ms or 0, row.id)
        if len(rows) < many:
            return found, None
        looked += len(rows)
    return found, seal(place.at_ms, place.before)


async def _longest(
    desk: Desk, query: Query, span: Span, status: str | None, most: int
) -> tuple[list[JobRow], str | None]:
    passed = (query.cursor(int) or [0])[0]
    states = STATES[status]
    rows = await desk.office.db.read(lambda tx: slowest(tx, span, most=most + 1, passed=passed, states=states))
    cursor = seal(passed + most) if len(rows) > most else None
    return [row for row in rows[:most] if _is(row, status)], cursor


def _is(job: JobRow, status: str | None) -> bool:
    """Say whether a job ended as `status` says: an error of ours is 500 or more, one of the user's less."""
    if job.state is JobState.SUCCEEDED or status in (None, "success"):
        return status in (None, "success")
    return (refused(failure_of(JobView(job))).status >= 500) is (status == "error")


async def _items(desk: Desk, x: FalExchange, rows: list[JobRow], *, payloads: bool) -> list[dict[str, Any]]:
    views: dict[str, JobView] = {}
    if payloads and rows:
        views = await desk.office.db.read(lambda tx: load_views(tx, [row.id for row in rows]))
        for ident, view in views.items():
            if view.job.result is not None and view.job.result.aside is not None:
                views[ident] = await desk.engine.get(ident, view.job.org_id)
    return [_item(desk, x, row, views.get(row.id)) for row in rows]


def _item(desk: Desk, x: FalExchange, job: JobRow, view: JobView | None) -> dict[str, Any]:
    began = job.created_at_ms if job.started_at_ms is None else job.started_at_ms
    ended_at_ms = job.finished_at_ms or began
    succeeded = job.state is JobState.SUCCEEDED
    item = {
        "request_id": job.id, "endpoint_id": job.model, "sent_at": iso(job.created_at_ms), "started_at": iso(began),
        "ended_at": iso(ended_at_ms), "duration": (ended_at_ms - began) / 1000,
        "status_code": 200 if succeeded else refused(failure_of(JobView(job))).status,
    }  # fmt: skip
    if view is None:
        return item
    output: dict[str, Any] | None = None
    if not succeeded:
        output = refused(failure_of(view), media_of(view)).body
    elif job.result is not None and not forgotten(view):
        urls = desk.urls(x.bases.media)
        output = body_of(view, [file_of(artifact, urls) for artifact in view.artifacts])
    return item | {"json_input": job.input, "json_output": output}
