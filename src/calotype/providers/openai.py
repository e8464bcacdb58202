"""OpenAI's images API, and every server that speaks it (`wire/providers.md §7`)."""

import re
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Raw, Struct
from yarl import URL

from calotype.kernel.clock import Clock, SystemClock
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Cost, Failed, FailedKind, Outcome, Output, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse, Part, Steps
from calotype.providers.answers import immediately, redacted, retry_after_s
from calotype.providers.base import Call, Handle, Idempotency, MediaInputs, PollSchedule, Provider
from calotype.providers.errors import ErrorBody, Meaning, error_body, meaning_of
from calotype.settings import ProviderSettings

BASE_URL = "https://api.openai.com/v1"
MAX_OUTPUT_BYTES = 48 * 1024 * 1024
QUICK_MS = 5_000
"""An error answer that comes sooner than this is a refusal; a later one may have been paid for."""

_TRANSIENT = "The provider cannot take the request at the moment."
_NO_CREDENTIAL = "The provider refused our credential."
_NO_CREDIT = "The provider's account is out of credit."
_NO_MODEL = "The provider does not have this model."
_POLICY = "The provider's content policy refused the request."
_NO_END = "The provider did not say how the request ended."
_RETRY, _UNKNOWN = FailedKind.RETRY, FailedKind.UNKNOWN

MEANINGS: tuple[Meaning, ...] = (
    Meaning("xxx", FailedKind.MODERATED, _POLICY, frozenset({"moderation_blocked", "content_policy_violation"})),
    Meaning("xxx", FailedKind.MODERATED, _POLICY, frozenset({"content_filter"})),
    Meaning("xxx", FailedKind.QUOTA, _NO_CREDIT, frozenset({"insufficient_quota", "billing_hard_limit_reached"})),
    Meaning("xxx", FailedKind.GONE, _NO_MODEL, frozenset({"model_not_found"})),
    Meaning("xxx", FailedKind.AUTH, _NO_CREDENTIAL, frozenset({"invalid_api_key"})),
    Meaning("xxx", FailedKind.MODERATED, _POLICY, frozenset({""}), frozenset({"image_generation_user_error"})),
    Meaning("2xx", FailedKind.UPSTREAM, "The provider reported an error."),
    Meaning("3xx", FailedKind.GONE, "The provider's address has moved."),
    Meaning("401 403", FailedKind.AUTH, _NO_CREDENTIAL),
    Meaning("402", FailedKind.QUOTA, _NO_CREDIT),
    Meaning("404 405 410", FailedKind.GONE, _NO_MODEL),
    # proxies answer 408 when their own upstream timed out, 409 while a request with our key is still at work
    Meaning("408 409", FailedKind.UNKNOWN, _NO_END),
    Meaning("425", FailedKind.RETRY, _TRANSIENT),
    Meaning("429", FailedKind.RETRY, "The provider limits our rate."),
    Meaning("4xx", FailedKind.INVALID, "The provider refused the input."),
    Meaning("500 503", _RETRY, _TRANSIENT, late=_UNKNOWN, silent=_UNKNOWN),
    Meaning("xxx", FailedKind.UNKNOWN, _NO_END),
)
"""The first row that fits decides (`wire/providers.md §7.2, §7.5, §10.1`)."""


class OpenAI(Provider):
    """One account at OpenAI or at a compatible server; `base_url` ends before `/images`.

    Raises:
        ValueError: the base URL cannot be used.

    """

    kind = "openai"
    media_inputs = MediaInputs.FILE
    schedule = PollSchedule()

    def __init__(self, name: str, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self.name = name
        self.base_url, host, port = _base(name, settings.base_url or BASE_URL)
        self.output_hosts = frozenset({f"{host}:{port}"})
        self.idempotency = Idempotency.KEY if settings.idempotency == "key" else Idempotency.NONE
        self._settings = settings
        self._key = settings.api_key.get_secret_value().strip() if settings.api_key else ""
        self._needs_key = host == URL(BASE_URL).host
        self._clock = clock or SystemClock()

    def submit(self, call: Call) -> Steps[Outcome]:
        """Ask for pictures; the answer is the end (`wire/providers.md §7.2`)."""
        if self._needs_key and not self._key:
            return Failed(FailedKind.AUTH, "The provider has no credential.", detail=f"{self.name}: set api_key")
        if call.operation is Operation.IMAGE_TO_IMAGE and not call.files:
            return Failed(FailedKind.INVALID, "An image to edit is required.", field="image")
        started_ms = self._clock.now_ms()
        answer: HttpResponse = yield self._edit(call) if call.files else self._generate(call)
        elapsed_ms = self._clock.now_ms() - started_ms
        return self._failed(call, answer, elapsed_ms) if _refused(answer) else _delivered(answer)

    def poll(self, handle: Handle) -> Steps[Outcome]:  # noqa: ARG002  (there is nothing to ask for)
        """Never needed: this API answers at once."""
        return immediately(Failed(FailedKind.UNKNOWN, "The provider keeps no jobs that can be asked for."))

    def cancel(self, handle: Handle) -> Steps[bool]:  # noqa: ARG002
        """Cannot be done."""
        return immediately(False)

    def lookup(self, call: Call) -> Steps[Outcome | None]:  # noqa: ARG002
        """Cannot be done."""
        return immediately(None)

    def _generate(self, call: Call) -> HttpRequest:
        body = msgspec.json.encode({"model": call.upstream_model, **_set(call.input)})
        return self._post("/images/generations", call, {"Content-Type": "application/json"}, body=body)

    def _edit(self, call: Call) -> HttpRequest:
        parts = [Part("model", call.upstream_model)]
        for name, value in _set(call.input).items():
            if name not in call.files:
                parts += _fields(name, value)
        masks = [file for name, files in call.files.items() if name.startswith("mask") for file in files]
        images = [file for name, files in call.files.items() if not name.startswith("mask") for file in files]
        parts += [Part("image" if len(images) == 1 else "image[]", file) for file in images]
        parts += [Part("mask", file) for file in masks[:1]]
        return self._post("/images/edits", call, {}, multipart=tuple(parts))

    def _post(
        self,
        path: str,
        call: Call,
        headers: dict[str, str],
        body: bytes | None = None,
        multipart: tuple[Part, ...] | None = None,
    ) -> HttpRequest:
        headers["Accept"] = "application/json"
        if self._key:
            headers["Authorization"] = f"Bearer {self._key}"
        if self.idempotency is Idempotency.KEY:
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
            max_bytes=MAX_OUTPUT_BYTES * max(1, call.outputs),
        )

    def _failed(self, call: Call, answer: HttpResponse, elapsed_ms: int) -> Failed:
        error = error_body(answer)
        kind, message = meaning_of(MEANINGS, answer.status, error, late=elapsed_ms > QUICK_MS)
        said = error or ErrorBody()
        text = said.message if call.data_class is not DataClass.PHI else ""
        words = redacted(f"HTTP {answer.status} {said.type} {said.code} {text}", [self._key, *_prose(call.input)])
        request_id = answer.headers.get("x-request-id", "")
        return Failed(
            kind,
            message,
            detail=f"{words} ({request_id})" if re.fullmatch(r"[\w.-]{1,80}", request_id) else words,
            code=said.code if re.fullmatch(r"[a-z0-9_.-]{1,64}", said.code) else None,
            status=answer.status,
            field=said.param if said.param in call.input or said.param in call.files else None,
            retry_after_s=retry_after_s(answer, self._clock),
        )


class _Item(Struct):
    b64_json: Raw = Raw()
    url: Raw = Raw()
    revised_prompt: Any = None


class _Answer(Struct):
    data: list[_Item]
    usage: Any = None
    output_format: Any = None
    size: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)
_TEXT = msgspec.json.Decoder(str)
_MALFORMED = "The provider's answer could not be read."


def _delivered(answer: HttpResponse) -> Outcome:
    request_id = answer.headers.get("x-request-id")
    try:
        said = _ANSWER.decode(answer.body)
        outputs = tuple(output for item in said.data if (output := _output(item, said)) is not None)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Failed(FailedKind.UNKNOWN, _MALFORMED, detail=f"HTTP {answer.status}, no images", status=answer.status)
    if not outputs:
        return Failed(FailedKind.UPSTREAM, "The provider delivered no image.", status=answer.status)
    usage, cost = _usage(said.usage)
    return Succeeded(outputs, usage=usage, cost=cost, upstream_id=request_id)


def _output(item: _Item, said: _Answer) -> Output | None:
    kind = f"image/{said.output_format}" if isinstance(said.output_format, str) else None
    size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", said.size) if isinstance(said.size, str) else None
    width, height = (int(size[1]), int(size[2])) if size else (None, None)
    text = item.revised_prompt if isinstance(item.revised_prompt, str) else None
    if encoded := _base64(item.b64_json):
        return Output(base64=encoded, content_type=kind, width=width, height=height, text=text)
    url = _TEXT.decode(item.url) if bytes(item.url) not in (b"", b"null") else ""
    if url.startswith("data:"):
        return Output(base64=url.partition(",")[2].encode(), content_type=kind, width=width, height=height, text=text)
    return Output(url=url, content_type=kind, width=width, height=height, text=text) if url else None


def _base64(raw: Raw) -> bytes:
    """Return the text between the quotes as it was written; only a text with escapes is decoded at all."""
    view = memoryview(raw)
    if bytes(view[:4]) in (b"", b"null"):
        return b""
    if view[0] != ord('"'):
        raise msgspec.ValidationError("b64_json is not a text")
    text = bytes(view[1:-1])
    if b"\\" in text:
        text = _TEXT.decode(raw).encode()
    return text.partition(b",")[2] if text.startswith(b"data:") else text


def _usage(said: Any) -> tuple[dict[str, int], Cost | None]:
    """Return token counts under the names prices use, text and image input apart (`wire/providers.md §7.2`)."""
    if not isinstance(said, dict):
        return {}, None
    details = said.get("input_tokens_details")
    parts = details if isinstance(details, dict) else {}
    images = _count(parts.get("image_tokens"))
    whole = _count(said.get("input_tokens"))
    text = _count(parts.get("text_tokens"))
    if text is None and whole is not None:
        text = max(0, whole - (images or 0))
    made = _count(said.get("output_tokens"))
    counts = {"input_tokens": text, "input_image_tokens": images, "output_tokens": made}
    usage = {name: count for name, count in counts.items() if count is not None}
    return usage, Cost(amount=str(sum(usage.values())), unit="tokens", source="response") if usage else None


def _count(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None


def _refused(answer: HttpResponse) -> bool:
    """Say whether the answer is an error, which some compatible servers send with status 200."""
    if not answer.ok:
        return True
    return len(answer.body) < 65_536 and b'"error"' in answer.body and b'"data"' not in answer.body


def _set(fields: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in fields.items() if value is not None}


def _fields(name: str, value: Any) -> Iterator[Part]:
    """Write a value as form fields, as OpenAI's own client does (`wire/providers.md §7.1`)."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _fields(f"{name}[{key}]", item)
    elif isinstance(value, list):
        for item in value:
            yield from _fields(f"{name}[]", item)
    else:
        yield Part(name, str(value).lower() if isinstance(value, bool) else str(value))


def _prose(fields: dict[str, Any]) -> Iterator[str]:
    """Return the caller's own words, which an error text may quote."""
    return (value for value in fields.values() if isinstance(value, str) and (" " in value or len(value) > 24))


def _base(name: str, base_url: str) -> tuple[str, str, int]:
    try:
        url = URL(base_url.strip())
        host, port = url.host, url.port
    except ValueError:
        host = port = None
    if not host or not port or url.scheme not in ("http", "https") or url.raw_user or url.raw_query_string:
        raise ValueError(f"providers.{name}.base_url must be like {BASE_URL}, without a user name or a query")
    return str(url).rstrip("/"), host, port
