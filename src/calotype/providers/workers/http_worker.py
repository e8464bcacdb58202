"""The conversation with a model server of the operator's own, without I/O; `docs/workers.md` is its contract."""

from typing import Any, Literal
from urllib.parse import quote

import msgspec
from msgspec import Struct
from yarl import URL

from calotype.kernel.outcome import Failed, FailedKind, Output, Pending, Succeeded
from calotype.kernel.steps import NOT_JSON, HttpRequest, HttpResponse, Steps
from calotype.providers.answers import redacted
from calotype.providers.base import Call
from calotype.providers.workers.member import Member
from calotype.providers.workers.types import Probe

PROBE_TIMEOUT_S = 2.0
ASK_TIMEOUT_S = 30.0
SUBMIT_TIMEOUT_S = 600.0
"""A worker may answer a submit with the result."""
MAX_MESSAGE_CHARS = 300

State = Literal["queued", "running", "succeeded", "failed", "canceled"]
KINDS: dict[str, FailedKind] = {
    "invalid": FailedKind.INVALID,
    "moderated": FailedKind.MODERATED,
    "busy": FailedKind.RETRY,
    "failed": FailedKind.UPSTREAM,
}
"""What a worker may say went wrong."""


class Told(Struct):
    """One file of a result, by URL or as base64."""

    url: str | None = None
    data: str | None = None
    content_type: str | None = None


class Wrong(Struct):
    """Why a job failed. `message` is for the operator; a caller is told our own sentence and the field."""

    kind: Literal["invalid", "moderated", "busy", "failed"] = "failed"
    message: str = ""
    field: str | None = None


class Job(Struct):
    """A job as a worker tells of it."""

    id: str
    status: State
    progress: float | None = None
    outputs: list[Told] = []
    data: dict[str, Any] = {}
    usage: dict[str, int] = {}
    error: Wrong | None = None


class Healthy(Struct):
    """What `GET /health` answers."""

    models: list[str] | None = None
    capacity: int | None = None
    busy: int = 0
    version: str = ""


class HttpWorker:
    """One model server: its base URL and the headers that let us in."""

    def __init__(self, url: str, headers: dict[str, str]) -> None:
        self._url = url
        self._headers = headers

    def probe(self) -> Steps[Probe]:
        """Ask how it is, which models it has and how many jobs it takes."""
        answer: HttpResponse = yield HttpRequest(
            "GET", f"{self._url}/health", self._headers, connect_timeout_s=PROBE_TIMEOUT_S,
            read_timeout_s=PROBE_TIMEOUT_S, total_timeout_s=PROBE_TIMEOUT_S * 2, max_bytes=1 << 20,
        )  # fmt: skip
        told = _read(answer, Healthy)
        if told is None:
            return Probe(capacity=0, facts={"error": f"HTTP {answer.status} from /health"})
        models = None if told.models is None else frozenset(told.models)
        return Probe(told.version, max(0, told.busy), told.capacity, models)

    def start(self, call: Call, ident: str) -> Steps[Job | Failed]:
        """Send a job under our id; sending it again is the same job."""
        body: dict[str, Any] = {
            "id": ident, "model": call.upstream_model, "operation": call.operation.value, "input": call.input,
            "outputs": call.outputs,
        }  # fmt: skip
        if call.callback_url is not None:
            body["callback"] = call.callback_url
        headers = {**self._headers, "Content-Type": "application/json", "Idempotency-Key": ident}
        answer: HttpResponse = yield HttpRequest(
            "POST", f"{self._url}/v1/jobs", headers, msgspec.json.encode(body), commits=True,
            read_timeout_s=SUBMIT_TIMEOUT_S, total_timeout_s=SUBMIT_TIMEOUT_S, max_bytes=512 << 20,
        )  # fmt: skip
        return self._job(answer, ident)

    def look(self, ident: str) -> Steps[Job | Failed]:
        """Ask for a job; one that the worker does not know is `gone`."""
        answer: HttpResponse = yield self._ask("GET", ident)
        return self._job(answer, ident)

    def cancel(self, ident: str) -> Steps[bool]:
        """Ask to stop; True when the worker says that it will not be delivered."""
        answer: HttpResponse = yield self._ask("DELETE", ident)
        if answer.status in (204, 404):
            return True
        told = _read(answer, Job)
        return told is not None and told.status in ("canceled", "failed")

    def output(self, told: Told) -> Output | None:
        """Return a file of a result. Only addresses of the worker's own are asked with its headers."""
        if told.data is not None:
            return Output(base64=told.data.encode(), content_type=told.content_type)
        url = None if told.url is None else self.address(told.url)
        return None if url is None else Output(url=url, content_type=told.content_type)

    def address(self, url: str) -> str | None:
        """Return an address of a result; one without a host is the worker's own."""
        try:
            found = URL(f"{self._url}/").join(URL(url))
        except ValueError:
            return None
        return str(found) if found.host and found.scheme in ("http", "https") else None

    def own(self, url: str) -> bool:
        """Say whether an address is at the worker itself."""
        return URL(url).origin() == URL(self._url).origin()

    def _ask(self, method: str, ident: str) -> HttpRequest:
        return HttpRequest(
            method, f"{self._url}/v1/jobs/{quote(ident, safe='')}", self._headers, read_timeout_s=ASK_TIMEOUT_S,
            total_timeout_s=ASK_TIMEOUT_S * 4, max_bytes=512 << 20,
        )  # fmt: skip

    def _job(self, answer: HttpResponse, ident: str) -> Job | Failed:
        told: Job | None = _read(answer, Job) if answer.ok else None
        if told is not None and told.id == ident:
            return told
        return _refused(answer)


def server_of(member: Member) -> HttpWorker:
    """Return the conversation with a worker."""
    return HttpWorker(member.worker.url, member.headers)


def outcome_of(job: Job, handle: dict[str, Any], outputs: tuple[Output, ...]) -> Pending | Succeeded | Failed:
    """Return what a job as told is worth; `outputs` are its files as they were brought here."""
    if job.status in ("queued", "running"):
        fraction = None if job.progress is None else min(max(job.progress, 0.0), 0.99)
        return Pending(handle, progress=fraction, upstream_id=job.id)
    if job.status == "succeeded":
        if job.outputs and not outputs:
            return Failed(FailedKind.UPSTREAM, "The worker's result could not be read.", detail="outputs")
        return Succeeded(outputs, data=job.data, usage=job.usage, upstream_id=job.id)
    wrong = job.error or Wrong()
    detail = redacted(wrong.message)[:MAX_MESSAGE_CHARS] or job.status
    match KINDS[wrong.kind]:
        case FailedKind.INVALID:
            message = "The worker does not take this input."
        case FailedKind.MODERATED:
            message = "The worker refused this content."
        case FailedKind.RETRY:
            return Failed(FailedKind.UPSTREAM, "The worker gave the job back.", detail=detail, requeue=True)
        case _:
            message = "The generation failed."
    return Failed(KINDS[wrong.kind], message, detail=detail, field=wrong.field)


def _refused(answer: HttpResponse) -> Failed:
    """Say what an answer that is no job means."""
    status = answer.status
    wrong = _read(answer, _Refusal)
    detail = redacted(f"HTTP {status}: {wrong.error.message if wrong is not None else ''}")
    field = None if wrong is None else wrong.error.field
    if status in (401, 403):
        return Failed(FailedKind.AUTH, "The worker does not accept our credential.", detail=detail, status=status)
    if status == 404:
        return Failed(FailedKind.GONE, "The worker does not know this.", detail=detail, status=status)
    if status in (400, 413, 422):
        kind = KINDS[wrong.error.kind] if wrong is not None else FailedKind.INVALID
        kind = FailedKind.MODERATED if kind is FailedKind.MODERATED else FailedKind.INVALID
        return Failed(kind, "The worker does not take this input.", detail=detail, status=status, field=field)
    return Failed(FailedKind.RETRY, "The worker did not take the job.", detail=detail, status=status)


class _Refusal(Struct):
    error: Wrong


def _read(answer: HttpResponse, kind: Any) -> Any:
    try:
        return msgspec.json.decode(answer.body, type=kind)
    except NOT_JSON:
        return None
