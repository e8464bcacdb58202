"""A seeded simulator: the real application on a real database, crashed, starved and lied to as the seed says.

A schedule is a list of actions drawn from its seed. Upstreams decide by the seed and the attempt, never by the order
in which things happen, so that a schedule that failed fails again.
"""

import asyncio
import contextlib
import random
import shutil
import sqlite3
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import structlog

import calotype.app
import calotype.jobs.finish
import calotype.jobs.runner
from calotype.accounts.types import KeyRecord, Organisation
from calotype.app import App
from calotype.catalog import Catalog
from calotype.db import Database, Sql, Store
from calotype.db.connection import Connection
from calotype.db.migrate import upgrade
from calotype.jobs.intake import Ask
from calotype.kernel.clock import SystemClock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Context, Generation, KeyClass, Operation
from calotype.ledger.ledger import Ledger
from calotype.media.local import LocalStore
from calotype.media.store import StoreFull
from calotype.sandbox.upstream import Emulator
from calotype.settings import EngineSettings, ProviderSettings, SecuritySettings, Settings
from faults.invariants import broken_rules
from faults.world import World

GRANTS_MICRO = {"rich": 10_000_000, "poor": 25_000, "capped": 1_000_000}
CAP_MICRO = 40_000
MODELS = {"m-a": ("a", "b"), "m-b": ("b", "a"), "m-c": ("c", "a")}
ACTIONS = ("send",) * 8 + ("resend",) * 3 + ("cancel",) * 2 + ("crash",) * 2 + ("skip", "rest", "rest", "disk", "store")
CARD = """[[cards]]
id = "{id}"
title = "Fern"
operation = "text-to-image"
output = "image"
example = {{ prompt = "a fern" }}
routes = [{routes}]
input = {{ required = ["prompt"], properties = {{ prompt = {{ type = "string" }} }} }}
"""
ROUTE = (
    '{{ provider = "{name}", kind = "fake", upstream = "fern", cost = {{ unit = "image", micro = {micro} }},'
    ' cost_source = "tests" }}'
)


class Clock(SystemClock):
    """The machine's clock, put forward by the schedule."""

    ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


class Failing:
    """A writing connection that loses its commits when told to; one whose process is dead commits nothing more."""

    def __init__(self, real: Connection, faults: "Faults") -> None:
        self._real = real
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)

    def commit(self) -> None:
        if self._faults.dead or self._faults.commits > 0:
            self._faults.commits -= 1
            self._real.rollback()
            raise full(self._real.store)
        self._real.commit()


def full(store: Store) -> Exception:
    if store is Store.POSTGRES:
        return psycopg.errors.DiskFull("no space left on device")
    error = sqlite3.OperationalError("database or disk is full")
    error.sqlite_errorname = "SQLITE_FULL"
    return error


class Faults:
    """What is broken in one process right now: commits and file writes still to be refused."""

    def __init__(self) -> None:
        self.dead = False
        self.commits = 0
        self.files = 0


class Base:
    """What all schedules of a run share: a furnished database to copy, cards, and a place for files."""

    def __init__(self, folder: Path, files_url: str, server: str | None = None) -> None:
        self.folder = folder
        self.files_url = files_url
        self.server = server
        self._count = 0
        self.catalog: Catalog | None = None

    async def furnish(self) -> None:
        cards = self.folder / "cards"
        cards.mkdir()
        text = ""
        for model, providers in MODELS.items():
            routes = ", ".join(ROUTE.format(name=name, micro=10_000 + 100 * n) for n, name in enumerate(providers))
            text += CARD.format(id=model, routes=routes)
        (cards / "cards.toml").write_text(text)
        url = self._url("model")
        if self.server:
            self._admin("CREATE DATABASE sim_model")
        await asyncio.to_thread(upgrade, url)
        db = Database(url)
        db.start()
        from calotype.accounts import Accounts

        accounts = Accounts(db, SystemClock())
        await accounts.start()
        for name, micro in GRANTS_MICRO.items():
            org = await accounts.create_org(name)
            cap = CAP_MICRO if name == "capped" else None
            most = 5 if name == "rich" else None
            await accounts.create_key(org.id, name=name, key_class=KeyClass.PAID, spend_cap_micro=cap)
            await accounts.create_key(org.id, name=name, key_class=KeyClass.PAID, max_in_progress=most)
            await Ledger(db, SystemClock()).credit(org.id, micro)
        await asyncio.to_thread(db.close)

    def _url(self, name: str) -> str:
        if self.server:
            return self.server.replace("/postgres?", f"/sim_{name}?", 1)
        return f"sqlite:///{self.folder / f'{name}.db'}"

    def _admin(self, statement: str) -> None:
        assert self.server is not None
        with psycopg.connect(self.server, autocommit=True) as admin:
            admin.execute(statement)

    @contextlib.contextmanager
    def database(self) -> Iterator[tuple[str, Path]]:
        """Copy the furnished database; yield its URL and a data folder."""
        self._count += 1
        name, data = f"{self._count}", self.folder / f"data-{self._count}"
        if self.server:
            self._admin(f"CREATE DATABASE sim_{name} TEMPLATE sim_model")
        else:
            shutil.copy(self.folder / "model.db", self.folder / f"{name}.db")
        try:
            yield self._url(name), data
        finally:
            if self.server:
                self._admin(f"DROP DATABASE sim_{name} WITH (FORCE)")
            else:
                for path in self.folder.glob(f"{name}.db*"):
                    path.unlink()
            shutil.rmtree(data, ignore_errors=True)


class Schedule:
    """One run of the application through what its seed has in store."""

    def __init__(self, base: Base, seed: str, url: str, data: Path) -> None:
        self.seed = seed
        self.dice = random.Random(seed)
        self.world = World(seed, base.files_url)
        self.clock = Clock()
        self.log: list[str] = []
        self.wrong: list[str] = []
        self._base = base
        self._url = url
        self._data = data
        self._sent: list[dict[str, Any]] = []
        self._told: dict[str, str] = {}
        self._accepted: set[str] = set()
        self._crashes = 0

    async def run(self) -> list[str]:
        """Live through the schedule; return what was found wrong."""
        await self._open()
        for _ in range(self.dice.randint(10, 22)):
            action = self.dice.choice(ACTIONS)
            await getattr(self, f"_{action}")()
            if self.dice.random() < 0.4:
                await asyncio.sleep(self.dice.random() * 0.02)
        self._note("calm")
        self.world.calm = True
        self._faults.commits = self._faults.files = 0
        await self._settle_everything()
        await self._look()
        await self._die()
        return self.wrong

    # -- actions ---------------------------------------------------------------------------------------------------

    async def _send(self) -> None:
        tenant = self.dice.choice([*GRANTS_MICRO])
        count = self.dice.choice((1, 1, 1, 4, 12))
        for _ in range(count):
            number = len(self._sent)
            request = {
                "tenant": tenant, "model": self.dice.choice([*MODELS]), "prompt": f"fern {number}",
                "key": f"key {number}" if self.dice.random() < 0.5 else None, "at_once": self.dice.random() < 0.5,
                "which": self.dice.randrange(2),
            }  # fmt: skip
            self._sent.append(request)
            self._note(f"send {request}")
            self._spawn(request, retry=False)

    async def _resend(self) -> None:
        if self._sent:
            request = self.dice.choice(self._sent)
            self._note(f"resend {request['prompt']}")
            self._spawn(request, retry=True)

    def _spawn(self, request: dict[str, Any], *, retry: bool) -> None:
        self._clients.add(asyncio.create_task(self._client(request, retry)))

    async def _client(self, request: dict[str, Any], retry: bool) -> None:
        org, keys = self._tenants[request["tenant"]]
        key = keys[request["which"]]
        context = Context(
            principal=key.principal, dialect="openai", idempotency_key=request["key"],
            fingerprint=f"{key.id}{request['prompt']}", retry=retry,
        )  # fmt: skip
        ask = Ask(
            generation=Generation(Operation.TEXT_TO_IMAGE, request["model"], {"prompt": request["prompt"]}),
            context=context, key=key, org=org, operation=Operation.TEXT_TO_IMAGE, at_once=request["at_once"],
        )  # fmt: skip
        try:
            ticket = await self._app.engine.accept(ask)
        except Problem as problem:
            if problem.code not in (
                Code.INSUFFICIENT_CREDITS, Code.SPEND_CAP_REACHED, Code.RATE_LIMITED, Code.UNAVAILABLE,
            ):  # fmt: skip
                self.wrong.append(f"a request was refused with {problem!r}")
            return
        if request["key"] is not None:
            earlier = self._told.setdefault(request["key"], ticket.job.id)
            if earlier != ticket.job.id:
                self.wrong.append(f"{request['key']} got {earlier} and then {ticket.job.id}")
        self._told[request["prompt"]] = ticket.job.id
        self._accepted.add(ticket.job.id)
        if ticket.task is not None:
            await asyncio.wait((ticket.task,))
        self._app.engine.answered(ticket, delivered=self.world.chance("answered", request["prompt"]).random() < 0.8)

    async def _cancel(self) -> None:
        if self._sent:
            prompt = self.dice.choice(self._sent)["prompt"]
            self._note(f"cancel {prompt}")
            if prompt in self._told:
                self._clients.add(asyncio.create_task(self._canceler(self._told[prompt])))

    async def _canceler(self, job_id: str) -> None:
        for org, _ in self._tenants.values():
            with contextlib.suppress(Problem):
                await self._app.engine.cancel(job_id, org.id)

    async def _crash(self) -> None:
        self._crashes += 1
        await self._die()
        await self._open()

    async def _skip(self) -> None:
        self.clock.ahead_ms += self.dice.choice((500, 1500, 5000))
        self._note(f"skip to +{self.clock.ahead_ms} ms")

    async def _rest(self) -> None:
        await asyncio.sleep(0.03)

    async def _disk(self) -> None:
        self._faults.commits = self.dice.randint(1, 4)
        self._note(f"lose {self._faults.commits} commits")

    async def _store(self) -> None:
        self._faults.files = self.dice.randint(1, 3)
        self._note(f"refuse {self._faults.files} files")

    # -- the application -------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self._note("open")
        settings = Settings(
            data_dir=self._data, database_url=self._url, cards_dir=self._base.folder / "cards",
            providers={name: ProviderSettings(kind="fake") for name in "abc"},
            engine=EngineSettings(lease_s=3.0, ambiguous_grace_s=5, job_deadline_s=3600),
            security=SecuritySettings(allowed_private_hosts=["127.0.0.1"]),
        )  # fmt: skip
        self._faults = faults = Faults()
        self._clients: set[asyncio.Task[None]] = set()
        self._mine = asyncio.all_tasks()
        self._app = app = App(settings, clock=self.clock, runtimes=dict(self.world.providers()))
        connect, put = app.db.writer._connect, app.store.put_prepared
        app.db.writer._connect = lambda: Failing(connect(), faults)  # type: ignore[assignment,return-value]

        async def failing_put(prepare: Any, *, large: bool = False) -> Any:
            if faults.files > 0:
                faults.files -= 1
                raise StoreFull("The media store is full.")
            return await put(prepare, large=large)

        app.store.put_prepared = failing_put  # type: ignore[method-assign]
        await app.start()
        if app.db.store is Store.POSTGRES:
            self.clock.ahead_ms += 3100  # the dead owner's leases
        self._tenants: dict[str, tuple[Organisation, list[KeyRecord]]] = {}
        for name in GRANTS_MICRO:
            org = await app.accounts.get_org(name)
            self._tenants[name] = org, sorted(await app.accounts.list_keys(org.id), key=lambda key: key.id)

    async def _die(self) -> None:
        """End as a killed process does: nothing is finished, nothing more is written."""
        self._note("die")
        self._faults.dead = True
        tasks = asyncio.all_tasks() - self._mine
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for guard in (self._app.guard, *self._app._guards.values()):
            await guard.close()
        await asyncio.sleep(0.001)  # what the loop was already told to start
        await self._app.store.close()
        await asyncio.to_thread(self._app.db.close)
        if self._app._lock is not None:
            self._app._lock.close()

    async def _settle_everything(self) -> None:
        """Let time pass until every job has ended: first as it is, then beyond the grace, then beyond the deadline."""
        for ahead_s in (0, 40, 4000):
            self.clock.ahead_ms += ahead_s * 1000
            for _ in range(80):
                rows = await self._rows("SELECT COUNT(*) FROM job WHERE finished_at_ms IS NULL")
                if rows[0][0] == 0 and all(task.done() for task in self._clients):
                    return
                await asyncio.sleep(0.005)
                self.clock.ahead_ms += 200
        left = await self._rows("SELECT id, state, attempt, lease_by, next_at_ms FROM job WHERE finished_at_ms IS NULL")
        self.wrong.append(f"jobs that never ended: {left}")

    async def _rows(self, sql: str) -> list[tuple[Any, ...]]:
        return await self._app.db.read(lambda tx: tx.rows(Sql(sql)))

    # -- what must hold --------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        self.wrong += await self._app.db.read(broken_rules, snapshot=True)
        jobs = {row[0]: row[1:] for row in await self._rows("SELECT id, state, org_id, key_id FROM job")}
        for job_id in self._accepted - jobs.keys():
            self.wrong.append(f"accepted and lost: {job_id}")
        works = [job_id for job_id, _, _ in self.world.works]
        for job_id in {job_id for job_id in works if works.count(job_id) > 1}:
            self.wrong.append(f"ordered {works.count(job_id)} times upstream: {job_id}")
        for job_id, (state, _, _) in jobs.items():
            if state == "succeeded" and job_id not in works:
                self.wrong.append(f"a success nobody worked for: {job_id}")
        for name, (org, keys) in self._tenants.items():
            balance = await self._app.ledger.balance(org.id)
            charged = await self._rows(f"SELECT COALESCE(SUM(charged_micro), 0) FROM job WHERE org_id = '{org.id}'")
            if balance.held_micro or balance.posted_micro != GRANTS_MICRO[name] - int(charged[0][0]):
                self.wrong.append(f"{name} has {balance} and was charged {charged}")
            if balance.posted_micro < 0:
                self.wrong.append(f"{name} is overdrawn: {balance}")
            for key in keys:
                spent = await self._rows(f"SELECT spent_micro FROM budget WHERE key_id = '{key.id}'")
                if key.spend_cap_micro is not None and spent and spent[0][0] > key.spend_cap_micro:
                    self.wrong.append(f"{name} spent {spent} of {key.spend_cap_micro}")
        store: LocalStore = self._app.store  # type: ignore[assignment]
        for (file,) in await self._rows("SELECT key FROM artifact WHERE stored = 1"):
            if not store.path_of(file).is_file():
                self.wrong.append(f"a stored file is gone: {file}")

    def _note(self, what: str) -> None:
        self.log.append(what)


class _Hasty:
    """asyncio, with its sleeps cut short."""

    def __getattr__(self, name: str) -> Any:
        return getattr(asyncio, name)

    @staticmethod
    async def sleep(seconds: float) -> None:
        await asyncio.sleep(seconds * 0.02)


@contextlib.contextmanager
def hasty() -> Iterator[None]:
    """Shorten the pauses that only wait for better times, migrate nothing, and read the cards once."""
    finish, runner, app = calotype.jobs.finish, calotype.jobs.runner, calotype.app
    kept = asyncio, runner.IDLE_S, app.bring_up, app.Catalog
    catalogs: dict[str, Catalog] = {}

    class Cached:
        @staticmethod
        def load(folder: Path, *rest: Any) -> Catalog:
            if str(folder) not in catalogs:
                catalogs[str(folder)] = kept[3].load(folder, *rest)
            return catalogs[str(folder)]

    finish.asyncio = runner.asyncio = _Hasty()  # type: ignore[assignment]
    runner.IDLE_S = 0.01
    app.bring_up, app.Catalog = lambda url: None, Cached  # type: ignore[assignment,misc]
    try:
        yield
    finally:
        finish.asyncio = runner.asyncio = asyncio
        _, runner.IDLE_S, app.bring_up, app.Catalog = kept  # type: ignore[misc]


async def simulate(seed: int, numbers: list[int], *, server: str | None = None, tell: Any = None) -> list[str]:
    """Run the schedules of a seed; return one report for each that broke a rule."""
    reports: list[str] = []
    shm = Path("/dev/shm")
    with tempfile.TemporaryDirectory(prefix="calotype-sim-", dir=shm if shm.is_dir() else None) as folder:
        emulator = Emulator()
        files_url = await emulator.start()
        base = Base(Path(folder), files_url, server)
        await base.furnish()
        try:
            with hasty():
                for number in numbers:
                    with base.database() as (url, data), structlog.testing.capture_logs() as logs:
                        schedule = Schedule(base, f"{seed}/{number}", url, data)
                        wrong = await schedule.run()
                    if wrong:
                        tail = "\n".join(str(line) for line in logs[-60:])
                        reports.append(
                            f"seed {seed}, schedule {number}: {wrong}\n" + "\n".join(schedule.log) + f"\n{tail}"
                        )
                    if tell is not None:
                        tell(number, wrong)
        finally:
            await emulator.stop()
            if server:
                base._admin("DROP DATABASE IF EXISTS sim_model WITH (FORCE)")
    return reports
