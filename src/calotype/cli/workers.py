"""`calotype workers`: the operator's own workers. A running server sees every change within a second or two."""

import asyncio
import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from calotype.app import App
from calotype.catalog.templates import Templates
from calotype.cli.opened import with_app
from calotype.cli.options import DataDir, Json
from calotype.cli.terminal import Failure, answer, facts, moment, say, table
from calotype.db.schema import current, newest
from calotype.providers.workers.roster import auth_of
from calotype.providers.workers.trial import Seen, Trial, look, run
from calotype.providers.workers.types import Auth, Health, Worker, WorkerState
from calotype.settings import Settings

workers = typer.Typer(help="Your own workers: add, list, drain, undrain, remove, test.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="WORKER", help="Name or id.")]


@workers.command()
def add(
    name: Annotated[str, typer.Argument(help="A name that is not taken.")],
    url: Annotated[str, typer.Argument(help="Where it answers: http://host:port.")],
    kind: Annotated[Literal["comfyui", "http"], typer.Option(help="What it speaks.")] = "comfyui",
    provider: Annotated[
        str | None, typer.Option(help="The provider instance it belongs to; by default its kind.", show_default=False)
    ] = None,
    auth_env: Annotated[
        str | None, typer.Option(metavar="NAME", help="The environment variable that holds its secret.")
    ] = None,
    auth_file: Annotated[Path | None, typer.Option(metavar="PATH", help="The file that holds its secret.")] = None,
    auth_stdin: Annotated[bool, typer.Option(help="Read its secret from standard input; it is kept sealed.")] = False,
    header: Annotated[
        str | None, typer.Option(metavar="NAME", help="The header for the secret alone, not Authorization: Bearer.")
    ] = None,
    max_jobs: Annotated[int, typer.Option(min=1, max=64, help="Jobs it is given at once.")] = 2,
    min_jobs: Annotated[int, typer.Option(min=1, max=64, help="Jobs it is given even when it reports less.")] = 1,
    label: Annotated[list[str] | None, typer.Option(help="A word about it; may be repeated.")] = None,
    loras_dir: Annotated[
        Path | None, typer.Option(help="Its loras folder as this machine sees it, for LoRAs given by URL.")
    ] = None,
    note: Annotated[str, typer.Option(help="A note for people.")] = "",
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Register a worker."""
    secret, auth = _auth(auth_env, auth_file, auth_stdin, header)
    worker = Worker(
        id="", provider=provider or kind, kind=kind, name=name, url=url, auth=auth, min_jobs=min_jobs,
        max_jobs=max_jobs, labels=tuple(label or ()), note=note,
        loras_dir=None if loras_dir is None else str(loras_dir.absolute()),
    )  # fmt: skip

    async def work(app: App) -> Worker:
        if worker.provider not in app.crew.runtimes or app.crew.runtimes[worker.provider].kind != kind:
            known = ", ".join(sorted(name for name, one in app.crew.runtimes.items() if one.kind == kind))
            raise Failure(f"There is no provider instance {worker.provider!r} of kind {kind}; use {known}.")
        return await app.crew.roster.add(worker, secret=secret, header=header)

    _show(with_app(data_dir, work), as_json)


def _auth(env: str | None, file: Path | None, stdin: bool, header: str | None) -> tuple[str | None, Auth]:
    """Return the secret itself where it is to be sealed, and where to find it otherwise."""
    if sum((env is not None, file is not None, stdin)) > 1:
        raise typer.BadParameter("use one of --auth-env, --auth-file and --auth-stdin")
    if stdin:
        text = typer.prompt("Secret", hide_input=True, err=True) if sys.stdin.isatty() else sys.stdin.readline()
        if not text.strip():
            raise typer.BadParameter("there is no secret on standard input")
        return text.strip(), Auth()
    if env is not None:
        return None, auth_of(header, "env", env)
    if file is not None:
        return None, auth_of(header, "file", str(file.absolute()))
    if header is not None:
        raise typer.BadParameter("--header goes with one of --auth-env, --auth-file and --auth-stdin")
    return None, Auth()


@workers.command("list")
def list_(as_json: Json = False, data_dir: DataDir = None) -> None:
    """List workers, each asked how it is."""
    found = with_app(data_dir, _seen)
    if as_json:
        answer([seen_object(seen) for seen in found])
        return
    rows = [
        (seen.worker.name, seen.worker.kind, seen.worker.url, state_of(seen), f"{seen.jobs}/{seen.places}",
         seen.version, seen.device, seen.worker.model_set, " ".join(seen.worker.labels), seen.worker.note)
        for seen in found
    ]  # fmt: skip
    table(("NAME", "KIND", "URL", "STATE", "JOBS", "VERSION", "DEVICE", "LOADED", "LABELS", "NOTE"), rows)


@workers.command()
def drain(name: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Let a worker finish what it has and give it nothing new."""
    _show(with_app(data_dir, lambda app: app.crew.roster.set_state(name, WorkerState.DRAINING)), as_json)


@workers.command()
def undrain(name: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Give a worker jobs again."""
    _show(with_app(data_dir, lambda app: app.crew.roster.set_state(name, WorkerState.ACTIVE)), as_json)


@workers.command()
def remove(
    name: Name,
    force: Annotated[bool, typer.Option("--force", help="Also while it has jobs: they are done elsewhere.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Forget a worker."""
    worker = with_app(data_dir, lambda app: app.crew.roster.remove(name, force=force))
    if as_json:
        answer(worker_object(worker))
    else:
        facts([("removed", worker.name), ("id", worker.id), ("url", worker.url)])


@workers.command()
def test(name: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Ask a worker how it is and which templates it can run; a ComfyUI server draws a test card too."""

    async def work(app: App) -> Trial:
        worker = await app.crew.roster.find(name)
        templates = Templates.load(app.settings.cards_dir)
        return await run(worker, app.crew.roster.keyring, templates, app.store.temp_path().parent)

    trial = with_app(data_dir, work)
    if as_json:
        answer(
            {**seen_object(trial.seen), "ok": trial.error is None, "seconds": trial.stages, "bytes": trial.size_bytes,
             "templates": {ref: list(lacks) for ref, lacks in trial.templates.items()}, "error": trial.error}
        )  # fmt: skip
    else:
        facts([(stage, f"{seconds * 1000:,.0f} ms") for stage, seconds in trial.stages.items()])
        if trial.templates:
            table(
                ("TEMPLATE", "", "LACKS"),
                [(ref, "lacks" if lacks else "ok", ", ".join(lacks)) for ref, lacks in trial.templates.items()],
            )
    if trial.error is not None:
        name = trial.seen.worker.name
        say(f"calotype: {trial.error if trial.error.startswith(f'{name}:') else f'{name}: {trial.error}'}")
        raise typer.Exit(1)


def worker_checks(settings: Settings) -> list[tuple[str, bool, str]]:
    """Return for each worker its name, whether it answers or drains, and how it is; for `calotype doctor`.

    A database that is not up to date is left as it is and has no workers.
    """
    if current(settings.database) != newest():
        return []

    async def check() -> list[Seen]:
        app = App(settings)
        await app.open()
        try:
            return await _seen(app)
        finally:
            await app.shut()

    found = asyncio.run(check())
    return [
        (
            f"worker {seen.worker.name}",
            seen.health is Health.HEALTHY or seen.worker.state is WorkerState.DRAINING,
            f"{seen.worker.kind} at {seen.worker.url}: {seen.error or state_of(seen)}, {seen.jobs} jobs in hand",
        )
        for seen in found
    ]


def state_of(seen: Seen) -> str:
    """Return the one word for how a worker is: draining, or its health."""
    return seen.worker.state.value if seen.worker.state is WorkerState.DRAINING else seen.health.value


def worker_object(worker: Worker) -> dict[str, Any]:
    """Return a worker as `--json` shows it: where its secret is, never the secret."""
    auth = worker.auth
    place = {"mode": auth.mode, "from": auth.place} | ({"header": auth.header} if auth.mode == "header" else {})
    return {
        "id": worker.id, "name": worker.name, "kind": worker.kind, "provider": worker.provider, "url": worker.url,
        "state": worker.state.value, "auth": place, "min_jobs": worker.min_jobs, "max_jobs": worker.max_jobs,
        "labels": list(worker.labels), "loras_dir": worker.loras_dir, "note": worker.note, "origin": worker.origin,
        "created_at_ms": worker.created_at_ms,
    }  # fmt: skip


def seen_object(seen: Seen) -> dict[str, Any]:
    """Return a worker and how it answered."""
    return {
        **worker_object(seen.worker), "health": seen.health.value, "jobs": seen.jobs, "places": seen.places,
        "version": seen.version, "device": seen.device, "loaded": seen.worker.model_set,
        "models": None if seen.models is None else list(seen.models), "error": seen.error,
    }  # fmt: skip


async def _seen(app: App) -> list[Seen]:
    roster = app.crew.roster
    found = await roster.list()
    return list(await asyncio.gather(*(look(worker, roster.keyring, jobs=taken) for worker, taken in found)))


def _show(worker: Worker, as_json: bool) -> None:
    if as_json:
        answer(worker_object(worker))
        return
    facts(
        [("id", worker.id), ("name", worker.name), ("kind", worker.kind), ("provider", worker.provider),
         ("url", worker.url), ("state", worker.state.value), ("jobs", f"at most {worker.max_jobs}"),
         ("created", moment(worker.created_at_ms))]
    )  # fmt: skip
