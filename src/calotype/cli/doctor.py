"""`calotype doctor`: looks at everything a server needs and says what is missing."""

import asyncio
import os
import shutil
import socket
import sqlite3
import sys
import tempfile
import time
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer
from msgspec import Struct

from calotype.cli.doctor_accounts import accounts, agreements
from calotype.cli.doctor_models import Missing, local_models
from calotype.cli.errors import sentence
from calotype.cli.neighbour import engine_runs, running
from calotype.cli.options import DataDir, Json, settings_for
from calotype.cli.terminal import answer, table
from calotype.cli.workers import worker_checks
from calotype.db import Store
from calotype.db.connection import open_driver, store_of
from calotype.db.schema import current, newest
from calotype.media.backends import open_store
from calotype.media.store import StoreError
from calotype.providers.available import MODELS_FOLDER, Available
from calotype.providers.local.diffusion import NEEDS, find_pipelines
from calotype.providers.local.messages import Done, Task
from calotype.providers.local.models import MODELS
from calotype.providers.local.pool import Limits, Pool
from calotype.routing.rules import how_to_have
from calotype.settings import Settings, unknown_variables

MIN_FREE_BYTES = 1 << 30
FSYNC_S = 0.3
WORKER_S = 60.0
ENCODERS = ("libx264", "aac")


class Finding(Struct, frozen=True):
    """What one check found; a warning is for somebody to look at, though a server can work."""

    name: str
    ok: bool
    found: str
    warning: bool = False

    @property
    def verdict(self) -> str:
        """The word for people."""
        return "FAILS" if not self.ok else "look" if self.warning else "ok"


def doctor(
    as_json: Json = False,
    data_dir: DataDir = None,
    offline: Annotated[bool, typer.Option("--offline", help="Ask no provider.")] = False,
) -> None:
    """Check this machine, its settings and the accounts at its providers.

    Exit 1 when something would keep a server from working, or when a provider refuses its credential.
    """
    settings = settings_for(data_dir)
    findings = [_run(name, check, settings) for name, check in CHECKS]
    findings += [Finding(f"variable {name}", True, "is no setting", True) for name in unknown_variables()]
    known = accounts(settings, ask=not offline)
    for one in known:
        name = f"provider {one.provider}" if one.number == 1 else f"provider {one.provider} #{one.number}"
        findings.append(Finding(name, one.usable and one.credential != "refused", one.sentence, one.warning))
    today = datetime.now(UTC).date()
    findings += [Finding(name, True, found, not well) for name, well, found in agreements(settings, today)]
    if not offline:
        findings += [Finding(name, True, found, not well) for name, well, found in worker_checks(settings)]
    missing: tuple[Missing, ...] = ()
    try:
        running, missing = local_models(settings)
        findings.append(Finding("models of this machine", True, f"{running} can run here", bool(missing)))
    except (ValueError, OSError) as error:
        findings.append(Finding("models of this machine", False, sentence(error)))
    findings += [Finding(f"model {one.model}", True, ", then ".join(one.steps), True) for one in missing]
    ok = all(one.ok for one in findings)
    if as_json:
        answer({"ok": ok, "checks": findings, "accounts": known, "missing": missing})
    else:
        table(("CHECK", "", "FOUND"), [(one.name, one.verdict, one.found) for one in findings])
    if not ok:
        raise typer.Exit(1)


def _run(name: str, check: Callable[[Settings], tuple[bool, str]], settings: Settings) -> Finding:
    try:
        ok, found = check(settings)
    except Exception as error:  # a check that breaks has found something
        ok, found = False, sentence(error)
    return Finding(name, ok, found)


def _python(_settings: Settings) -> tuple[bool, str]:
    return sys.version_info >= (3, 11), f"{sys.version.split()[0]} on {sys.platform}"


def _sqlite(_settings: Settings) -> tuple[bool, str]:
    return sqlite3.sqlite_version_info >= (3, 37, 0), f"{sqlite3.sqlite_version} (3.37 or newer is needed)"


def _data_dir(settings: Settings) -> tuple[bool, str]:
    folder = settings.data_dir
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".doctor-") as file:
        count, until = 0, time.perf_counter() + FSYNC_S
        while time.perf_counter() < until:
            os.pwrite(file.fileno(), b"\0" * 4096, 0)
            os.fsync(file.fileno())
            count += 1
    return True, f"{folder.absolute()}: writable, {count / FSYNC_S:,.0f} fsyncs/s"


def _disk(settings: Settings) -> tuple[bool, str]:
    free = shutil.disk_usage(settings.data_dir).free
    return free >= MIN_FREE_BYTES, f"{free / (1 << 30):,.1f} GiB free"


def _storage(settings: Settings) -> tuple[bool, str]:
    async def check() -> float:
        store = open_store(settings)
        try:
            began = time.perf_counter()
            await store.check()
            return time.perf_counter() - began
        finally:
            await store.close()

    place = settings.storage_url or f"{settings.data_dir.absolute() / 'media'}"
    try:
        seconds = asyncio.run(check())
    except StoreError as error:
        at = "" if settings.storage.endpoint is None else f" at {settings.storage.endpoint}"
        return False, f"{place}{at}: {error.message}"
    return True, f"{place}: wrote and deleted a file in {seconds * 1000:,.0f} ms"


def _database(settings: Settings) -> tuple[bool, str]:
    store = store_of(settings.database)
    found, needed = current(settings.database), newest()
    if store is Store.POSTGRES:
        open_driver(settings.database).close()
    if found is None:
        return True, f"{store.value}: empty, the first start creates {needed}"
    if found != needed:
        return False, f"{store.value}: schema {found}, this program needs {needed}: calotype db upgrade"
    return True, f"{store.value}: schema {found}, up to date"


def _providers(settings: Settings) -> tuple[bool, str]:
    parts = ["local"]
    for name, one in sorted(settings.providers.items()):
        kind = one.kind or name
        if kind == "local":
            continue
        has = "key set" if one.api_key is not None else "no key"
        parts.append(f"{name} ({has})" if kind == name else f"{name} ({kind}, {has})")
    return True, ", ".join(parts)


def _codecs(_settings: Settings) -> tuple[bool, str]:
    import av  # noqa: PLC0415  (nothing else of the command line needs it)

    missing = [name for name in ENCODERS if name not in av.codecs_available]
    versions = ".".join(str(part) for part in av.library_versions["libavcodec"])
    if missing:
        return False, f"libavcodec {versions} has no {', '.join(missing)}"
    return True, f"libavcodec {versions} with {', '.join(ENCODERS)}"


def _worker(_settings: Settings) -> tuple[bool, str]:
    model = MODELS["sketch"]
    arguments = {"prompt": "a lighthouse at sunset", "width": 256, "height": 256, "seed": 1}

    async def draw(path: str) -> bool:
        pool = Pool(Limits())
        try:
            task = Task(model.function, (arguments,), model.extension, (path,))
            return isinstance(await pool.run(task, deadline_s=WORKER_S, on_progress=lambda _: None), Done)
        finally:
            await pool.close()

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"sketch.{model.extension}"
        began = time.perf_counter()
        drawn = asyncio.run(draw(str(path))) and path.stat().st_size > 0
    return drawn, f"drew a picture in {time.perf_counter() - began:.1f} s" if drawn else "could not draw a picture"


def _pipelines(settings: Settings) -> tuple[bool, str]:
    """Look at each pipeline; one that the settings name and that cannot run is a failure."""
    models_dir = settings.data_dir / MODELS_FOLDER
    found = find_pipelines(models_dir, settings.local.pipelines)
    available = Available((), models_dir)
    ok, parts = True, []
    for one in found:
        steps = [] if one.problem else [how_to_have(need) for need in NEEDS[one.engine] if need not in available]
        state = one.problem or ", then ".join(dict.fromkeys(steps)) or "ready"
        ok = ok and (state == "ready" or not one.named)
        parts.append(f"{one.id} ({state})")
    return ok, "; ".join(parts) or f"none in {models_dir.absolute()} and none in local.pipelines"


def _port(settings: Settings) -> tuple[bool, str]:
    if engine_runs(settings.data_dir):
        return True, f"a server runs this data directory: {running(settings.data_dir) or 'it does not answer'}"
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.host, settings.port))
        except OSError as error:
            return False, f"{settings.host}:{settings.port}: {error.strerror}; choose another with --port"
    return True, f"{settings.host}:{settings.port} is free"


CHECKS: tuple[tuple[str, Callable[[Settings], tuple[bool, str]]], ...] = (
    ("python", _python),
    ("sqlite", _sqlite),
    ("data directory", _data_dir),
    ("disk", _disk),
    ("storage", _storage),
    ("database", _database),
    ("providers", _providers),
    ("codecs", _codecs),
    ("worker process", _worker),
    ("pipelines", _pipelines),
    ("port", _port),
)
