"""An account at a server that speaks as OpenAI does: where it is, how it is asked, what its refusals mean."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace
from yarl import URL

from calotype.kernel.clock import Clock, SystemClock
from calotype.kernel.outcome import Failed, FailedKind
from calotype.kernel.steps import HttpRequest, HttpResponse, Part, Steps
from calotype.providers.base import Call, Idempotency
from calotype.providers.errors import Meaning
from calotype.providers.openai_errors import Refusals
from calotype.settings import ProviderSettings

MAX_ANSWER_BYTES = 48 * 1024 * 1024
MAX_ERROR_BYTES = 65_536
SLOW_S, SLOW_TOTAL_S = 600.0, 1800.0
"""The longest silence and the longest answer of a language model (`wire/providers.md §10.13`)."""
QUICK_MS = 5_000
"""An error answer that comes sooner than this is a refusal; a later one may have been paid for."""


class Account:
    """One credential at one base URL.

    `example` is a base URL for messages; `must_have_key` refuses to ask without a credential; `table` and `type_of`
    read its refusals. The operator's own headers are sent with every request, never in the place of the credential.

    Raises:
        ValueError: the base URL cannot be used.

    """

    def __init__(
        self,
        name: str,
        settings: ProviderSettings,
        base_url: str,
        table: Sequence[Meaning],
        clock: Clock | None = None,
        *,
        example: str,
        must_have_key: bool,
        type_of: Callable[[dict[str, Any]], str] | None = None,
    ) -> None:
        self.name = name
        self.base_url, self.host, self.port = _base(name, base_url, example)
        self.keyed = settings.idempotency == "key"
        self.clock = clock or SystemClock()
        self._settings = settings
        self._key = settings.api_key.get_secret_value().strip() if settings.api_key else ""
        self._must_have_key = must_have_key
        self.refusals = Refusals(table, self._key, self.clock, type_of)

    @property
    def idempotency(self) -> Idempotency:
        """What the operator says that the server offers."""
        return Idempotency.KEY if self.keyed else Idempotency.NONE

    @property
    def lacking(self) -> Failed | None:
        """Return why nothing can be asked, None where it can."""
        if self._key or not self._must_have_key:
            return None
        return Failed(FailedKind.AUTH, "The provider has no credential.", detail=f"{self.name}: set api_key")

    def post(self, path: str, call: Call, body: Mapping[str, Any], *, accept: str = "application/json") -> HttpRequest:
        """Write a paid request with a JSON body."""
        encoded = msgspec.json.encode(body)
        return self._paid(path, call, {"Accept": accept, "Content-Type": "application/json"}, body=encoded)

    def post_slow(self, path: str, call: Call, body: Mapping[str, Any], *, accept: str) -> HttpRequest:
        """Write a paid request whose answer may take minutes to begin and longer to end: what thinks before it speaks.

        The operator's own limit on silence holds where there is one.
        """
        request = self.post(path, call, body, accept=accept)
        chosen = "read_timeout_s" in self._settings.model_fields_set
        silence_s = request.read_timeout_s if chosen else max(request.read_timeout_s, SLOW_S)
        return replace(request, read_timeout_s=silence_s, total_timeout_s=max(SLOW_TOTAL_S, silence_s))

    def form(self, path: str, call: Call, parts: Sequence[Part]) -> HttpRequest:
        """Write a paid request with a multipart body."""
        return self._paid(path, call, {"Accept": "application/json"}, multipart=tuple(parts))

    def get(self, path: str, *, timeout_s: float = 15.0) -> HttpRequest:
        """Write a request that reads and costs nothing."""
        headers = {"Accept": "application/json", **self.authorized()}
        return HttpRequest(
            "GET", self.base_url + path, headers, connect_timeout_s=self._settings.connect_timeout_s,
            read_timeout_s=timeout_s, total_timeout_s=4 * timeout_s,
        )  # fmt: skip

    def ask(self, call: Call, request: HttpRequest) -> Steps[HttpResponse | Failed]:
        """Send one request and return its good answer; an error inside an answer with a good status is none."""
        started_ms = self.clock.now_ms()
        answer: HttpResponse = yield request
        if not answer.ok:
            return self.refusals.failed(call, answer, late=self.late(started_ms))
        body = answer.json() if _may_be_error(answer) else None
        if isinstance(body, dict) and body.get("error"):
            return self.refusals.inside(call, answer, body, begun=False, late=self.late(started_ms))
        return answer

    def late(self, started_ms: int) -> bool:
        """Say whether so much time has passed that the work may have been done."""
        return self.clock.now_ms() - started_ms > QUICK_MS

    def authorized(self) -> dict[str, str]:
        """Return the headers of every request."""
        headers = dict(self._settings.headers)
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        return headers

    def _paid(
        self,
        path: str,
        call: Call,
        headers: dict[str, str],
        body: bytes | None = None,
        multipart: tuple[Part, ...] | None = None,
    ) -> HttpRequest:
        headers = {**headers, **self.authorized()}
        if self.keyed:
            headers["Idempotency-Key"] = call.token
        return HttpRequest(
            "POST",
            self.base_url + path,
            headers=headers,
            body=body,
            multipart=multipart,
            commits=True,
            connect_timeout_s=self._settings.connect_timeout_s,
            read_timeout_s=self._settings.read_timeout_s,
            total_timeout_s=self._settings.read_timeout_s + 120.0,
            max_bytes=MAX_ANSWER_BYTES * max(1, call.outputs),
        )


def given(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields that have a value."""
    return {name: value for name, value in fields.items() if value is not None}


def count(value: Any) -> int | None:
    """Return a number of tokens or of pieces; None for what is none."""
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _may_be_error(answer: HttpResponse) -> bool:
    """Say whether an answer is worth looking into: errors are short, results are often megabytes of base64."""
    return len(answer.body) < MAX_ERROR_BYTES and b'"error"' in answer.body


def _base(name: str, base_url: str, example: str) -> tuple[str, str, int]:
    try:
        url = URL(base_url.strip())
        host, port = url.host, url.port
    except ValueError:
        host = port = None
    if not host or not port or url.scheme not in ("http", "https") or url.raw_user or url.raw_query_string:
        raise ValueError(f"providers.{name}.base_url must be like {example}, without a user name or a query")
    return str(url).rstrip("/"), host, port
