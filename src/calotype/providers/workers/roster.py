"""The list of workers in the database: what commands change, and what every process reads again each second."""

import re
from collections.abc import Mapping
from typing import Literal

from msgspec.structs import replace
from yarl import URL

from calotype.db import Database, Tx
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.ids import uuid7
from calotype.providers.workers import store
from calotype.providers.workers.auth import Keyring
from calotype.providers.workers.types import KINDS, Auth, Worker, WorkerState
from calotype.settings import WorkerSettings

MAX_JOBS = 64
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")
_HEADER = re.compile(r"[A-Za-z0-9-]{1,64}\Z")


class Roster:
    """Adds, changes and removes workers."""

    def __init__(self, db: Database, clock: Clock, keyring: Keyring) -> None:
        self._db = db
        self._clock = clock
        self.keyring = keyring

    async def list(self) -> "list[tuple[Worker, int]]":
        """Return every worker, oldest first, with how many jobs it has in hand."""
        return await self._db.read(store.all_workers)

    async def find(self, name: str) -> Worker:
        """Return a worker by its name or id.

        Raises:
            Problem: `not_found`.

        """
        for worker, _ in await self.list():
            if name in (worker.name, worker.id):
                return worker
        raise Problem(Code.NOT_FOUND, f"There is no worker {name!r}; calotype workers list shows them.", field="worker")

    async def add(self, worker: Worker, *, secret: str | None = None, header: str | None = None) -> Worker:
        """Register a worker; a `secret` is sealed, `header` names the header it is sent in (none: as a bearer token).

        Raises:
            Problem: `invalid_input` for what cannot be, `conflict` for a name that is taken.

        """
        ident = uuid7()
        made = replace(worker, id=ident, url=checked_url(worker.url), created_at_ms=self._clock.now_ms())
        if secret is not None:
            if not secret.isprintable() or not secret.isascii():
                raise Problem(Code.INVALID_INPUT, "A secret is one line of plain characters.", field="auth")
            made = replace(made, auth=auth_of(header, "sealed", self.keyring.seal(ident, secret)))
        check(made)
        if not await self._db.write(lambda tx: store.insert_worker(tx, made)):
            raise Problem(Code.CONFLICT, f"There is a worker {made.name!r} already.", field="name")
        return made

    async def set_state(self, name: str, state: WorkerState) -> Worker:
        """Let a worker drain, or give it work again.

        Raises:
            Problem: `not_found`.

        """
        worker = await self.find(name)
        await self._db.write(lambda tx: store.set_state(tx, worker.id, state))
        return replace(worker, state=state)

    async def remove(self, name: str, *, force: bool = False) -> Worker:
        """Forget a worker. With `force` also one that has jobs in hand: they are done again elsewhere.

        Raises:
            Problem: `not_found`; `conflict` while it has jobs in hand, or where the settings name it.

        """
        worker = await self.find(name)
        if worker.origin == "settings":
            raise Problem(Code.CONFLICT, f"{worker.name} stands in the settings: remove workers.{worker.name} there.")

        def work(tx: Tx) -> None:
            busy = store.open_runs(tx, worker.id)
            if busy and not force:
                raise Problem(
                    Code.CONFLICT,
                    f"{worker.name} has {busy} job{'s' * (busy > 1)} in hand: run calotype workers drain"
                    f" {worker.name} first, or remove it with --force and they are done again elsewhere.",
                )
            store.delete_worker(tx, worker.id)

        await self._db.write(work)
        return worker

    async def keep_to(self, settings: Mapping[str, WorkerSettings]) -> None:
        """Bring the workers of the settings into the list, and take out those that the settings name no more.

        Raises:
            Problem: `invalid_input` for a worker that cannot be; `conflict` for the name of one added by a command.

        """
        wanted = {name: _from_settings(name, one) for name, one in settings.items()}
        for worker in wanted.values():
            check(worker)

        def work(tx: Tx) -> None:
            known = {worker.name: worker for worker, _ in store.all_workers(tx)}
            for name, worker in wanted.items():
                if name in known and known[name].origin != "settings":
                    raise Problem(Code.CONFLICT, f"workers.{name}: a worker of this name was added by a command.")
                store.upsert_worker(tx, replace(worker, id=uuid7(), created_at_ms=self._clock.now_ms()))
            for name, worker in known.items():
                if worker.origin == "settings" and name not in wanted:
                    store.delete_worker(tx, worker.id)

        if wanted or any(worker.origin == "settings" for worker, _ in await self.list()):
            await self._db.write(work)


def auth_of(header: str | None, place: Literal["sealed", "env", "file", "settings"], value: str = "") -> Auth:
    """Return an authentication: a bearer token, or a header of another name that holds the secret alone."""
    if header is None:
        return Auth("bearer", place=place, value=value)
    return Auth("header", header, place, value)


def checked_url(url: str) -> str:
    """Return a base URL without a slash at its end.

    Raises:
        Problem: `invalid_input`.

    """
    try:
        found = URL(url)
    except ValueError:
        found = URL()
    if found.scheme not in ("http", "https") or not found.host:
        raise Problem(Code.INVALID_INPUT, "The URL of a worker is http://host:port or https://host.", field="url")
    if found.raw_user is not None or found.raw_password is not None:
        raise Problem(Code.INVALID_INPUT, "Secrets do not belong in the URL; give them as --auth-….", field="url")
    if found.raw_query_string or found.raw_fragment:
        raise Problem(Code.INVALID_INPUT, "The URL of a worker has no query and no fragment.", field="url")
    return str(found).rstrip("/")


def check(worker: Worker) -> None:
    """Refuse a worker that cannot be.

    Raises:
        Problem: `invalid_input` that names the field.

    """
    checked_url(worker.url)
    if not _NAME.match(worker.name):
        raise Problem(Code.INVALID_INPUT, "A name has letters, digits, dots, dashes, at most 63.", field="name")
    if worker.kind not in KINDS:
        raise Problem(Code.INVALID_INPUT, f"The kind of a worker is {' or '.join(KINDS)}.", field="kind")
    if not 1 <= worker.min_jobs <= worker.max_jobs <= MAX_JOBS:
        raise Problem(Code.INVALID_INPUT, f"min_jobs ≤ max_jobs, both from 1 to {MAX_JOBS}.", field="max_jobs")
    if worker.auth.mode == "header" and not _HEADER.match(worker.auth.header):
        raise Problem(Code.INVALID_INPUT, "A header's name has letters, digits and dashes.", field="header")


def _from_settings(name: str, settings: WorkerSettings) -> Worker:
    return Worker(
        id="", provider=settings.provider or settings.kind, kind=settings.kind, name=name,
        url=checked_url(settings.url), min_jobs=settings.min_jobs, max_jobs=settings.max_jobs,
        auth=Auth() if settings.token is None else auth_of(settings.header, "settings"),
        labels=tuple(settings.labels), loras_dir=None if settings.loras_dir is None else str(settings.loras_dir),
        note=settings.note, origin="settings",
    )  # fmt: skip
