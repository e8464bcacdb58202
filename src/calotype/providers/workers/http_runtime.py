"""Model servers of the operator's own as a provider; they keep to the contract of `docs/workers.md`."""

from collections.abc import Awaitable, Callable, Mapping

import msgspec

from calotype.kernel.generation import DataClass
from calotype.kernel.outcome import Delta, Failed, FailedKind, Outcome, Output, Pending, Succeeded
from calotype.kernel.steps import NOT_JSON, AnswerTooLarge, HttpRequest, HttpResponse, MaybeSent, Steps, TransportError
from calotype.providers.base import Call, Handle, MediaInputs, PollSchedule, unheard
from calotype.providers.workers.fleet import Place
from calotype.providers.workers.http_worker import HttpWorker, Job, outcome_of, server_of
from calotype.providers.workers.member import Member
from calotype.providers.workers.runtime import Backing, Commit, FleetRuntime, held
from calotype.providers.workers.types import Order, Probe, Run

LOSSES = 2
_AT_ONCE = 8


class HttpTongue:
    """How the fleet talks with model servers."""

    def probe(self, member: Member) -> Steps[Probe]:
        """Ask a server how it is."""
        return server_of(member).probe()

    def inspect(self, member: Member, classes: list[str], folders: list[str]) -> Steps[None]:
        """Nothing to ask: its health names its models."""
        member.learn(dict.fromkeys(classes, True), dict.fromkeys(folders, frozenset()))
        yield from ()

    def known(self, member: Member, runs: list[Run]) -> Steps[set[str]]:
        """Return the runs that it is still working on."""
        found: set[str] = set()
        for run in runs[:_AT_ONCE]:
            job = yield from server_of(member).look(run.upstream_id)
            lasting = isinstance(job, Failed) and job.kind is not FailedKind.GONE
            if lasting or (isinstance(job, Job) and job.status in ("queued", "running")):
                found.add(run.token)
        return found | {run.token for run in runs[_AT_ONCE:]}

    def forget(self, member: Member, runs: list[Run]) -> Steps[None]:
        """Let it forget what was fetched."""
        for run in runs[:_AT_ONCE]:
            yield from server_of(member).cancel(run.upstream_id)


class HttpRuntime(FleetRuntime):
    """HTTP workers; `upstream` of a route is the name that their health lists a model under."""

    kind = "http"
    media_inputs = MediaInputs.DATA
    callbacks = True
    schedule = PollSchedule(first_s=0.25, factor=1.3, max_s=3.0)

    def __init__(self, name: str, backing: Backing) -> None:
        super().__init__(name, HttpTongue(), backing)
        self._max_bytes = backing.max_output_bytes

    async def submit(
        self,
        call: Call,
        on_commit: Callable[[], Awaitable[None]],
        on_progress: Callable[[float], None],  # noqa: ARG002  (told by the polls)
        on_delta: Callable[[Delta], None] = unheard,  # noqa: ARG002  (the contract has no pieces)
    ) -> Outcome:
        """Send the call to a worker that has the model and a place; one that cannot be reached is passed over."""
        commit = Commit(on_commit)
        order = Order(call.upstream_model, call.upstream_model, swap_s=20.0)
        run = await self.fleet.run_of(call.token)
        if run is not None:
            member = self.fleet.members.get(run.worker_id)
            if member is not None and member.usable:
                return await self._sent(call, Place(member, run, resumed=True), commit)
            away_ms = self.clock.now_ms() - run.began_at_ms
            if member is not None and away_ms < 60_000:
                return Failed(FailedKind.UNKNOWN, "The worker did not answer.", detail=member.worker.name)
            await self.fleet.give_back(run.token, run.worker_id, unsent=True)
        avoid = set(self.avoided(call.job_id))
        last: Failed | None = None
        while True:
            place = await self.fleet.place(order, call.token, avoid)
            if isinstance(place, Failed):
                return last if last is not None and not place.requeue else place
            if place.member.worker.id in avoid and last is not None:
                await self.fleet.give_back(call.token, place.member.worker.id, unsent=True)
                return last
            outcome = await self._sent(call, place, commit)
            passed = (FailedKind.RETRY, FailedKind.GONE, FailedKind.AUTH)
            if not isinstance(outcome, Failed) or outcome.kind not in passed:
                return outcome
            last = outcome
            avoid.add(place.member.worker.id)

    async def _sent(self, call: Call, place: Place, commit: Commit) -> Outcome:
        member, run = place.member, place.run
        server = server_of(member)
        try:
            async with held(self.fleet, place, commit):
                job = await self._started(call, member, run, commit)
        except TransportError as error:
            if isinstance(error, MaybeSent) and commit.reached:
                return Failed(FailedKind.UNKNOWN, "The worker did not answer.", detail=str(error))
            return Failed(FailedKind.RETRY, "The worker could not be reached.", detail=str(error), retry_after_s=2.0)
        if isinstance(job, Failed):
            if job.kind is not FailedKind.UNKNOWN:
                await self.fleet.give_back(run.token, run.worker_id, unsent=True)
            if job.kind is FailedKind.GONE:
                member.quarantine(call.upstream_model)
            if job.kind in (FailedKind.RETRY, FailedKind.AUTH):
                member.failed()
            return job
        handle: Handle = {
            "worker": member.worker.id, "prompt": run.upstream_id, "token": run.token, "job": call.job_id,
        }  # fmt: skip
        if call.data_class is DataClass.PHI:
            handle["phi"] = True
        return await self._told(handle, member, server, job)

    async def _started(self, call: Call, member: Member, run: Run, commit: Commit) -> Job | Failed:
        """Send the job. After a silence it is asked for; only what the worker does not know is sent again."""
        server = server_of(member)
        try:
            job: Job | Failed = await self.fleet.talk(member, server.start(call, run.upstream_id), commit)
        except MaybeSent:
            job = await self.fleet.talk(member, server.look(run.upstream_id))
            if isinstance(job, Failed) and job.kind is FailedKind.GONE:
                job = await self.fleet.talk(member, server.start(call, run.upstream_id), commit)
        return job

    async def poll(self, handle: Handle) -> Outcome:
        """Ask the worker how far the job is."""
        member = self.fleet.members.get(str(handle["worker"]))
        if member is None:
            return self._again(handle, await self.lost(handle, "the worker was removed"))
        if member.trouble is not None:
            return Failed(FailedKind.RETRY, "The worker could not be asked.", detail=member.trouble, retry_after_s=5.0)
        server = server_of(member)
        try:
            job: Job | Failed = await self.fleet.talk(member, server.look(str(handle["prompt"])))
        except TransportError:
            return self._again(handle, await self.deliver_silence(handle, member))
        if isinstance(job, Failed):
            if job.kind is FailedKind.GONE:
                return self._again(handle, await self.lost(handle, f"{member.worker.name} does not know it any more"))
            return msgspec.structs.replace(job, kind=FailedKind.RETRY, message="The worker could not be asked.")
        return await self._told(handle, member, server, job)

    async def _told(self, handle: Handle, member: Member, server: HttpWorker, job: Job) -> Outcome:
        """Bring the files of a finished job here and say what it came to."""
        outputs: list[Output] = []
        if job.status == "succeeded":
            for n, told in enumerate(job.outputs):
                output = server.output(told)
                if output is None:
                    continue
                if output.url is not None and server.own(output.url):
                    found = await self._fetched(handle, member, output, n)
                    if isinstance(found, Failed):
                        await self.discard(outputs)
                        return Pending(handle, poll_after_s=2.0) if found.kind is FailedKind.RETRY else found
                    output = found
                outputs.append(output)
        outcome = outcome_of(job, handle, tuple(outputs))
        if not isinstance(outcome, Pending):
            await self.fleet.give_back(str(handle["token"]), member.worker.id)
            if isinstance(outcome, Succeeded):
                member.did_well()
        return self._again(handle, outcome) if isinstance(outcome, Failed) else outcome

    async def _fetched(self, handle: Handle, member: Member, output: Output, n: int) -> Output | Failed:
        """Fetch a file from the worker itself: its address may be private and asks for our credential."""
        to = None if handle.get("phi") else self.scratch(handle, n)
        request = HttpRequest(
            "GET", output.url or "", member.headers, total_timeout_s=600.0, max_bytes=self._max_bytes, save_to=to
        )
        try:
            answer = await self.fleet.talk(member, _once(request))
        except AnswerTooLarge as error:
            return Failed(FailedKind.UPSTREAM, "The result is too large.", detail=str(error))
        except TransportError as error:
            return Failed(FailedKind.RETRY, "The result could not be fetched.", detail=str(error))
        if not answer.ok:
            await self.discard([] if to is None else [Output(path=str(to))])
            kind = FailedKind.RETRY if answer.status >= 500 else FailedKind.UPSTREAM
            return Failed(kind, "The result could not be fetched.", detail=f"HTTP {answer.status}")
        content_type = output.content_type or answer.headers.get("content-type")
        if to is None:
            return Output(data=answer.body, content_type=content_type)
        return Output(path=str(to), content_type=content_type)

    def _again(self, handle: Handle, failed: Failed) -> Failed:
        """Let a lost job be done again, a bounded number of times."""
        return self.redone(handle, failed, LOSSES)

    async def stop_at(self, handle: Handle, member: Member) -> bool:
        """Ask the worker to stop."""
        stopped: bool = await self.fleet.talk(member, server_of(member).cancel(str(handle["prompt"])))
        return stopped

    async def callback(self, headers: Mapping[str, str], body: bytes, handle: Handle, upstream_id: str) -> bool:  # noqa: ARG002
        """Take a word that names the job; the address it came to is known to the worker alone."""
        try:
            return msgspec.json.decode(body, type=_Named).id == upstream_id
        except NOT_JSON:
            return False


class _Named(msgspec.Struct):
    id: str


def _once(request: HttpRequest) -> Steps[HttpResponse]:
    answer: HttpResponse = yield request
    return answer
