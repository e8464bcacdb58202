"""MiniMax: Hailuo's videos, submitted once and then polled (MiniMax's own API reference).

Every answer has HTTP status 200 and its real one in `base_resp.status_code`. A finished task names a file, whose
address is asked for separately. There is no idempotency key and nothing says what a task cost.
"""

from typing import Any

import msgspec
from yarl import URL

from calotype.kernel.clock import Clock, SystemClock
from calotype.kernel.generation import DataClass
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Output, Pending, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse, Steps
from calotype.providers.answers import immediately, redacted, retry_after_s
from calotype.providers.base import Call, Check, Handle, Idempotency, MediaInputs, PollSchedule, Provider
from calotype.providers.errors import ErrorBody, Meaning, meaning_of
from calotype.settings import ProviderSettings

BASE_URL = "https://api.minimax.io"
POLL_TIMEOUT_S = 15.0
MAX_BYTES = 1 << 20
NOBODYS_TASK = "0"

_UNKNOWN = FailedKind.UNKNOWN
_NO_END = "The provider did not say how the request ended."
_POLICY = "The provider's content policy refused the request."

MEANINGS: tuple[Meaning, ...] = (
    Meaning("2xx", FailedKind.RETRY, "The provider limits our rate.", frozenset({"1002", "1039", "1041"})),
    Meaning("2xx", FailedKind.AUTH, "The provider refused our credential.", frozenset({"1004", "2049"})),
    Meaning("2xx", FailedKind.QUOTA, "The provider's account is out of credit.", frozenset({"1008", "2056"})),
    Meaning("2xx", FailedKind.MODERATED, _POLICY, frozenset({"1026", "1027"})),
    Meaning("2xx", FailedKind.INVALID, "The provider refused the input.", frozenset({"1042", "2013"})),
    Meaning("2xx", _UNKNOWN, _NO_END),
    Meaning("401 403", FailedKind.AUTH, "The provider refused our credential."),
    Meaning("402", FailedKind.QUOTA, "The provider's account is out of credit."),
    Meaning("3xx 404 405 410", FailedKind.GONE, "The provider does not have this model."),
    Meaning("408 409", _UNKNOWN, _NO_END),
    Meaning("425 429", FailedKind.RETRY, "The provider limits our rate."),
    Meaning("4xx", FailedKind.INVALID, "The provider refused the input."),
    Meaning("xxx", _UNKNOWN, _NO_END),
)
"""What an answer to a submit means that is none with code 0; the first row that fits decides."""


class MiniMax(Provider):
    """One account at MiniMax, or at a server that speaks as it does.

    Raises:
        ValueError: the base URL cannot be used.

    """

    kind = "minimax"
    idempotency = Idempotency.NONE
    media_inputs = MediaInputs.DATA
    schedule = PollSchedule(first_s=5.0, factor=1.2, max_s=10.0)

    def __init__(self, name: str, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self.name = name
        self._root, own = _base(name, settings.base_url or BASE_URL)
        self.output_hosts = frozenset({own}) if self._root != BASE_URL else frozenset()
        self._settings = settings
        self._key = settings.api_key.get_secret_value().strip() if settings.api_key else ""
        self._clock = clock or SystemClock()

    def submit(self, call: Call) -> Steps[Outcome]:
        """Put a task into MiniMax's queue."""
        if not self._key:
            return Failed(FailedKind.AUTH, "The provider has no credential.", detail=f"{self.name}: set api_key")
        fields = {name: value for name, value in call.input.items() if value is not None}
        answer: HttpResponse = yield HttpRequest(
            "POST",
            f"{self._root}/v1/video_generation",
            headers={**self._authorized(), "Content-Type": "application/json"},
            body=msgspec.json.encode({"model": call.upstream_model, **fields}),
            commits=True,
            connect_timeout_s=self._settings.connect_timeout_s,
            read_timeout_s=self._settings.read_timeout_s,
            total_timeout_s=self._settings.read_timeout_s + 30.0,
            max_bytes=MAX_BYTES,
        )
        body, code, text = _said(answer)
        ident = body.get("task_id")
        if answer.ok and code == "0" and isinstance(ident, str) and ident:
            return Pending({"id": ident}, upstream_id=ident[:100])
        if code == "0":
            code = ""
        kind, message = meaning_of(MEANINGS, answer.status, ErrorBody(code), late=False)
        shown = "" if call.data_class is DataClass.PHI else text
        prose = [value for value in fields.values() if isinstance(value, str)]
        return Failed(
            kind,
            message,
            detail=redacted(f"HTTP {answer.status} {code} {shown}", [self._key, *prose]),
            code=code or None,
            status=answer.status,
            retry_after_s=retry_after_s(answer, self._clock),
        )

    def poll(self, handle: Handle) -> Steps[Outcome]:
        """Ask how far a task is, and for the address of its file once there is one."""
        answer: HttpResponse = yield self._ask("query/video_generation", task_id=handle["id"])
        body, code, _ = _said(answer)
        status = body.get("status")
        if code in ("1026", "1027"):
            return Failed(FailedKind.MODERATED, _POLICY, detail=f"code {code}", code=code)
        if not answer.ok or code != "0" or not isinstance(status, str):
            return self._again(answer, code)
        if status == "Fail":
            return Failed(FailedKind.UPSTREAM, "The provider failed while it worked on the request.", detail="Fail")
        ident = body.get("file_id")
        if status != "Success" or not isinstance(ident, str | int) or ident == "":
            return Pending(handle)
        found: HttpResponse = yield self._ask("files/retrieve", file_id=str(ident))
        kept, code, _ = _said(found)
        file = kept.get("file")
        url = file.get("download_url") if isinstance(file, dict) else None
        if not found.ok or code != "0" or not isinstance(url, str) or not url:
            return self._again(found, code)
        output = Output(url=url, content_type="video/mp4", width=_side(body, "width"), height=_side(body, "height"))
        return Succeeded((output,), upstream_id=handle["id"])

    def cancel(self, handle: Handle) -> Steps[bool]:  # noqa: ARG002
        """Cannot be done."""
        return immediately(False)

    def lookup(self, call: Call) -> Steps[Outcome | None]:  # noqa: ARG002
        """Cannot be done."""
        return immediately(None)

    def check(self) -> Steps[Check | None]:
        """Ask for a task that nobody has: only the credential decides how the refusal reads."""
        answer: HttpResponse = yield self._ask("query/video_generation", task_id=NOBODYS_TASK)
        code = _said(answer)[1]
        return Check.of(401 if answer.ok and code in ("1004", "2049") else answer.status)

    def _again(self, answer: HttpResponse, code: str) -> Failed:
        """Say that a poll told nothing: a task that was paid for is never given up over it."""
        return Failed(
            FailedKind.RETRY,
            "The provider could not be asked.",
            detail=f"HTTP {answer.status} {code} to a poll",
            status=answer.status,
            retry_after_s=retry_after_s(answer, self._clock),
        )

    def _ask(self, path: str, **query: str) -> HttpRequest:
        url = str(URL(f"{self._root}/v1/{path}").with_query(query))
        return HttpRequest(
            "GET", url, self._authorized(), read_timeout_s=POLL_TIMEOUT_S, total_timeout_s=60.0, max_bytes=MAX_BYTES
        )

    def _authorized(self) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._key}", "Accept": "application/json"}


def _said(answer: HttpResponse) -> tuple[dict[str, Any], str, str]:
    """Return the body, the code inside it as text (empty where there is none) and its message."""
    read = answer.json() if len(answer.body) <= MAX_BYTES else None
    body = read if isinstance(read, dict) else {}
    inner = body.get("base_resp")
    code = inner.get("status_code") if isinstance(inner, dict) else None
    text = inner.get("status_msg") if isinstance(inner, dict) else None
    return body, str(code) if isinstance(code, int) else "", text if isinstance(text, str) else ""


def _side(body: dict[str, Any], name: str) -> int | None:
    value = body.get(f"video_{name}")
    return value if isinstance(value, int) and value > 0 else None


def _base(name: str, base_url: str) -> tuple[str, str]:
    text = base_url.strip().rstrip("/").removesuffix("/v1")
    try:
        url = URL(text)
        usable = url.scheme in ("http", "https") and url.host and not url.raw_user and not url.raw_query_string
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"providers.{name}.base_url must be like {BASE_URL}, without a user name or a query")
    return text, f"{url.host}:{url.port}"
