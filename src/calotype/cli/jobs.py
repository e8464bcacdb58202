"""`calotype jobs`: list, show, watch, cancel, over the database; a running server sees what they wrote."""

import asyncio
import time
from typing import Annotated, Any

import msgspec
import typer

from calotype.app import App
from calotype.cli.neighbour import engine_runs, running
from calotype.cli.opened import with_app
from calotype.cli.options import DataDir, Json
from calotype.cli.terminal import Failure, answer, facts, moment, progress_bar, say, table
from calotype.db import Sql, Store, Tx
from calotype.jobs.store import events_of, submissions_of
from calotype.jobs.types import JobView
from calotype.jobs.views import load_views
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass
from calotype.kernel.ids import is_uuid
from calotype.kernel.job import JobState
from calotype.kernel.money import usd

jobs = typer.Typer(help="Jobs: list, show, watch, cancel.", no_args_is_help=True)

LOOK_S = 0.3
CANCEL_WAIT_S = 15.0
JobArgument = Annotated[str, typer.Argument(metavar="ID", help="A job's id; video_… works too.")]

_HOLD = Sql("SELECT amount_micro, state, captured_micro, created_at_ms, settled_at_ms FROM hold WHERE id = :id")
_HOLD_FIELDS = ("amount_micro", "state", "captured_micro", "created_at_ms", "settled_at_ms")


@jobs.command("list")
def list_(
    org: Annotated[str | None, typer.Option("--org", help="Only this organisation's.")] = None,
    state: Annotated[JobState | None, typer.Option(help="Only jobs in this state.")] = None,
    before: Annotated[str | None, typer.Option(help="Only jobs older than this id.")] = None,
    most: Annotated[int, typer.Option("--limit", min=1, max=500, help="How many.")] = 50,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List jobs, newest first."""

    async def work(app: App) -> list[JobView]:
        only = None if org is None else (await app.accounts.get_org(org)).id
        last = None if before is None else _job_id(before)
        return await app.engine.list(only, state=state, before=last, limit=most)

    views = with_app(data_dir, work)
    if as_json:
        answer([job_object(view) for view in views])
        return
    rows = [
        (view.id, moment(view.job.created_at_ms), view.job.model, view.state.value, f"{view.job.progress} %",
         usd(view.job.quote_micro if view.job.charged_micro is None else view.job.charged_micro))
        for view in views
    ]  # fmt: skip
    table(("ID", "CREATED (UTC)", "MODEL", "STATE", "DONE", "PRICE"), rows)


@jobs.command()
def show(job_id: JobArgument, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Show a job with its submissions, hold, artifacts and events; the prompts of PHI jobs are kept nowhere."""
    ident = _job_id(job_id)
    shown = with_app(data_dir, lambda app: _whole(app, ident))
    if as_json:
        answer(shown)
        return
    hold, error = shown["hold"], shown["error"]
    facts(
        [
            ("job", shown["id"]),
            ("state", f"{shown['state']}, {shown['progress']} %"),
            ("model", shown["model"]),
            ("label", shown["label"]),
            ("operation", shown["operation"]),
            ("region", f"{shown['region']}, {shown['data_class']}"),
            ("quote", usd(shown["quote_micro"])),
            ("charged", None if shown["charged_micro"] is None else usd(shown["charged_micro"])),
            (
                "hold",
                None if hold is None or not hold["amount_micro"] else f"{usd(hold['amount_micro'])}, {hold['state']}",
            ),
            ("created", moment(shown["created_at_ms"])),
            ("finished", moment(shown["finished_at_ms"])),
            ("error", None if error is None else error["message"]),
            *(
                ("submission", f"{one['attempt']}: {one['provider']} {one['upstream_model']}, {one['state']}")
                for one in shown["submissions"]
            ),
            *(("artifact", one["url"] or one["file"] or one["name"]) for one in shown["artifacts"]),
            *(("event", f"{moment(one['at_ms'])} {one['type']}") for one in shown["events"]),
        ]
    )


@jobs.command()
def watch(
    job_id: JobArgument,
    timeout: Annotated[float, typer.Option(min=0, help="Stop looking after so many seconds.")] = 3600.0,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Wait for a job's end; exit 1 unless it succeeded."""
    ident = _job_id(job_id)
    shown = with_app(data_dir, lambda app: _watch(app, ident, timeout))
    _end(shown, as_json)
    if shown["state"] != JobState.SUCCEEDED:
        raise typer.Exit(1)


@jobs.command()
def cancel(job_id: JobArgument, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Cancel a job: at once while it waits, else as soon as whoever works on it sees the request."""
    ident = _job_id(job_id)

    async def work(app: App) -> dict[str, Any]:
        view = await _find(app, ident)
        outcome = await app.engine.cancel(view.id, view.job.org_id)
        word = outcome.word
        if word == "requested" and _is_served(app):
            until = time.monotonic() + CANCEL_WAIT_S
            while word == "requested" and time.monotonic() < until:
                await asyncio.sleep(LOOK_S)
                state = (await _find(app, ident)).state
                word = "canceled" if state is JobState.CANCELED else "ended" if state in _ENDS else word
        return {"result": word} | await _whole(app, ident)

    shown = with_app(data_dir, work)
    word = shown["result"]
    if as_json:
        answer(shown)
    else:
        facts([("job", shown["id"]), ("state", shown["state"]), ("result", word)])
    if word == "requested":
        say("The wish is noted: the server that works on the job sees it, or the next one that starts.")
    elif word == "ended":
        say("The job had ended before.")


def job_object(view: JobView) -> dict[str, Any]:
    """Return a job's row as `--json` shows it, in micro-USD and Unix milliseconds."""
    job = view.job
    return {
        "id": job.id,
        "state": job.state.value,
        "operation": job.operation.value,
        "model": job.model,
        "label": job.plan.label,
        "dialect": job.dialect,
        "data_class": job.data_class.value,
        "region": job.region.value,
        "provider": job.provider,
        "attempt": job.attempt,
        "progress": job.progress,
        "cancel_requested": job.cancel_requested,
        "org_id": job.org_id,
        "key_id": job.key_id,
        "quote_micro": job.quote_micro,
        "charged_micro": job.charged_micro,
        "metered": job.plan.metered,
        "customer": job.customer,
        "tags": job.tags,
        "warnings": view.warnings,
        "error": None if view.problem is None else view.problem.as_dict(),
        "created_at_ms": job.created_at_ms,
        "started_at_ms": job.started_at_ms,
        "finished_at_ms": job.finished_at_ms,
        "deadline_at_ms": job.deadline_at_ms,
    }


_ENDS = (JobState.SUCCEEDED, JobState.FAILED, JobState.CANCELED)


async def _find(app: App, ident: str) -> JobView:
    views = await app.db.read(lambda tx: load_views(tx, [ident]))
    if ident not in views:
        raise Problem(Code.JOB_NOT_FOUND, f"There is no job {ident}.")
    return views[ident]


async def _whole(app: App, ident: str) -> dict[str, Any]:
    """Return everything the database has of a job, read at one moment."""

    def read(tx: Tx) -> tuple[JobView | None, list[dict[str, Any]], Any, list[dict[str, Any]]]:
        view = load_views(tx, [ident]).get(ident)
        if view is None:
            return None, [], None, []
        events = [
            {"seq": seq, "type": kind, "data": None if data is None else msgspec.json.decode(data), "at_ms": at_ms}
            for seq, kind, data, at_ms in events_of(tx, view.id)
        ]
        return view, submissions_of(tx, view.id), tx.row(_HOLD, {"id": ident}), events

    view, submissions, hold, events = await app.db.read(read, snapshot=True)
    if view is None:
        raise Problem(Code.JOB_NOT_FOUND, f"There is no job {ident}.")
    shown = job_object(view)
    if view.job.data_class is not DataClass.PHI:
        shown["input"] = view.job.input
    return shown | {
        "submissions": submissions,
        "hold": None if hold is None else dict(zip(_HOLD_FIELDS, hold, strict=True)),
        "artifacts": _artifacts(app, view),
        "events": events,
    }


def _artifacts(app: App, view: JobView) -> list[dict[str, Any]]:
    """Return a job's files; the signed URL is there when a server runs here or has a public address."""
    base = app.settings.public_url or running(app.settings.data_dir)
    latest_ms = app.clock.now_ms() + app.settings.media.url_lifetime_s * 1000
    found = []
    for one in view.artifacts:
        url, file = one.url, None
        if one.stored:
            expires_at_ms = min(one.expires_at_ms, latest_ms)
            path = app.signer.path(one.key, one.content_type, expires_at_ms, one.name, signed=True)
            url = None if base is None else base.rstrip("/") + path
            at = app.store.path_of(one.key)
            file = None if at is None else str(at.absolute())
        found.append(
            {
                "n": one.n, "name": one.name, "content_type": one.content_type, "stored": one.stored, "url": url,
                "file": file, "size_bytes": one.size_bytes, "sha256": one.sha256, "width": one.width,
                "height": one.height, "duration_s": one.duration_s, "expires_at_ms": one.expires_at_ms,
            }
        )  # fmt: skip
    return found


async def _watch(app: App, ident: str, timeout_s: float) -> dict[str, Any]:
    view = await _find(app, ident)
    until = time.monotonic() + timeout_s
    with progress_bar() as bar:
        line = bar.add_task(view.state.value, total=100, completed=view.job.progress)
        while not view.job.ended:
            if time.monotonic() >= until:
                raise Failure(f"The job has not ended within {timeout_s:g} s; it goes on.")
            if not _is_served(app):
                raise Failure("No server runs this data directory, so the job waits; start one with calotype serve.")
            await asyncio.sleep(LOOK_S)
            view = await _find(app, ident)
            bar.update(line, description=view.state.value, completed=view.job.progress)
    return await _whole(app, ident)


def _is_served(app: App) -> bool:
    """Say whether somebody may be working: an engine of this directory, or of any machine on PostgreSQL."""
    return app.db.store is Store.POSTGRES or engine_runs(app.settings.data_dir)


def _end(shown: dict[str, Any], as_json: bool) -> None:
    if as_json:
        answer(shown)
        return
    error, charged = shown["error"], shown["charged_micro"]
    facts(
        [
            ("job", shown["id"]),
            ("state", shown["state"]),
            ("charged", None if charged is None else usd(charged)),
            ("error", None if error is None else error["message"]),
            *(("artifact", one["url"] or one["file"] or one["name"]) for one in shown["artifacts"]),
        ]
    )


def _job_id(text: str) -> str:
    """Read a job's id, also in the form OpenAI's dialect gives it."""
    digits = text.removeprefix("video_").replace("-", "").lower()
    ident = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"
    if not is_uuid(ident):
        raise Failure(f"{text!r} is not the id of a job.")
    return ident
