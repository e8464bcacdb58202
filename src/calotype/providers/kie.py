"""KIE.ai: the unified jobs, Veo and Suno, each created once and then looked at (`wire/providers.md §5`).

Files of the input are uploaded to KIE's upload host before the one request that costs money. KIE offers no idempotency
key and no look-up, so a create whose answer was lost is never sent again. Its files are public addresses: nothing of
the data class PHI is given to it (§10.12).
"""

import random
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec
from yarl import URL

from calotype.kernel.clock import Clock, SystemClock
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Pending
from calotype.kernel.steps import FileRef, HttpRequest, HttpResponse, Parallel, Part, Steps, TransportError, Wait
from calotype.providers.answers import immediately, is_name, retry_after_s
from calotype.providers.base import Call, Check, Handle, Idempotency, MediaInputs, PollSchedule, Provider
from calotype.providers.kie_answers import Reader, envelope_of
from calotype.providers.kie_callbacks import proven
from calotype.providers.kie_calls import (
    BASE_URL,
    FAMILIES,
    MUSIC,
    UPLOAD_PATH,
    bases,
    body_of,
    family_of,
    file_name,
    one_file,
)
from calotype.providers.kie_rate import WINDOW_MS, Turnstile
from calotype.settings import ProviderSettings

CREATE_TIMEOUT_S = 30.0
POLL_TIMEOUT_S = 15.0
MOST_WAIT_MS = 60_000
"""A call that would wait longer than this for KIE's rate is offered to another route, or later.

All that may be in progress at once (`max_in_progress`) find a place sooner: a long queue loses no job to the rate.
"""
MAINTENANCE_MS = 60_000
_PICTURES = frozenset({Operation.TEXT_TO_IMAGE, Operation.IMAGE_TO_IMAGE})
_FROM_PICTURES = frozenset({Operation.IMAGE_TO_IMAGE, Operation.IMAGE_TO_VIDEO})


class Kie(Provider):
    """One account at KIE, or at a server that speaks as KIE does.

    Raises:
        ValueError: an address in the settings cannot be used.

    """

    kind = "kie"
    idempotency = Idempotency.NONE
    media_inputs = MediaInputs.FILE
    schedule = PollSchedule(first_s=3.0, factor=1.3, max_s=8.0)
    """Of pictures."""
    slow_schedule = PollSchedule(first_s=8.0, factor=1.2, max_s=20.0)
    """Of films, music and characters."""
    callbacks = True
    max_in_progress = 100
    user_agent = "Mozilla/5.0 (compatible; calotype)"
    """Cloudflare, which stands before KIE, has refused clients that do not look like a browser (§5.1)."""

    def __init__(self, name: str, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self.name = name
        self._api, self._uploads = bases(name, settings)
        own = [URL(base) for base in (self._api, self._uploads)] if self._api != BASE_URL else []
        self.output_hosts = frozenset(f"{url.host}:{url.port}" for url in own)
        self._settings = settings
        self._key = settings.api_key.get_secret_value().strip() if settings.api_key else ""
        self._signature = settings.webhook_secret.get_secret_value() if settings.webhook_secret else ""
        self._reader = Reader([self._key, self._signature], settings.moderation_words)
        self._turnstile = Turnstile()
        self._clock = clock or SystemClock()

    # -- submit -------------------------------------------------------------------------------------------------------

    def submit(self, call: Call) -> Steps[Outcome]:
        """Upload the input's files, wait for a turn, then create the task."""
        if not self._key:
            return Failed(FailedKind.AUTH, "The provider has no credential.", detail=f"{self.name}: set api_key")
        if call.data_class is DataClass.PHI:
            return Failed(FailedKind.GONE, "The provider keeps files at public addresses, where PHI must not be.")
        if call.operation in _FROM_PICTURES and not call.files:
            return Failed(FailedKind.INVALID, "A picture to start from is required.")
        files: dict[str, Any] = {}
        if call.files:
            uploaded = yield from self._uploaded(call)
            if isinstance(uploaded, Failed):
                return uploaded
            files = uploaded
        refused = yield from self._turn()
        if refused is not None:
            return refused
        body, warnings = body_of(call, files, self._called(call))
        answer: HttpResponse = yield self._create(call, body)
        return self._taken(call, answer, warnings)

    def _turn(self) -> Steps[Failed | None]:
        """Wait for a place in KIE's rate (§5.6); a wait that would be long is another route's chance."""
        wait_ms = self._turnstile.wait_ms(self._clock.now_ms(), MOST_WAIT_MS)
        while 0 < wait_ms <= MOST_WAIT_MS:
            yield Wait(wait_ms / 1000)
            wait_ms = self._turnstile.closed_ms(self._clock.now_ms())
        if wait_ms == 0:
            return None
        message = "The provider limits our rate."
        return Failed(FailedKind.RETRY, message, detail="not sent", status=429, retry_after_s=wait_ms / 1000)

    def _called(self, call: Call) -> str:
        """Return where KIE is to call. Music wants an address in any case: without one of ours, KIE's own (§5.4)."""
        nowhere = f"{self._api}/" if family_of(call.upstream_model) is MUSIC else ""
        return call.callback_url or nowhere

    def _create(self, call: Call, body: dict[str, Any]) -> HttpRequest:
        read_s = min(self._settings.read_timeout_s, CREATE_TIMEOUT_S)
        return HttpRequest(
            "POST",
            self._api + family_of(call.upstream_model).create,
            headers={**self._authorized(), "Content-Type": "application/json"},
            body=msgspec.json.encode(body),
            commits=True,
            connect_timeout_s=self._settings.connect_timeout_s,
            read_timeout_s=read_s,
            total_timeout_s=read_s + 30.0,
            max_bytes=1 << 20,
        )

    def _taken(self, call: Call, answer: HttpResponse, warnings: tuple[str, ...]) -> Outcome:
        envelope = envelope_of(answer)
        if envelope is None or not envelope.ok:
            return self._refused(answer, call)
        task = envelope.data.get("taskId") if isinstance(envelope.data, dict) else None
        if not is_name(task, 128):
            return Failed(FailedKind.UNKNOWN, "The provider's answer could not be read.", detail="200 without a task")
        handle: Handle = {
            "id": task, "family": family_of(call.upstream_model).name, "at_ms": self._clock.now_ms(),
            "slow": call.operation not in _PICTURES, "outputs": call.outputs,
        }  # fmt: skip
        if warnings:
            handle["warnings"] = list(warnings)
        return Pending(handle, upstream_id=task, poll_after_s=self._pause_s(handle))

    def _refused(self, answer: HttpResponse, call: Call) -> Failed:
        refusal = self._reader.refusal(answer, _prose(call.input))
        now_ms, asked_s = self._clock.now_ms(), retry_after_s(answer, self._clock)
        if refusal.status == 429:
            pause_ms = max(WINDOW_MS, int((asked_s or 0) * 1000))
        elif refusal.status == 455:
            pause_ms = max(MAINTENANCE_MS, int((asked_s or 0) * 1000))
        else:
            return msgspec.structs.replace(refusal, retry_after_s=asked_s)
        self._turnstile.close(now_ms + pause_ms)
        return msgspec.structs.replace(refusal, retry_after_s=pause_ms / 1000)

    # -- uploads (§5.6) -----------------------------------------------------------------------------------------------

    def _uploaded(self, call: Call) -> Steps[dict[str, Any] | Failed]:
        """Bring the input's files to KIE and return their addresses by field; nothing is billed for it."""
        files = [(name, n, file) for name, group in call.files.items() for n, file in enumerate(group)]
        urls: dict[str, list[str]] = {}
        try:
            answers = yield Parallel(tuple(self._upload(call, *one) for one in files))
        except TransportError as error:
            return Failed(FailedKind.RETRY, "The provider's upload host could not be reached.", detail=str(error))
        for (name, _, _), answer in zip(files, answers, strict=True):
            envelope = envelope_of(answer)
            found = envelope.data if envelope is not None and envelope.ok else None
            url = found.get("downloadUrl") if isinstance(found, dict) else None
            if not isinstance(url, str) or not url.startswith(("https://", "http://")):
                return self._not_uploaded(answer, name)
            urls.setdefault(name, []).append(url)
        return {name: found[0] if one_file(name) else found for name, found in urls.items()}

    def _upload(self, call: Call, field: str, n: int, file: FileRef) -> HttpRequest:
        name = file_name(call, field, n, file)
        parts = (Part("file", file, filename=name), Part("uploadPath", UPLOAD_PATH), Part("fileName", name))
        return HttpRequest(
            "POST",
            f"{self._uploads}/api/file-stream-upload",
            headers=self._authorized(),
            multipart=parts,
            connect_timeout_s=self._settings.connect_timeout_s,
            read_timeout_s=self._settings.read_timeout_s,
            max_bytes=1 << 20,
        )

    def _not_uploaded(self, answer: HttpResponse, field: str) -> Failed:
        refusal = self._reader.refusal(answer)
        if refusal.status == 413:
            return msgspec.structs.replace(refusal, field=field)
        if refusal.kind in (FailedKind.AUTH, FailedKind.QUOTA):
            return refusal
        kept = msgspec.structs.replace(
            refusal, kind=FailedKind.RETRY, message="The provider's upload host took no file."
        )
        return msgspec.structs.replace(kept, retry_after_s=retry_after_s(answer, self._clock))

    # -- afterwards ---------------------------------------------------------------------------------------------------

    def poll(self, handle: Handle) -> Steps[Outcome]:
        """Read the task's record; its files are fetched at once, for they may live for minutes only (§5.6)."""
        url = f"{self._api}{FAMILIES[handle['family']].record}?taskId={handle['id']}"
        answer: HttpResponse = yield self._ask(url)
        outcome = self._reader.record(handle, answer, self._clock.now_ms())
        if isinstance(outcome, Pending):
            return msgspec.structs.replace(outcome, poll_after_s=self._pause_s(handle))
        if isinstance(outcome, Failed) and outcome.kind is FailedKind.RETRY:
            return msgspec.structs.replace(outcome, retry_after_s=retry_after_s(answer, self._clock))
        return outcome

    def cancel(self, handle: Handle) -> Steps[bool]:  # noqa: ARG002
        """Cannot be done: KIE finishes and bills what it took."""
        return immediately(False)

    def lookup(self, call: Call) -> Steps[Outcome | None]:  # noqa: ARG002
        """Cannot be done."""
        return immediately(None)

    def callback(self, headers: Mapping[str, str], body: bytes, upstream_id: str) -> Steps[bool]:
        """Say whether a callback is about this task and, where the account has a key, signed with it (§5.5)."""
        return immediately(proven(headers, body, upstream_id, self._signature, self._clock.now_ms() / 1000))

    def check(self) -> Steps[Check | None]:
        """Ask for the account's balance (§5.6)."""
        answer: HttpResponse = yield self._ask(f"{self._api}/api/v1/chat/credit")
        envelope = envelope_of(answer)
        if envelope is None:
            return Check(reachable=True, note=f"HTTP {answer.status} without KIE's envelope")
        balance = f"{envelope.data} credits" if isinstance(envelope.data, int | float) else None
        return Check.of(envelope.code, balance)

    def _ask(self, url: str) -> HttpRequest:
        return HttpRequest(
            "GET", url, self._authorized(), connect_timeout_s=self._settings.connect_timeout_s,
            read_timeout_s=POLL_TIMEOUT_S, total_timeout_s=60.0, max_bytes=1 << 22,
        )  # fmt: skip

    def _pause_s(self, handle: Handle) -> float:
        """Grow the pause with the time already waited, by the schedule of what is made."""
        schedule = self.slow_schedule if handle["slow"] else self.schedule
        waited_s: float = (self._clock.now_ms() - handle["at_ms"]) / 1000
        pause_s = min(max(schedule.first_s, waited_s * (schedule.factor - 1)), schedule.max_s)
        return pause_s * random.uniform(0.8, 1.2)  # noqa: S311  (jitter, not a secret)

    def _authorized(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}", "Accept": "application/json"}


def _prose(fields: dict[str, Any]) -> Iterator[str]:
    """Return the caller's own words, which an error text may quote."""
    return (value for value in fields.values() if isinstance(value, str) and (" " in value or len(value) > 24))
