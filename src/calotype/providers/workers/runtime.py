"""What both kinds of worker fleets have in common as a provider of the house."""

import asyncio
import contextlib
import uuid
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from msgspec import Struct
from msgspec.structs import replace

from calotype.catalog.templates import Templates
from calotype.db import Database
from calotype.http import Guard
from calotype.kernel.clock import Clock
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Output
from calotype.kernel.steps import MaybeSent, NotSent, TransportError
from calotype.providers.base import Call, Handle, Idempotency, MediaInputs, PollSchedule, Runtime
from calotype.providers.workers.auth import Keyring
from calotype.providers.workers.fleet import Fleet, Place, Tongue
from calotype.providers.workers.member import Member

LOST_REFUSED_S = 10.0
LOST_SILENT_S = 60.0
"""How long a worker may refuse connections, or say nothing, before what it had in hand is done again elsewhere."""
AGAIN_S = 2.0
"""When a worker that said nothing is asked again."""
AVOIDED = 1_000
UNBOUND = 100_000
"""The bound of a fleet without workers: nothing is begun there, so claims need not count."""


class Backing(Struct, frozen=True):
    """What fleets need of the house. `scratch_dir` is the store's folder of temporary files."""

    db: Database
    clock: Clock
    keyring: Keyring
    templates: Templates
    guard: Guard
    scratch_dir: Path
    max_output_bytes: int = 512 << 20


class FleetRuntime(Runtime):
    """A fleet of workers as one provider.

    Sending a call again finds the place that its first sending held and asks the worker; only what the worker does not
    know is sent anew, so that the work is done once, and doing it twice would cost nothing but time.
    """

    idempotency = Idempotency.KEY
    media_inputs = MediaInputs.FILE
    schedule = PollSchedule(first_s=0.25, factor=1.2, max_s=2.0)
    output_hosts = frozenset[str]()
    cancellable = False
    callbacks = False

    def __init__(self, name: str, tongue: Tongue, backing: Backing) -> None:
        self.name = name
        self.clock = backing.clock
        self.fleet = Fleet(name, tongue, backing.db, backing.clock, backing.keyring)
        self.fleet.changed = self._resized
        self.max_in_progress = UNBOUND
        self._scratch_dir = backing.scratch_dir
        self._avoid: dict[str, set[str]] = {}
        self._redone: Counter[str] = Counter()

    @property
    def present(self) -> bool:
        """Whether there is any worker, so that routes of this provider lead somewhere."""
        return bool(self.fleet.members)

    async def start(self) -> None:
        """Begin to look after the workers."""
        await self.fleet.start()

    async def lookup(self, call: Call) -> Outcome | None:  # noqa: ARG002
        """Not needed: a call whose fate is unknown is sent again."""
        return None

    async def callback(self, headers: Mapping[str, str], body: bytes, handle: Handle, upstream_id: str) -> bool:  # noqa: ARG002
        """Expect none."""
        return False

    async def close(self) -> None:
        """Let go of the workers; what they have in hand goes on."""
        await self.fleet.close()

    def _resized(self) -> None:
        self.max_in_progress = self.fleet.most if self.fleet.members else UNBOUND

    # -- what kinds build on ------------------------------------------------------------------------------------------

    def avoided(self, job_id: str) -> set[str]:
        """Return the workers that failed this job by their own fault."""
        return self._avoid.get(job_id, set())

    def avoid(self, job_id: str, worker_id: str) -> None:
        """Prefer other workers for this job from now on."""
        self._avoid.setdefault(job_id, set()).add(worker_id)
        while len(self._avoid) > AVOIDED:
            del self._avoid[next(iter(self._avoid))]

    def redone(self, handle: Handle, failed: Failed, most: int) -> Failed:
        """Return a failure that lets the job be done again, unless this happened too often or may not be."""
        if not failed.requeue:
            return failed
        job_id = str(handle["job"])
        self._redone[job_id] += 1
        while len(self._redone) > AVOIDED:
            del self._redone[next(iter(self._redone))]
        if handle.get("restartable", True) and self._redone[job_id] <= most:
            return failed
        kind = FailedKind.UPSTREAM if failed.kind is FailedKind.RETRY else failed.kind
        return replace(failed, kind=kind, requeue=False)

    def scratch(self, handle: Handle, n: int) -> Path:
        """Return a fresh name for a file that is fetched from a worker. What is PHI is fetched into memory instead."""
        return self._scratch_dir / f"worker-{handle['prompt']}-{n}-{uuid.uuid4().hex[:8]}"

    async def discard(self, outputs: Iterable[Output]) -> None:
        """Remove files that were fetched for nothing."""
        for path in (Path(output.path) for output in outputs if output.path is not None):
            await asyncio.to_thread(path.unlink, missing_ok=True)

    async def stop_at(self, handle: Handle, member: Member) -> bool:
        """Cancel at a worker; False where that cannot be known."""
        raise NotImplementedError

    async def cancel(self, handle: Handle) -> bool:
        """Stop a job where it waits or runs; True when the worker will not deliver it any more."""
        member = self.fleet.members.get(str(handle["worker"]))
        if member is None:
            return True
        try:
            stopped = await self.stop_at(handle, member)
        except TransportError:
            return False
        if stopped:
            await self.fleet.give_back(str(handle["token"]), member.worker.id)
        return stopped

    async def deliver_silence(self, handle: Handle, member: Member) -> Failed:
        """Say what a worker's silence means: ask again, or, after long enough, that the work is lost."""
        limit_s = LOST_REFUSED_S if member.refuses else LOST_SILENT_S
        if member.silent_s >= limit_s:
            return await self.lost(handle, f"{member.worker.name} has been away for {member.silent_s:.0f} s")
        return Failed(
            FailedKind.RETRY, "The worker could not be asked.", detail=member.worker.name, retry_after_s=AGAIN_S
        )

    async def lost(self, handle: Handle, detail: str) -> Failed:
        """Give the job back to the queue: its worker does not have it any more."""
        await self.fleet.give_back(str(handle["token"]), str(handle["worker"]))
        return Failed(FailedKind.UPSTREAM, "The worker lost the job.", detail=detail, code="worker_lost", requeue=True)


class Commit:
    """`on_commit`, remembered: whether it was reached, and whether the job was found not to be ours any more."""

    def __init__(self, on_commit: Callable[[], Awaitable[None]]) -> None:
        self._on_commit = on_commit
        self.reached = False
        self.fenced = False

    async def __call__(self) -> None:
        """Pass the word on."""
        try:
            await self._on_commit()
        except BaseException:
            self.fenced = True
            raise
        self.reached = True


@contextlib.asynccontextmanager
async def held(fleet: Fleet, place: Place, commit: Commit) -> Any:
    """Give a place back when nothing was sent for it; one whose request may have been sent is kept for a look later."""
    try:
        yield
    except MaybeSent:
        if not commit.reached and not place.resumed:
            await fleet.give_back(place.run.token, place.run.worker_id, unsent=True)
        raise
    except BaseException as error:
        unsent = isinstance(error, NotSent) or commit.fenced or not commit.reached
        if unsent and not place.resumed:
            await fleet.give_back(place.run.token, place.run.worker_id, unsent=True)
        raise
