"""An adapter for the emulator's jobs endpoint: submit, poll, cancel, and the look-up where it is offered."""

from typing import Any

import msgspec

from calotype.kernel.outcome import Failed, FailedKind, Outcome, Output, Pending, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse, Steps
from calotype.providers.base import Call, Handle, Idempotency, MediaInputs, PollSchedule, Provider

REFUSED = {429: FailedKind.RETRY, 503: FailedKind.RETRY, 401: FailedKind.AUTH, 402: FailedKind.QUOTA}


class Polled(Provider):
    """Works on jobs that are asked for again and again."""

    kind = "polled"
    media_inputs = MediaInputs.URL
    schedule = PollSchedule(first_s=0.1, factor=1.2, max_s=0.3)

    def __init__(self, name: str, base_url: str, idempotency: Idempotency) -> None:
        self.name = name
        self.idempotency = idempotency
        self.output_hosts = frozenset({base_url.removeprefix("http://")})
        self._base = base_url

    def submit(self, call: Call) -> Steps[Outcome]:
        headers = {"Content-Type": "application/json"}
        if self.idempotency is Idempotency.KEY:
            headers["Idempotency-Key"] = call.token
        body = msgspec.json.encode({**call.input, "token": call.token})
        answer: HttpResponse = yield HttpRequest(
            "POST", f"{self._base}/jobs", headers=headers, body=body, commits=True, read_timeout_s=5.0
        )
        if not answer.ok:
            kind = REFUSED.get(answer.status, FailedKind.UNKNOWN if answer.status >= 500 else FailedKind.INVALID)
            return Failed(kind, "The upstream refused.", status=answer.status)
        said = answer.json()
        if not isinstance(said, dict):
            return Failed(FailedKind.UNKNOWN, "The upstream's answer could not be read.")
        return Pending(handle={"id": said["id"]}, upstream_id=said["id"])

    def poll(self, handle: Handle) -> Steps[Outcome]:
        answer: HttpResponse = yield HttpRequest("GET", f"{self._base}/jobs/{handle['id']}")
        said: Any = answer.json()
        if answer.status == 404:
            return Failed(FailedKind.GONE, "The upstream does not know the job.")
        if not answer.ok or not isinstance(said, dict):
            return Failed(FailedKind.RETRY, "The upstream could not be asked.")
        if said["status"] == "running":
            return Pending(handle=handle)
        if said["status"] == "done":
            return Succeeded(tuple(Output(url=url) for url in said["urls"]), upstream_id=said["id"])
        return Failed(FailedKind(said.get("kind", "upstream")), "The upstream failed.")

    def cancel(self, handle: Handle) -> Steps[bool]:
        answer: HttpResponse = yield HttpRequest("DELETE", f"{self._base}/jobs/{handle['id']}")
        said = answer.json()
        return isinstance(said, dict) and said.get("canceled") is True

    def lookup(self, call: Call) -> Steps[Outcome | None]:
        answer: HttpResponse = yield HttpRequest("GET", f"{self._base}/jobs?token={call.token}")
        said = answer.json()
        if not isinstance(said, dict) or not said.get("jobs"):
            return None
        ident = said["jobs"][0]["id"]
        return Pending(handle={"id": ident}, upstream_id=ident)
