"""The first half of a job at a ComfyUI worker: find a place, stage the files, submit (`wire/comfyui.md §5`)."""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import structlog
from msgspec.structs import replace

from calotype.catalog.templates import RefusedField, Templates
from calotype.kernel.clock import Clock
from calotype.kernel.generation import DataClass
from calotype.kernel.outcome import Delta, Failed, FailedKind, Outcome, Pending
from calotype.kernel.steps import MaybeSent, TransportError
from calotype.providers.base import Call, Handle, unheard
from calotype.providers.workers.choose import suits
from calotype.providers.workers.comfyui import FOLDER, Accepted, Refused, Where, server_of
from calotype.providers.workers.comfyui_failures import Fault, refusal
from calotype.providers.workers.comfyui_socket import Ears
from calotype.providers.workers.comfyui_work import (
    Work,
    digest_of,
    fields_by_path,
    lengths,
    loras_by_url,
    unlisted_lora,
    upload_name,
    weights_of,
    work_of,
)
from calotype.providers.workers.fleet import Fleet, Place
from calotype.providers.workers.loras import Loras
from calotype.providers.workers.member import Member
from calotype.providers.workers.runtime import Commit, held
from calotype.providers.workers.types import Run

log = structlog.get_logger(__name__)

LOOKS, LOOK_PAUSE_S = 3, 4.0
"""Looks for a prompt whose submit got no answer: three over eight seconds and more."""
AWAY_MS = 60_000
"""How long a worker that may have taken a prompt is waited for before the prompt is put elsewhere."""


class Submits:
    """Puts calls on workers."""

    def __init__(
        self,
        fleet: Fleet,
        clock: Clock,
        *,
        templates: Templates,
        loras: Loras,
        ears: Ears,
        avoided: Callable[[str], Collection[str]],
    ) -> None:
        self._fleet = fleet
        self._clock = clock
        self._templates = templates
        self._loras = loras
        self._ears = ears
        self._avoided = avoided

    async def submit(
        self,
        call: Call,
        on_commit: Callable[[], Awaitable[None]],
        on_delta: Callable[[Delta], None],
    ) -> Outcome:
        """Find a worker, put the files and the graph there, and return how to ask for it.

        A worker that cannot be reached, or cannot run it after all, is passed over.
        """
        work = work_of(call, self._templates, seconds=await lengths(call))
        if isinstance(work, Failed):
            return work
        commit = Commit(on_commit)
        heed = on_delta if call.stream and call.data_class is DataClass.GENERAL else unheard
        run = await self._fleet.run_of(call.token)
        if run is not None and (outcome := await self._resumed(call, work, run, commit, heed)) is not None:
            return outcome
        avoid = set(self._avoided(call.job_id))
        last: Failed | None = None
        while True:
            place = await self._fleet.place(work.order, call.token, avoid)
            if isinstance(place, Failed):
                return last if last is not None and place.requeue is False else self._unplaced(work, place)
            if place.member.worker.id in avoid and last is not None:  # only those are left that failed just now
                await self._fleet.give_back(call.token, place.member.worker.id, unsent=True)
                return last
            outcome = await self._sent(call, work, place, commit, heed)
            if not isinstance(outcome, Failed) or outcome.kind not in (
                FailedKind.RETRY,
                FailedKind.GONE,
                FailedKind.AUTH,
            ):
                return outcome
            last = outcome
            avoid.add(place.member.worker.id)

    def _unplaced(self, work: Work, failed: Failed) -> Failed:
        """Blame the caller for a LoRA that no worker can have, or that none has where everything else is there."""
        if failed.kind is FailedKind.INVALID:
            return replace(failed, field=next(iter(loras_by_url(work.template, work.fields).values()), None))
        named = unlisted_lora(work)
        if failed.kind is FailedKind.GONE and named is not None:
            field, without = named
            if any(suits(member, without) for member in self._fleet.members.values()):
                return Failed(
                    FailedKind.INVALID, "No worker has a LoRA of this name.", field=field, detail=failed.detail
                )
        return failed

    async def _sent(
        self, call: Call, work: Work, place: Place, commit: Commit, on_delta: Callable[[Delta], None]
    ) -> Outcome:
        """Stage and submit at one worker; a failure that another worker may not have gives the place back."""
        member, run = place.member, place.run
        try:
            async with held(self._fleet, place, commit):
                staged = await self._staged(work, place)
                if isinstance(staged, Failed):
                    await self._fleet.give_back(run.token, run.worker_id, unsent=True)
                    return staged
                graph, warnings = staged
                ear = self._ears.of(member)
                ear.watch(run.upstream_id, weights_of(work.template, graph), on_delta)
                await ear.opened()
                answer = await self._prompted(member, run, graph, commit)
        except TransportError as error:
            self._ears.drop(member, run.upstream_id)
            if isinstance(error, MaybeSent) and commit.reached:
                return Failed(FailedKind.UNKNOWN, "The worker did not answer.", detail=str(error))
            return Failed(FailedKind.RETRY, "The worker could not be reached.", detail=str(error), retry_after_s=2.0)
        except BaseException:
            self._ears.drop(member, run.upstream_id)
            raise
        if isinstance(answer, Accepted):
            return self._accepted(call, work, place, answer.number, warnings)
        self._ears.drop(member, run.upstream_id)
        if isinstance(answer, Refused):
            verdict = refusal(answer, fields_by_path(work.template))
            if verdict.fault is Fault.WORKER and verdict.failed.kind is FailedKind.GONE:
                member.quarantine(work.order.ref)
                log.warning("worker_quarantined", worker=member.worker.name, template=work.order.ref)
            answer = verdict.failed
        if answer.kind is not FailedKind.UNKNOWN:
            await self._fleet.give_back(run.token, run.worker_id, unsent=True)
        if answer.kind in (FailedKind.RETRY, FailedKind.AUTH):
            member.failed()
        return answer

    async def _prompted(
        self, member: Member, run: Run, graph: dict[str, Any], commit: Commit
    ) -> Accepted | Refused | Failed:
        """Post the graph. After a silence it is looked for, and only what is not there is posted again (§4 T3).

        Raises:
            TransportError: the worker says nothing any more.

        """
        server = server_of(member)
        try:
            answer = await self._fleet.talk(
                member, server.prompt(graph, run.upstream_id, self._ears.of(member).client_id), commit
            )
        except MaybeSent:
            found = await self._searched(member, run)
            if found is not None:
                return found
            answer = await self._fleet.talk(
                member, server.prompt(graph, run.upstream_id, self._ears.of(member).client_id), commit
            )
        taken: Accepted | Refused | Failed = answer
        return taken

    async def _searched(self, member: Member, run: Run) -> Accepted | None:
        """Look for a prompt that may have been taken; None when the server surely does not have it.

        Raises:
            TransportError: it cannot be asked.

        """
        for look in range(LOOKS):
            if look:
                await asyncio.sleep(LOOK_PAUSE_S)
            where = await self._fleet.talk(member, server_of(member).where(run.upstream_id))
            if isinstance(where, Where) and where.place != "missing":
                return Accepted(-1)
        return None

    async def _resumed(
        self, call: Call, work: Work, run: Run, commit: Commit, on_delta: Callable[[Delta], None]
    ) -> Outcome | None:
        """Take up an attempt that held a place before; None when it has to be placed anew."""
        member = self._fleet.members.get(run.worker_id)
        if member is None:
            await self._fleet.give_back(run.token, run.worker_id, unsent=True)
            return None
        try:
            found = await self._searched(member, run)
        except TransportError as error:
            away_ms = self._clock.now_ms() - run.began_at_ms
            if away_ms > AWAY_MS and not member.usable:  # whatever it had is lost, or costs nothing
                await self._fleet.give_back(run.token, run.worker_id, unsent=True)
                return None
            return Failed(FailedKind.UNKNOWN, "The worker did not answer.", detail=str(error), retry_after_s=2.0)
        if found is not None:
            return self._accepted(call, work, Place(member, run, resumed=True), found.number, ())
        if run.ended:
            await self._fleet.give_back(run.token, run.worker_id, unsent=True)
            return None
        return await self._sent(call, work, Place(member, run, resumed=True), commit, on_delta)

    async def _staged(self, work: Work, place: Place) -> tuple[dict[str, Any], tuple[str, ...]] | Failed:
        """Put the input's files and LoRAs where the worker finds them, and return the graph that names them."""
        member, prompt_id = place.member, place.run.upstream_id
        loras: dict[str, str] = {}
        for url, field in loras_by_url(work.template, work.fields).items():
            brought = await self._loras.bring(url, member.worker.loras_dir or "", field)
            if isinstance(brought, Failed):
                return brought
            loras[url] = brought
        names: dict[str, str] = {}
        for field, file in work.files.items():
            name = upload_name(file, await digest_of(file.path))
            put = await self._fleet.talk(member, server_of(member).upload(file, name, f"{FOLDER}/{prompt_id}"))
            if isinstance(put, Failed):
                return replace(put, field=field) if put.kind is FailedKind.INVALID else put
            names[field] = put
        try:
            return work.graph(prompt_id, names, loras)
        except RefusedField as error:
            return Failed(FailedKind.INVALID, error.message, field=error.field)

    def _accepted(self, call: Call, work: Work, place: Place, number: int, warnings: tuple[str, ...]) -> Pending:
        member, run = place.member, place.run
        now_ms = self._clock.now_ms()
        if number >= 0:
            member.number, member.numbered_at_ms = number, now_ms
        handle: Handle = {
            "worker": member.worker.id, "prompt": run.upstream_id, "token": run.token, "job": call.job_id,
            "ref": work.template.ref, "nodes": list(work.template.output_nodes),
            "number": number, "at_ms": now_ms, "timeout_s": work.template.manifest.timeout_s, "seed": work.seed,
            "restartable": work.template.manifest.restartable,
        }  # fmt: skip
        if call.data_class is DataClass.PHI:
            handle["phi"] = True
        if warnings:
            handle["warnings"] = list(warnings)
        heard = self._ears.of(member).connected  # then the first look waits for the socket's word
        return Pending(handle, upstream_id=run.upstream_id, poll_after_s=0.02 if heard else None)
