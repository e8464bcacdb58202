"""ComfyUI servers as a provider: the state machine of `wire/comfyui.md §5` over the house's durable queue."""

import contextlib
from collections.abc import Awaitable, Callable
from typing import Any

import structlog
from msgspec.structs import replace

from calotype.catalog.templates import TemplateError
from calotype.kernel.outcome import Delta, Failed, FailedKind, Outcome, Output, Pending, Succeeded
from calotype.kernel.steps import AnswerTooLarge, Steps, TransportError
from calotype.providers.base import Call, Handle, unheard
from calotype.providers.workers.comfyui import content_type_of, items_of, server_of
from calotype.providers.workers.comfyui_failures import Fault, Verdict, failure
from calotype.providers.workers.comfyui_socket import Ears
from calotype.providers.workers.comfyui_submit import Submits
from calotype.providers.workers.comfyui_work import fields_by_path
from calotype.providers.workers.loras import Loras
from calotype.providers.workers.member import Member
from calotype.providers.workers.runtime import Backing, FleetRuntime
from calotype.providers.workers.types import Probe, Run

log = structlog.get_logger(__name__)

HINT_S = 2.0
"""How long a poll waits for the socket's word before it looks; sockets fall silent, so never longer."""
MISSES, MISS_PAUSE_S, MISSING_MS = 3, 5.0, 10_000
"""A prompt that the server does not know three times in ten seconds is lost."""
STUCK_S = 120.0
"""How long a server may go on with a prompt that it was told to stop before it is left alone."""
LOSSES, FAULTS = 2, 1
"""How often a job may be lost, and how often it may fail for a worker's own reasons, and be done again."""


class ComfyTongue:
    """How the fleet talks with ComfyUI servers."""

    def probe(self, member: Member) -> Steps[Probe]:
        """Ask a server how it is."""
        return server_of(member).probe()

    def inspect(self, member: Member, classes: list[str], folders: list[str]) -> Steps[None]:
        """Ask which nodes and files it has."""
        has = yield from server_of(member).has_classes(classes)
        files = yield from server_of(member).files_in(folders)
        member.learn(has, files)

    def known(self, member: Member, runs: list[Run]) -> Steps[set[str]]:
        """Return the runs that it has still to do; where that cannot be read, all."""
        unfinished = yield from server_of(member).unfinished()
        if unfinished is not None and member.stuck is not None and member.stuck not in unfinished:
            member.stuck = None
        return {run.token for run in runs if unfinished is None or run.upstream_id in unfinished}

    def forget(self, member: Member, runs: list[Run]) -> Steps[None]:
        """Delete what was fetched from its history."""
        yield from server_of(member).forget([run.upstream_id for run in runs])


class ComfyRuntime(FleetRuntime):
    """ComfyUI servers of the operator's own; `upstream` of a route is a template, `<id>@<version>`."""

    kind = "comfyui"

    def __init__(self, name: str, backing: Backing) -> None:
        super().__init__(name, ComfyTongue(), backing)
        self._templates = backing.templates
        self._max_bytes = backing.max_output_bytes
        self._ears = Ears()
        self._submits = Submits(
            self.fleet, self.clock, templates=backing.templates, loras=Loras(backing.guard), ears=self._ears,
            avoided=self.avoided,
        )  # fmt: skip

    async def close(self) -> None:
        """Hang up; what the workers have in hand goes on."""
        await self._ears.close()
        await super().close()

    async def submit(
        self,
        call: Call,
        on_commit: Callable[[], Awaitable[None]],
        on_progress: Callable[[float], None],  # noqa: ARG002  (told by the polls)
        on_delta: Callable[[Delta], None] = unheard,
    ) -> Outcome:
        """Put the call on a worker that can run it and has a place."""
        return await self._submits.submit(call, on_commit, on_delta)

    # -- poll ---------------------------------------------------------------------------------------------------------

    async def poll(self, handle: Handle) -> Outcome:
        """Read the queue, then the history; while the socket speaks, wait a little for its word first."""
        member = self.fleet.members.get(str(handle["worker"]))
        if member is None:
            return self._again(handle, await self.lost(handle, "the worker was removed"))
        if member.trouble is not None:
            return Failed(FailedKind.RETRY, "The worker could not be asked.", detail=member.trouble, retry_after_s=5.0)
        prompt_id = str(handle["prompt"])
        ear = self._ears.of(member)
        watch = ear.of(prompt_id)
        hinted = watch is not None and ear.connected
        if watch is not None and hinted and not watch.ended:
            await watch.wait(HINT_S)
        try:
            where = await self.fleet.talk(member, server_of(member).where(prompt_id))
        except TransportError:
            return self._again(handle, await self.deliver_silence(handle, member))
        if isinstance(where, Failed):
            return where
        if where.place == "ended":
            return await self._ended(handle, member, where.entry)
        if where.place == "missing":
            return await self._missing(handle, member)
        kept = {name: value for name, value in handle.items() if name not in ("misses", "missed_ms")}
        if where.place == "running":
            kept.setdefault("since_ms", self.clock.now_ms())
            if (outcome := await self._overdue(kept, member)) is not None:
                return outcome
        fraction = None if watch is None else watch.fraction * 0.99
        return Pending(kept, progress=fraction, poll_after_s=0.02 if hinted else None)

    async def _missing(self, handle: Handle, member: Member) -> Outcome:
        """Count how often a prompt was in neither place; a restart of the server settles it at once (§4 T6, §5)."""
        now_ms = self.clock.now_ms()
        misses, since_ms = int(handle.get("misses", 0)) + 1, int(handle.get("missed_ms", now_ms))
        if self._restarted(handle, member) or (misses >= MISSES and now_ms - since_ms >= MISSING_MS):
            return self._again(handle, await self.lost(handle, f"{member.worker.name} does not know it any more"))
        return Pending({**handle, "misses": misses, "missed_ms": since_ms}, poll_after_s=MISS_PAUSE_S)

    def _restarted(self, handle: Handle, member: Member) -> bool:
        """Say whether the server counts from the beginning again: a later prompt got a lower number."""
        later = member.numbered_at_ms > int(handle["at_ms"])
        return later and member.number is not None and member.number < int(handle["number"])

    async def _overdue(self, handle: Handle, member: Member) -> Outcome | None:
        """Stop what runs for longer than its template allows; a server that does not let go is left alone (§4 T7)."""
        over_s = (self.clock.now_ms() - int(handle["since_ms"])) / 1000 - float(handle["timeout_s"])
        if over_s < 0:
            return None
        too_long = Failed(FailedKind.UPSTREAM, "The work took too long.", detail=member.worker.name, code="timeout")
        try:
            stopped = await self.stop_at(handle, member)
        except TransportError:
            stopped = False
        if stopped:
            await self.fleet.give_back(str(handle["token"]), member.worker.id)
            return too_long
        if over_s < STUCK_S:
            return Pending(handle, poll_after_s=5.0)
        member.stuck = str(handle["prompt"])
        log.error("worker_stuck", worker=member.worker.name)
        return too_long

    async def _ended(self, handle: Handle, member: Member, entry: dict[str, Any]) -> Outcome:
        """Read an entry of the history; its status comes before everything else (§4 T4)."""
        status = entry.get("status")
        word = status.get("status_str") if isinstance(status, dict) else None
        if word == "success" or (word is None and entry.get("outputs")):
            return await self._collected(handle, member, entry)
        try:
            fields = fields_by_path(self._templates.find(str(handle["ref"])))
        except TemplateError:
            fields = {}
        verdict = failure(entry, fields)
        await self._finished(handle, member)
        return self._judged(handle, member, verdict)

    def _judged(self, handle: Handle, member: Member, verdict: Verdict) -> Failed:
        """Try elsewhere what a worker failed for its own reasons, a bounded number of times."""
        if verdict.fault in (Fault.INPUT, Fault.OTHER):
            return verdict.failed
        if verdict.fault is not Fault.LOST:
            member.failed()
            self.avoid(str(handle["job"]), member.worker.id)
        if verdict.fault is Fault.WORKER:
            member.quarantine(str(handle["ref"]))
        tries = LOSSES if verdict.fault is Fault.LOST else FAULTS
        return self._again(handle, replace(verdict.failed, requeue=True), tries)

    def _again(self, handle: Handle, failed: Failed, tries: int = LOSSES) -> Failed:
        """Let a job be done again where its template allows that and it was not tried too often."""
        if failed.requeue and (member := self.fleet.members.get(str(handle["worker"]))) is not None:
            self._ears.drop(member, str(handle["prompt"]))
        return self.redone(handle, failed, tries)

    async def _collected(self, handle: Handle, member: Member, entry: dict[str, Any]) -> Outcome:
        """Fetch what the output nodes saved, before the place is given back."""
        items = items_of(entry, [str(node) for node in handle["nodes"]])
        outputs: list[Output] = []
        for n, item in enumerate(items):
            to = None if handle.get("phi") else self.scratch(handle, n)
            try:
                answer = await self.fleet.talk(member, server_of(member).fetch(item, to, self._max_bytes))
            except AnswerTooLarge as error:
                await self.discard(outputs)
                await self._finished(handle, member)
                return Failed(FailedKind.UPSTREAM, "The result is too large.", detail=str(error))
            except TransportError as error:
                await self.discard(outputs)
                return Failed(
                    FailedKind.RETRY, "The result could not be fetched.", detail=str(error), retry_after_s=2.0
                )
            if not answer.ok:
                await self.discard(outputs if to is None else [*outputs, Output(path=str(to))])
                if answer.status >= 500:
                    detail = f"HTTP {answer.status} from /view"
                    return Failed(
                        FailedKind.RETRY, "The result could not be fetched.", detail=detail, retry_after_s=2.0
                    )
                outputs = []
                break
            kind = content_type_of(item)
            outputs.append(
                Output(data=answer.body, content_type=kind) if to is None else Output(path=str(to), content_type=kind)
            )
        await self._finished(handle, member)
        if not outputs:
            return Failed(FailedKind.UPSTREAM, "The worker saved no result.", detail=f"{len(items)} files named")
        member.did_well()
        return Succeeded(
            tuple(outputs), data={"seed": handle["seed"]}, warnings=tuple(handle.get("warnings", ())),
            upstream_id=str(handle["prompt"]),
        )  # fmt: skip

    async def _finished(self, handle: Handle, member: Member) -> None:
        """Give the place back. The history is kept a while for a server that dies now; of PHI it is not."""
        if handle.get("phi"):
            with contextlib.suppress(TransportError):
                await self.fleet.talk(member, server_of(member).forget([str(handle["prompt"])]))
        self._ears.drop(member, str(handle["prompt"]))
        await self.fleet.give_back(str(handle["token"]), member.worker.id)

    # -- cancel -------------------------------------------------------------------------------------------------------

    async def stop_at(self, handle: Handle, member: Member) -> bool:
        """Take a prompt out of the queue, or interrupt it and no other."""
        stopped: bool = await self.fleet.talk(member, server_of(member).cancel(str(handle["prompt"])))
        if stopped:
            self._ears.drop(member, str(handle["prompt"]))
        return stopped
