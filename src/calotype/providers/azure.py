"""Azure's speech and document services: transcription, neural voices, documents read as text.

A resource lies in one region and has a key of its own, so an instance is one resource and its base URL must be set:
`azure-ch`, `azure-eu` and `azure-us` are the names that cards use. OpenAI's models at Azure are of the kind `openai`.
"""

import re
from collections.abc import Callable
from typing import Any

import msgspec
from yarl import URL

from calotype.kernel.clock import Clock, SystemClock
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Output, Pending, Succeeded
from calotype.kernel.steps import FileRef, HttpRequest, HttpResponse, Part, Steps
from calotype.providers.answers import immediately, redacted, retry_after_s
from calotype.providers.azure_calls import (
    DOCUMENT_VERSION,
    FORMATS,
    LOCALES,
    SPEECH_VERSION,
    as_openai,
    base_of,
    pages_of,
    speech_url,
    ssml,
)
from calotype.providers.base import Call, Check, Handle, Idempotency, MediaInputs, PollSchedule, Provider
from calotype.providers.errors import ErrorBody, Meaning, error_body, meaning_of
from calotype.providers.openai_audio import CONTENT_TYPES, written
from calotype.settings import ProviderSettings

QUICK_MS = 5_000
"""An error answer that comes sooner than this is a refusal; a later one may have been paid for."""
POLL_TIMEOUT_S = 30.0
MAX_ANSWER_BYTES = 64 * 1024 * 1024
_QUOTA_CODES = frozenset({"QuotaExceeded", "OutOfQuota", "InsufficientQuota"})
_UNKNOWN = FailedKind.UNKNOWN
_NO_END = "The provider did not say how the request ended."
_NO_PROMPT = "the service takes no prompt; it was left out"

MEANINGS: tuple[Meaning, ...] = (
    Meaning("4xx", FailedKind.QUOTA, "The provider's account is out of quota.", _QUOTA_CODES),
    Meaning("401 403", FailedKind.AUTH, "The provider refused our credential."),
    Meaning("402", FailedKind.QUOTA, "The provider's account is out of credit."),
    Meaning("3xx 404 405 410", FailedKind.GONE, "The provider does not have this service."),
    Meaning("408 409", _UNKNOWN, _NO_END),
    Meaning("429", FailedKind.RETRY, "The provider limits our rate."),
    Meaning("4xx", FailedKind.INVALID, "The provider refused the input."),
    Meaning("500 503", FailedKind.RETRY, "The provider cannot take the request now.", late=_UNKNOWN, silent=_UNKNOWN),
    Meaning("xxx", _UNKNOWN, _NO_END),
)
"""What an answer means when it is not a 2xx; the first row that fits decides."""


class Azure(Provider):
    """One resource of Azure's AI services.

    Raises:
        ValueError: the base URL is missing or cannot be used.

    """

    kind = "azure"
    idempotency = Idempotency.NONE
    media_inputs = MediaInputs.FILE
    schedule = PollSchedule(first_s=1.0, factor=1.3, max_s=5.0)

    def __init__(self, name: str, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self.name = name
        self._base = base_of(name, settings.base_url)
        self.output_hosts = frozenset({f"{self._base.host}:{self._base.port}"})
        self._settings = settings
        self._key = settings.api_key.get_secret_value().strip() if settings.api_key else ""
        self._clock = clock or SystemClock()

    def submit(self, call: Call) -> Steps[Outcome]:
        """Do what is asked; a document is read later, everything else is answered at once."""
        does: dict[Operation, Callable[[Call], Steps[Outcome]]] = {
            Operation.TRANSCRIPTION: self._transcription,
            Operation.TEXT_TO_SPEECH: self._speech,
            Operation.OCR: self._document,
        }
        if not self._key:
            detail = f"{self.name}: set api_key"
            return immediately(Failed(FailedKind.AUTH, "The provider has no credential.", detail=detail))
        if call.operation not in does:
            return immediately(Failed(FailedKind.GONE, f"The provider does no {call.operation}."))
        return does[call.operation](call)

    # -- speech -------------------------------------------------------------------------------------------------------

    def _transcription(self, call: Call) -> Steps[Outcome]:
        file = _only_file(call)
        if file is None:
            return Failed(FailedKind.INVALID, "One recording is required.", field="audio_url")
        locale = LOCALES.get(str(call.input.get("language")))
        definition = msgspec.json.encode({"locales": [locale]} if locale else {})
        parts = (
            Part("definition", definition, content_type="application/json"),
            Part("audio", file, filename=file.name),
        )
        url = f"{self._root}/speechtotext/transcriptions:transcribe?api-version={SPEECH_VERSION}"
        answer = yield from self._asked(call, self._post(url, {"Accept": "application/json"}, multipart=parts))
        if isinstance(answer, Failed):
            return answer
        outcome = written(call, answer, as_openai(answer.json()), None)
        if isinstance(outcome, Succeeded) and call.input.get("prompt"):
            return msgspec.structs.replace(outcome, warnings=(*outcome.warnings, _NO_PROMPT))
        return outcome

    def _speech(self, call: Call) -> Steps[Outcome]:
        shape = str(call.input.get("response_format") or "mp3")
        if shape not in FORMATS:
            message = f"response_format must be one of {', '.join(FORMATS)}."
            return Failed(FailedKind.INVALID, message, field="response_format")
        headers = {"Content-Type": "application/ssml+xml", "X-Microsoft-OutputFormat": FORMATS[shape]}
        answer = yield from self._asked(call, self._post(speech_url(self._base, "v1"), headers, ssml(call.input)))
        if isinstance(answer, Failed):
            return answer
        if not answer.body:
            return Failed(FailedKind.UPSTREAM, "The provider delivered no recording.", status=answer.status)
        return Succeeded((Output(data=answer.body, content_type=CONTENT_TYPES[shape]),))

    # -- documents ----------------------------------------------------------------------------------------------------

    def _document(self, call: Call) -> Steps[Outcome]:
        file = _only_file(call)
        if file is None:
            return Failed(FailedKind.INVALID, "A document is required.", field="document")
        query = {"api-version": DOCUMENT_VERSION, "stringIndexType": "unicodeCodePoint"}
        if pages := call.input.get("pages"):
            query["pages"] = ",".join(str(page + 1) for page in pages)
        path = f"/documentintelligence/documentModels/{call.upstream_model}:analyze"
        url = str(URL(self._root + path).with_query(query))
        answer = yield from self._asked(call, self._post(url, {"Content-Type": file.content_type}, file))
        if isinstance(answer, Failed):
            return answer
        place = answer.headers.get("operation-location", "")
        if not _of_origin(place, self._base):
            detail = f"HTTP {answer.status} without an operation-location of ours"
            return Failed(_UNKNOWN, "The provider's answer could not be read.", detail=detail)
        ident = URL(place).path.rpartition("/")[2]
        return Pending({"url": place}, upstream_id=ident[:100] or None, poll_after_s=retry_after_s(answer, self._clock))

    def poll(self, handle: Handle) -> Steps[Outcome]:
        """Ask how far the reading of a document is."""
        answer: HttpResponse = yield self._get(handle["url"])
        body = answer.json()
        said = body if isinstance(body, dict) else {}
        status = said.get("status")
        if answer.ok and status == "succeeded" and isinstance(said.get("analyzeResult"), dict):
            pages = pages_of(said["analyzeResult"])
            data = {"pages": pages, "page_count": len(pages), "raw": said["analyzeResult"]}
            return Succeeded(data=data, usage={"pages": len(pages)})
        if answer.ok and status in ("failed", "canceled", "skipped"):
            error = said.get("error")
            code = error.get("code") if isinstance(error, dict) else None
            kind = FailedKind.INVALID if code in ("InvalidRequest", "InvalidContent") else FailedKind.UPSTREAM
            return Failed(
                kind, "The provider could not read the document.", detail=f"{status} {code}", code=_code(code)
            )
        if answer.ok and isinstance(status, str):
            return Pending(handle, poll_after_s=retry_after_s(answer, self._clock))
        if answer.status == 404 and said.get("error"):
            return Failed(FailedKind.UPSTREAM, "The provider no longer knows the request.", status=404)
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

    def check(self) -> Steps[Check | None]:
        """Ask both services of a resource, of which it may have one."""
        documents = f"{self._root}/documentintelligence/info?api-version={DOCUMENT_VERSION}"
        answer: HttpResponse = yield self._get(documents)
        voices: HttpResponse = yield self._get(speech_url(self._base, "voices/list"))
        served = [name for name, one in (("documents", answer), ("speech", voices)) if one.ok]
        note = f"serves {' and '.join(served)}" if served else f"HTTP {answer.status}, HTTP {voices.status}"
        return Check.of(200 if served else max(answer.status, voices.status, key=lambda s: s in (401, 403)), note=note)

    # -- how it is asked ----------------------------------------------------------------------------------------------

    def _asked(self, call: Call, request: HttpRequest) -> Steps[HttpResponse | Failed]:
        started_ms = self._clock.now_ms()
        answer: HttpResponse = yield request
        if answer.ok:
            return answer
        error = error_body(answer)
        kind, message = meaning_of(
            MEANINGS, answer.status, error, late=self._clock.now_ms() - started_ms > QUICK_MS
        )  # fmt: skip
        said = error or ErrorBody()
        text = said.message if call.data_class is not DataClass.PHI else ""
        prose = [value for value in call.input.values() if isinstance(value, str)]
        return Failed(
            kind,
            message,
            detail=redacted(f"HTTP {answer.status} {said.code} {text}", [self._key, *prose]),
            code=_code(said.code),
            status=answer.status,
            retry_after_s=retry_after_s(answer, self._clock),
        )

    def _post(
        self, url: str, headers: dict[str, str], body: bytes | FileRef | None = None,
        multipart: tuple[Part, ...] | None = None,
    ) -> HttpRequest:  # fmt: skip
        return HttpRequest(
            "POST",
            url,
            headers={**self._authorized(), **headers},
            body=body,
            multipart=multipart,
            commits=True,
            connect_timeout_s=self._settings.connect_timeout_s,
            read_timeout_s=self._settings.read_timeout_s,
            total_timeout_s=self._settings.read_timeout_s + 120.0,
            max_bytes=MAX_ANSWER_BYTES,
        )

    def _get(self, url: str) -> HttpRequest:
        return HttpRequest(
            "GET", url, self._authorized(), read_timeout_s=POLL_TIMEOUT_S, total_timeout_s=120.0,
            max_bytes=MAX_ANSWER_BYTES,
        )  # fmt: skip

    @property
    def _root(self) -> str:
        return str(self._base).rstrip("/")

    def _authorized(self) -> dict[str, str]:
        return {"Ocp-Apim-Subscription-Key": self._key}


def _only_file(call: Call) -> FileRef | None:
    files = [file for group in call.files.values() for file in group]
    return files[0] if len(files) == 1 else None


def _of_origin(url: str, base: URL) -> bool:
    try:
        return URL(url).origin() == base.origin()
    except ValueError:
        return False


def _code(code: Any) -> str | None:
    return code if isinstance(code, str) and re.fullmatch(r"[A-Za-z0-9_.]{1,64}", code) else None
