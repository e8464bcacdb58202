"""Black Forest Labs: FLUX, over an API that is submitted to once and then polled (`wire/providers.md §4`).

Its hosts serve regions: an instance named `bfl-eu` or `bfl-us` has that host without further settings. Webhooks are
not asked for: an answer to a submit with one names no polling address, and on the global host a task cannot be found
without it, while what the poll reads is the truth here.
"""

from typing import Any

import msgspec

from calotype.kernel.clock import Clock, SystemClock
from calotype.kernel.generation import DataClass
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Output, Pending, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse, Parallel, Steps, TransportError
from calotype.providers.answers import immediately, retry_after_s
from calotype.providers.base import Call, Check, Handle, Idempotency, MediaInputs, PollSchedule, Provider
from calotype.providers.bfl_answers import NOT_FOUND, billed, cost_of, ended, pictures, prose, refused, usage_of
from calotype.providers.bfl_calls import base_of, bodies, is_theirs, may_poll
from calotype.providers.bfl_slots import Slots
from calotype.settings import ProviderSettings

QUICK_MS = 5_000
"""A 503 that comes sooner than this is a refusal; a later one may stand for an accepted request."""
FIND_S = 10.0
"""How long a new task may be unknown at the address that was given for it (§4.2)."""
SLOT_S = 1.0
"""When a request is offered again that found no place."""
_BUSY = "The provider works on as many requests of ours as it takes at once."
POLL_TIMEOUT_S = 15.0
MAX_BYTES = 1 << 20


class Bfl(Provider):
    """One account at Black Forest Labs, at one of its hosts or at a server that speaks as they do.

    Raises:
        ValueError: the base URL cannot be used.

    """

    kind = "bfl"
    idempotency = Idempotency.NONE
    media_inputs = MediaInputs.DATA
    schedule = PollSchedule(first_s=0.5, factor=1.5, max_s=5.0)
    max_in_progress = 24

    def __init__(self, name: str, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self.name = name
        self._base = base_of(name, settings.base_url)
        own = () if is_theirs(self._base) else (f"{self._base.host}:{self._base.port}",)
        self.output_hosts = frozenset(own)
        self._settings = settings
        self._key = settings.api_key.get_secret_value().strip() if settings.api_key else ""
        self._clock = clock or SystemClock()
        chosen = "max_in_progress" in settings.model_fields_set
        self._slots = Slots(settings.max_in_progress if chosen else self.max_in_progress)

    # -- submit (§4.1) ------------------------------------------------------------------------------------------------

    def submit(self, call: Call) -> Steps[Outcome]:
        """Submit one task for each picture; those that were taken are delivered whatever became of the others."""
        if not self._key:
            return Failed(FailedKind.AUTH, "The provider has no credential.", detail=f"{self.name}: set api_key")
        wanted = bodies(call.input, max(1, call.outputs))
        if not self._slots.room(call.upstream_model, len(wanted), self._clock.now_ms()):
            detail = "not sent: as many tasks as the account may have are at work"
            return Failed(FailedKind.RETRY, _BUSY, detail=detail, status=429, retry_after_s=SLOT_S, requeue=True)
        places = [f"{call.token}/{n}" for n in range(len(wanted))]
        for place in places:
            self._slots.begin(place, call.upstream_model, self._clock.now_ms())
        try:
            return (yield from self._submitted(call, wanted))
        finally:
            self._slots.end(places)

    def _submitted(self, call: Call, wanted: list[dict[str, Any]]) -> Steps[Outcome]:
        taken: list[dict[str, Any]] = []
        for body in wanted:
            started_ms = self._clock.now_ms()
            try:
                answer: HttpResponse = yield self._post(call, body)
            except TransportError:
                if not taken:
                    raise
                break
            task = self._task(call, answer, late=self._clock.now_ms() - started_ms > QUICK_MS)
            if isinstance(task, Failed):
                if not taken:
                    return task
                break
            self._slots.begin(task["id"], call.upstream_model, self._clock.now_ms())
            taken.append(task)
        bill = billed(taken)
        handle = {
            "tasks": [{"id": task["id"], "url": self._polling_url(task)} for task in taken],
            "missing": len(wanted) - len(taken),
            "model": call.upstream_model,
            "since_ms": self._clock.now_ms(),
            "bill": bill,
        }
        return Pending(handle, cost=cost_of(bill), upstream_id=taken[0]["id"])

    def _post(self, call: Call, body: dict[str, Any]) -> HttpRequest:
        return HttpRequest(
            "POST",
            f"{self._root}/v1/{call.upstream_model}",
            headers={**self._authorized(), "Content-Type": "application/json"},
            body=msgspec.json.encode(body),
            commits=True,
            connect_timeout_s=self._settings.connect_timeout_s,
            read_timeout_s=self._settings.read_timeout_s,
            total_timeout_s=self._settings.read_timeout_s + 30.0,
            max_bytes=MAX_BYTES,
        )

    def _task(self, call: Call, answer: HttpResponse, *, late: bool) -> dict[str, Any] | Failed:
        if not answer.ok:
            general = call.data_class is not DataClass.PHI
            secrets = (self._key, *prose(call.input))
            failure = refused(answer, secrets, call.input, late=late, quote=general)
            return msgspec.structs.replace(failure, retry_after_s=retry_after_s(answer, self._clock))
        body = answer.json()
        ident = body.get("id") if isinstance(body, dict) else None
        if not isinstance(ident, str) or not ident or len(ident) > 200:
            detail = f"HTTP {answer.status} without an id"
            return Failed(FailedKind.UNKNOWN, "The provider's answer could not be read.", detail=detail)
        task: dict[str, Any] = body
        return task

    def _polling_url(self, task: dict[str, Any]) -> str:
        """Take the address that the answer names, for a task lives in one region; else ask where we submitted."""
        url = task.get("polling_url")
        if isinstance(url, str) and may_poll(self._base, url):
            return url
        return str((self._base / "v1/get_result").with_query(id=task["id"]))

    # -- poll (§4.2) --------------------------------------------------------------------------------------------------

    def poll(self, handle: Handle) -> Steps[Outcome]:
        """Ask for every task; the end is there when all of them have ended."""
        asked = tuple(self._ask(task["url"]) for task in handle["tasks"])
        answers: tuple[HttpResponse, ...] = yield Parallel(asked)
        found = [self._read(answer, handle) for answer in answers]
        self._note(handle, found)
        for one in found:
            if isinstance(one, Failed) and one.kind is FailedKind.RETRY:
                return one
        if any(isinstance(one, Pending) for one in found):
            done = sum((one.progress or 0.0) if isinstance(one, Pending) else 1.0 for one in found)
            return Pending(handle, progress=done / len(found))
        outputs = tuple(output for one in found if isinstance(one, Succeeded) for output in one.outputs)
        failures = [one for one in found if isinstance(one, Failed)]
        if not outputs:
            return failures[0]
        lost = len(failures) + handle["missing"]
        note = (f"{lost} of {len(found) + handle['missing']} pictures were not made and are not charged",)
        return Succeeded(
            outputs,
            data=next(one.data for one in found if isinstance(one, Succeeded)),
            usage=usage_of(handle["bill"], made=len(found) - len(failures), tasks=len(found)),
            cost=cost_of(handle["bill"]),
            warnings=note if lost else (),
            upstream_id=handle["tasks"][0]["id"],
        )

    def _note(self, handle: Handle, found: list[Outcome]) -> None:
        """Take note of which tasks are at work, also of those that were submitted before a restart."""
        for task, one in zip(handle["tasks"], found, strict=True):
            if isinstance(one, Pending):
                self._slots.begin(task["id"], handle.get("model", ""), self._clock.now_ms())
            elif not (isinstance(one, Failed) and one.kind is FailedKind.RETRY):
                self._slots.end((task["id"],))

    def _read(self, answer: HttpResponse, handle: Handle) -> Outcome:
        """Read the body before the HTTP status: a task's end may come with a status such as 503 (§4.2)."""
        body = answer.json()
        said = body if isinstance(body, dict) else {}
        status = said.get("status")
        if status == "Ready":
            outputs: tuple[Output, ...] = pictures(said.get("result"))
            if not outputs:
                return Failed(FailedKind.UPSTREAM, "The provider delivered no image.", detail="Ready without a sample")
            seed = said["result"].get("seed")
            return Succeeded(outputs, data={"seed": seed} if isinstance(seed, int) else {})
        if isinstance(status, str) and (failure := ended(status, said, [self._key])) is not None:
            return failure
        if NOT_FOUND in (status, said.get("detail")) or (answer.status == 404 and isinstance(said.get("detail"), str)):
            young = self._clock.now_ms() - handle["since_ms"] < FIND_S * 1000
            gone = Failed(FailedKind.UPSTREAM, "The provider no longer knows the request.", status=answer.status)
            return Pending(handle) if young else gone
        if isinstance(status, str) and answer.ok:
            progress = said.get("progress")
            return Pending(handle, progress=float(progress) if isinstance(progress, int | float) else None)
        return Failed(
            FailedKind.RETRY,
            "The provider could not be asked.",
            detail=f"HTTP {answer.status} to a poll",
            status=answer.status,
            retry_after_s=retry_after_s(answer, self._clock),
        )

    def cancel(self, handle: Handle) -> Steps[bool]:  # noqa: ARG002
        """Cannot be done."""
        return immediately(False)

    def lookup(self, call: Call) -> Steps[Outcome | None]:  # noqa: ARG002
        """Cannot be done."""
        return immediately(None)

    def check(self) -> Steps[Check]:
        """Ask for the account's credits (§4.4), which costs nothing."""
        answer: HttpResponse = yield self._ask(f"{self._root}/v1/credits")
        body = answer.json()
        left = body.get("credits") if isinstance(body, dict) else None
        balance = f"{left:,.2f} credits ({left / 100:,.2f} USD)" if isinstance(left, int | float) else None
        return Check.of(answer.status, balance)

    def _ask(self, url: str) -> HttpRequest:
        return HttpRequest(
            "GET", url, self._authorized(), read_timeout_s=POLL_TIMEOUT_S, total_timeout_s=60.0, max_bytes=MAX_BYTES
        )

    @property
    def _root(self) -> str:
        return str(self._base).rstrip("/")

    def _authorized(self) -> dict[str, str]:
        return {"x-key": self._key, "Accept": "application/json"}
