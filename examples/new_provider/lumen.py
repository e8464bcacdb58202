"""Lumen's pictures, as a provider in a package of its own (docs/providers.md). Lumen is made up."""

import msgspec
from yarl import URL

from calotype.kernel.clock import SystemClock
from calotype.kernel.outcome import Cost, Failed, FailedKind, Outcome, Output, Pending, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse, Steps
from calotype.providers.answers import immediately, is_name, redacted, retry_after_s
from calotype.providers.base import Call, Handle, Idempotency, MediaInputs, PollSchedule, Provider
from calotype.providers.errors import Meaning, error_body, meaning_of
from calotype.settings import ProviderSettings

MEANINGS = (
    Meaning("401 403", FailedKind.AUTH, "The provider refused our credential."),
    Meaning("402", FailedKind.QUOTA, "The provider's account is out of credit."),
    Meaning("404", FailedKind.GONE, "The provider does not have this model."),
    Meaning("422", FailedKind.MODERATED, "The provider's policy refused the request.", codes=frozenset({"policy"})),
    Meaning("429 503", FailedKind.RETRY, "The provider is busy."),
    Meaning("4xx", FailedKind.INVALID, "The provider refused the input."),
    Meaning("xxx", FailedKind.UNKNOWN, "The provider did not say how the request ended."),
)
"""What an answer that is no success means; the first row that fits decides."""


class Lumen(Provider):
    """One account at Lumen."""

    kind = "lumen"
    idempotency = Idempotency.KEY
    media_inputs = MediaInputs.DATA
    schedule = PollSchedule(first_s=1.0, factor=1.5, max_s=5.0)

    def __init__(self, name: str, settings: ProviderSettings) -> None:
        if not settings.base_url:
            raise ValueError(f"providers.{name}.base_url is required: where Lumen answers")
        self.name = name
        self._root = settings.base_url.rstrip("/")
        url = URL(self._root)
        self.output_hosts = frozenset({f"{url.host}:{url.port}"})
        self._key = settings.api_key.get_secret_value() if settings.api_key else ""
        self._clock = SystemClock()

    def submit(self, call: Call) -> Steps[Outcome]:
        """Ask for a picture: the one request that costs money, done once for each token."""
        body = msgspec.json.encode({"model": call.upstream_model, **call.input})
        token = {"Idempotency-Key": call.token}
        answer: HttpResponse = yield self._request("POST", "", body, token, commits=True)
        match answer.json() if answer.ok else None:
            case {"id": ident} if is_name(ident, 100):  # it becomes part of an address
                return Pending({"id": ident}, upstream_id=ident)
        return self._failed(answer)

    def poll(self, handle: Handle) -> Steps[Outcome]:
        """Ask how far it is; an answer that tells nothing never ends a job that was paid for."""
        answer: HttpResponse = yield self._request("GET", f"/{handle['id']}")
        match answer.json() if answer.ok else None:
            case {"status": "done", "url": str(url), "cost_micro": int(micro)}:
                return Succeeded((Output(url=url),), cost=Cost(micro=micro, source="response"))
            case {"status": "failed"}:
                return Failed(FailedKind.UPSTREAM, "The provider failed while it worked on the request.")
            case {"status": "working", "progress": float(progress)}:
                return Pending(handle, progress=progress)
            case {"status": "working"}:
                return Pending(handle)
        return Failed(FailedKind.RETRY, "The provider could not be asked.", detail=f"HTTP {answer.status}")

    def cancel(self, handle: Handle) -> Steps[bool]:
        """Stop the work; Lumen bills nothing for what it stopped."""
        answer: HttpResponse = yield self._request("DELETE", f"/{handle['id']}")
        return answer.ok

    def lookup(self, call: Call) -> Steps[Outcome | None]:  # noqa: ARG002
        """Not needed: the same token never makes a second picture."""
        return immediately(None)

    def _request(
        self, method: str, path: str, body: bytes | None = None, more: dict[str, str] | None = None, *,
        commits: bool = False,
    ) -> HttpRequest:  # fmt: skip
        headers = {"Authorization": f"Bearer {self._key}", "Content-Type": "application/json", **(more or {})}
        return HttpRequest(method, f"{self._root}/v1/pictures{path}", headers, body, commits=commits)

    def _failed(self, answer: HttpResponse) -> Failed:
        error = error_body(answer)
        kind, message = meaning_of(MEANINGS, answer.status, error, late=False)
        detail = redacted(f"HTTP {answer.status} {error.message if error else ''}", [self._key])
        return Failed(kind, message, detail, status=answer.status, retry_after_s=retry_after_s(answer, self._clock))
