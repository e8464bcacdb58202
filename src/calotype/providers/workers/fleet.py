"""The workers of one provider instance: who there is, how they fare, and whose place a job gets.

Places are rows (`worker_run`), so that all processes together keep to them and a restart knows them. Health is this
process's own view. The list is read again each second, which is how a command takes effect in a running server.
"""

import asyncio
import contextlib
import time
import uuid
from collections.abc import Callable, Coroutine
from typing import Any, Protocol

import structlog
from msgspec import Struct

from calotype.db import Database
from calotype.http import REFUSED, Upstream
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Problem
from calotype.kernel.outcome import Failed, FailedKind
from calotype.kernel.steps import Steps, TransportError
from calotype.providers.driver import drive
from calotype.providers.workers import store
from calotype.providers.workers.auth import Keyring, NoSecret
from calotype.providers.workers.choose import none_fits, ranked, suits
from calotype.providers.workers.member import Member
from calotype.providers.workers.types import Health, Order, Probe, Run, Worker

log = structlog.get_logger(__name__)

REFRESH_S = 1.0
PROBE_S = 5.0
TIDY_S = 15.0
PATIENCE_S = 5.0
"""How long a job waits for a place before it goes back into the queue and lets others have a look."""
KEPT_MS = 60_000
"""How long a worker keeps what it finished: a server that died while it stored it comes back for it."""
UNSEEN_S = 60.0
"""How long a place is kept for a request that its worker does not know (any more)."""


class Tongue(Protocol):
    """How one talks with workers of a kind, as far as the fleet itself does."""

    def probe(self, member: Member) -> Steps[Probe]:
        """Ask a worker how it is."""
        ...

    def inspect(self, member: Member, classes: list[str], folders: list[str]) -> Steps[None]:
        """Ask what a worker has of these, and let the member know."""
        ...

    def known(self, member: Member, runs: list[Run]) -> Steps[set[str]]:
        """Return the tokens of those runs that the worker still has to do or is doing."""
        ...

    def forget(self, member: Member, runs: list[Run]) -> Steps[None]:
        """Let the worker forget finished requests."""
        ...


class Place(Struct, frozen=True):
    """A place on a worker. `resumed` says that an earlier sending of this attempt held it already."""

    member: Member
    run: Run
    resumed: bool = False


class Fleet:
    """The workers of one provider instance."""

    def __init__(self, provider: str, tongue: Tongue, db: Database, clock: Clock, keyring: Keyring) -> None:
        self.provider = provider
        self.members: dict[str, Member] = {}
        self._tongue = tongue
        self._db = db
        self._clock = clock
        self._keyring = keyring
        self._upstreams: dict[str, Upstream] = {}
        self._waiters: list[asyncio.Future[None]] = []
        self._unseen: dict[str, float] = {}
        self._tasks: list[asyncio.Task[None]] = []
        self._looking: set[asyncio.Task[None]] = set()
        self.changed: Callable[[], None] = lambda: None
        """Called when there may be more or fewer places than before."""

    # -- life ---------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Read the list and begin to look after it."""
        await self.refresh()
        if not self._tasks:
            duties = ((REFRESH_S, self.refresh), (PROBE_S, self.look), (TIDY_S, self.tidy))
            self._tasks = [asyncio.create_task(_every(pause_s, duty)) for pause_s, duty in duties]

    async def close(self) -> None:
        """Stop looking and close the connections."""
        tasks = [*self._tasks, *self._looking]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        self._tasks = []
        for upstream in self._upstreams.values():
            await upstream.close()
        self._upstreams.clear()

    async def refresh(self) -> None:
        """Read the list again: workers that came, changed or went, and the places that are taken."""
        found = [
            (worker, taken)
            for worker, taken in await self._db.read(store.all_workers)
            if worker.provider == self.provider
        ]
        fresh: list[Member] = []
        freed = False
        for worker, taken in found:
            member = self.members.get(worker.id)
            if member is None or (member.worker.url, member.worker.auth) != (worker.url, worker.auth) or member.trouble:
                fresh.append(member := self._member(worker))
                self.members[worker.id] = member
            freed = freed or taken < member.taken or member.worker.state is not worker.state
            member.worker, member.taken = worker, taken
            member.model_set = worker.model_set or member.model_set
        for gone in self.members.keys() - {worker.id for worker, _ in found}:
            del self.members[gone]
            if (upstream := self._upstreams.pop(gone, None)) is not None:
                await upstream.close()
        if fresh:  # beside, so that a worker that says nothing holds nobody up
            looking = asyncio.create_task(self.look(fresh))
            self._looking.add(looking)
            looking.add_done_callback(self._looking.discard)
        if freed or fresh:
            self.wake()
        self.changed()

    def _member(self, worker: Worker) -> Member:
        try:
            return Member(worker, self._keyring.headers(worker))
        except NoSecret as error:
            member = Member(worker, {})
            member.trouble = str(error)
            return member

    # -- health -------------------------------------------------------------------------------------------------------

    async def look(self, members: list[Member] | None = None) -> None:
        """Ask the workers how they are, all at once."""
        some = list(self.members.values()) if members is None else members
        await asyncio.gather(*(self._look_at(member) for member in some if member.trouble is None))

    async def _look_at(self, member: Member) -> None:
        before = member.health
        with contextlib.suppress(TransportError):
            member.heard(await self.talk(member, self._tongue.probe(member)))
        if member.health is not before:
            log.info("worker_health", worker=member.worker.name, health=member.health.value, before=before.value)
            self.wake()
        self.changed()

    async def talk(
        self, member: Member, steps: Steps[Any], on_commit: Callable[[], Coroutine[Any, Any, None]] | None = None
    ) -> Any:
        """Hold a conversation with a worker; its silence is noted.

        Raises:
            TransportError: the worker did not answer.

        """
        upstream = self._upstreams.get(member.worker.id)
        if upstream is None:
            upstream = self._upstreams[member.worker.id] = Upstream(f"{self.provider} worker", pool_size=16)
        try:
            result = await (drive(steps, upstream) if on_commit is None else drive(steps, upstream, on_commit))
        except TransportError as error:
            member.missed(refused=REFUSED in str(error))
            raise
        member.heard()
        return result

    # -- places -------------------------------------------------------------------------------------------------------

    @property
    def capacity(self) -> int:
        """How many jobs the workers in use take at once; at least one, so that a job learns why there is none."""
        return max(1, sum(member.places for member in self.members.values() if member.usable))

    @property
    def most(self) -> int:
        """How many jobs the engine may begin: as many as there are places, and those with workers out of use.

        While a place is free that those who wait cannot use, others may come before them.
        """
        usable = [member for member in self.members.values() if member.usable]
        aside = sum(member.taken for member in self.members.values() if not member.usable)
        passed_by = len(self._waiters) if any(member.free for member in usable) else 0
        return self.capacity + aside + min(passed_by, self.capacity)

    async def run_of(self, token: str) -> Run | None:
        """Return the run of an attempt that was sent before, if it was."""
        return await self._db.read(lambda tx: store.run_of(tx, token))

    async def place(self, order: Order, token: str, avoid: set[str]) -> Place | Failed:
        """Take a place for an attempt, waiting a few seconds for one where every worker is full, away or drains.

        Fairness among tenants is the queue's; here who waits longest looks first.
        """
        until_s = time.monotonic() + PATIENCE_S
        while True:
            members = list(self.members.values())
            await self._inspect(members, order)
            for member in ranked(members, order, avoid):
                if (found := await self._reserve(member, order, token)) is not None:
                    return found
            failure = none_fits(list(self.members.values()), order, self.provider)  # the list may be newer now
            if failure.kind is not FailedKind.RETRY or not await self._freed(until_s - time.monotonic()):
                return failure

    async def _inspect(self, members: list[Member], order: Order) -> None:
        """Ask the workers what is not known yet of what the order needs."""

        async def ask(member: Member) -> None:
            if member.probe is None:
                await self._look_at(member)
            classes, folders = member.unknown(order)
            if classes or folders:
                with contextlib.suppress(TransportError):
                    await self.talk(member, self._tongue.inspect(member, classes, folders))

        await asyncio.gather(*(ask(member) for member in members if member.usable))

    async def _reserve(self, member: Member, order: Order, token: str) -> Place | None:
        if member.free <= 0 or not suits(member, order):
            return None
        run = Run(token, member.worker.id, str(uuid.uuid4()), began_at_ms=self._clock.now_ms())
        member.reserving += 1
        try:
            taken = await self._db.write(
                lambda tx: store.reserve(tx, run, places=member.places, model_set=order.model_set)
            )
        finally:
            member.reserving -= 1
        if not taken:
            await self.refresh()
            return None
        member.taken += 1
        self.changed()
        member.model_set, member.last_used_s = order.model_set, time.monotonic()
        return Place(member, run)

    async def give_back(self, token: str, worker_id: str, *, unsent: bool = False) -> None:
        """Free a place: its request has ended, or was never sent and can be forgotten at once."""
        now_ms = self._clock.now_ms()
        with contextlib.suppress(Problem):  # a place that cannot be written now is found by the next tidying
            await self._db.write(
                lambda tx: store.forget_runs(tx, [token]) if unsent else store.end_run(tx, token, now_ms)
            )
            if (member := self.members.get(worker_id)) is not None:
                member.taken = max(0, member.taken - 1)
            self.wake()

    def wake(self) -> None:
        """Let who waits for a place look again, in the order they came."""
        waiters, self._waiters = self._waiters, []
        self.changed()
        for waiter in waiters:
            if not waiter.done():
                waiter.set_result(None)

    async def _freed(self, within_s: float) -> bool:
        waiter = asyncio.get_running_loop().create_future()
        self._waiters.append(waiter)
        self.changed()
        try:
            done, _ = await asyncio.wait((waiter,), timeout=max(0.0, within_s))
            return bool(done)
        finally:
            if waiter in self._waiters:
                self._waiters.remove(waiter)
                self.changed()

    # -- tidying ------------------------------------------------------------------------------------------------------

    async def tidy(self) -> None:
        """Free places whose request the worker does not have any more, and let it forget what was fetched long ago."""
        before_ms = self._clock.now_ms() - KEPT_MS
        for member in list(self.members.values()):
            worker_id = member.worker.id
            runs = await self._db.read(lambda tx, ident=worker_id: store.runs_to_tidy(tx, ident, before_ms))  # type: ignore[misc]
            if runs and member.health is not Health.UNREACHABLE:
                with contextlib.suppress(TransportError):
                    await self._tidy(member, runs)

    async def _tidy(self, member: Member, runs: list[Run]) -> None:
        now_s = time.monotonic()
        running = [run for run in runs if not run.ended]
        known = await self.talk(member, self._tongue.known(member, running)) if running else set()
        for run in running:
            if run.token in known:
                self._unseen.pop(run.token, None)
            elif now_s - self._unseen.setdefault(run.token, now_s) >= UNSEEN_S:
                self._unseen.pop(run.token, None)
                await self.give_back(run.token, run.worker_id)
        old = [run for run in runs if run.ended]
        if old:
            await self.talk(member, self._tongue.forget(member, old))
            await self._db.write(lambda tx: store.forget_runs(tx, [run.token for run in old]))


async def _every(pause_s: float, duty: Callable[[], Coroutine[Any, Any, None]]) -> None:
    while True:
        await asyncio.sleep(pause_s)
        try:
            await duty()
        except Exception as error:
            log.warning("workers_unseen", duty=duty.__name__, error=type(error).__name__)
