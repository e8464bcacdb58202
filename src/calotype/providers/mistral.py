"""Mistral: transcription and speech by Voxtral, and documents read as text; chat as OpenAI speaks it.

Facts beyond `wire/providers.md` are those of Mistral's own API reference: `/v1/audio/transcriptions` (multipart, billed
by `prompt_audio_seconds`), `/v1/audio/speech` (answers base64 in `audio_data`), `/v1/ocr` (Markdown by page, billed by
`pages_processed`), and one shape of errors. Everything answers at once, and nothing guards against doing it twice.
"""

import binascii
from collections.abc import Callable
from typing import Any

import pybase64
from msgspec.structs import replace

from calotype.kernel.clock import Clock
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Output, Succeeded
from calotype.kernel.steps import HttpResponse, Part, Steps
from calotype.providers.answers import immediately
from calotype.providers.base import Call, Check, Handle, MediaInputs, PollSchedule, Provider
from calotype.providers.openai_account import Account, count, given
from calotype.providers.openai_audio import CONTENT_TYPES, written
from calotype.providers.openai_chat import Manner, chat, token_cost
from calotype.providers.openai_errors import MALFORMED, MEANINGS
from calotype.settings import ProviderSettings

BASE_URL = "https://api.mistral.ai/v1"
TIMED_FORMS = ("verbose_json", "srt", "vtt")
"""Forms of a transcription that need times; Mistral gives them only where the language is not told."""
_NO_PROMPT = "the model takes no prompt; it was left out"
_NO_LANGUAGE = "the model recognises the language by itself where times are asked for; it was left out"


class Mistral(Provider):
    """One account at Mistral, or at a server that speaks as it does; `base_url` ends with `/v1`.

    Raises:
        ValueError: the base URL cannot be used.

    """

    kind = "mistral"
    media_inputs = MediaInputs.DATA
    schedule = PollSchedule()

    def __init__(self, name: str, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self.name = name
        self._account = Account(
            name, settings, settings.base_url or BASE_URL, MEANINGS, clock, example=BASE_URL, must_have_key=True
        )
        self.idempotency = self._account.idempotency
        self.output_hosts = frozenset({f"{self._account.host}:{self._account.port}"})

    def submit(self, call: Call) -> Steps[Outcome]:
        """Do what is asked; the answer is the end."""
        does = _DOES.get(call.operation)
        if does is None:
            return immediately(Failed(FailedKind.GONE, f"The provider does no {call.operation}."))
        lacking = self._account.lacking
        return immediately(lacking) if lacking is not None else does(self._account, call)

    def poll(self, handle: Handle) -> Steps[Outcome]:  # noqa: ARG002  (there is nothing to ask for)
        """Never needed: this API answers at once."""
        return immediately(Failed(FailedKind.UNKNOWN, "The provider keeps no jobs that can be asked for."))

    def cancel(self, handle: Handle) -> Steps[bool]:  # noqa: ARG002
        """Cannot be done."""
        return immediately(False)

    def lookup(self, call: Call) -> Steps[Outcome | None]:  # noqa: ARG002
        """Cannot be done."""
        return immediately(None)

    def check(self) -> Steps[Check | None]:
        """List the models, which any valid credential may."""
        answer: HttpResponse = yield self._account.get("/models")
        return Check.of(answer.status)


def _transcription(account: Account, call: Call) -> Steps[Outcome]:
    body = _bytes(call.input.get("audio_url"))
    if body is None:
        return Failed(FailedKind.INVALID, "A recording is required.", field="audio_url")
    timed = call.input.get("response_format") in TIMED_FORMS
    parts = [Part("model", call.upstream_model), Part("file", body, filename="audio")]
    warnings = [_NO_PROMPT] if call.input.get("prompt") else []
    if timed:
        parts.append(Part("timestamp_granularities", "segment"))
        warnings += [_NO_LANGUAGE] if call.input.get("language") else []
    elif language := call.input.get("language"):
        parts.append(Part("language", str(language)))
    if call.input.get("temperature") is not None:
        parts.append(Part("temperature", str(call.input["temperature"])))
    answer = yield from account.ask(call, account.form("/audio/transcriptions", call, parts))
    if isinstance(answer, Failed):
        return answer
    outcome = written(call, answer, _as_openai(answer.json()), None)
    if not isinstance(outcome, Succeeded):
        return outcome
    return replace(outcome, warnings=(*outcome.warnings, *warnings))


def _as_openai(body: Any) -> Any:
    """Write the counts of a transcription as OpenAI does."""
    usage = body.get("usage") if isinstance(body, dict) else None
    if not isinstance(usage, dict):
        return body
    counts = {
        "seconds": usage.get("prompt_audio_seconds"),
        "input_tokens": usage.get("prompt_tokens"),
        "output_tokens": usage.get("completion_tokens"),
    }
    return {**body, "usage": given(counts)}


def _speech(account: Account, call: Call) -> Steps[Outcome]:
    fields = given(call.input)
    body = {
        "model": call.upstream_model,
        "input": fields.get("input"),
        "voice_id": fields.get("voice"),
        "response_format": fields.get("response_format", "mp3"),
        "stream": False,
    }
    answer = yield from account.ask(call, account.post("/audio/speech", call, given(body)))
    if isinstance(answer, Failed):
        return answer
    said = answer.json()
    encoded = said.get("audio_data") if isinstance(said, dict) else None
    if not isinstance(encoded, str):
        return Failed(FailedKind.UNKNOWN, MALFORMED, detail=f"HTTP {answer.status}, no audio", status=answer.status)
    if not encoded:
        return Failed(FailedKind.UPSTREAM, "The provider delivered no recording.", status=answer.status)
    kind = CONTENT_TYPES.get(str(body["response_format"]))
    return Succeeded((Output(base64=encoded.encode(), content_type=kind),))


def _ocr(account: Account, call: Call) -> Steps[Outcome]:
    """Read a document; the whole answer is passed on as `raw`, the pages in our own form."""
    fields = given(call.input)
    document = fields.pop("document", None)
    if not isinstance(document, str):
        return Failed(FailedKind.INVALID, "A document is required.", field="document")
    kind = "image_url" if document.startswith("data:image/") else "document_url"
    body = {"model": call.upstream_model, "document": {"type": kind, kind: document}, **fields}
    answer = yield from account.ask(call, account.post("/ocr", call, body))
    if isinstance(answer, Failed):
        return answer
    said = answer.json()
    listed = said.get("pages") if isinstance(said, dict) else None
    pages = [page for page in listed if isinstance(page, dict)] if isinstance(listed, list) else None
    if pages is None:
        return Failed(FailedKind.UNKNOWN, MALFORMED, detail=f"HTTP {answer.status}, no pages", status=answer.status)
    usage = said.get("usage_info")
    billed = count(usage.get("pages_processed")) if isinstance(usage, dict) else None
    read = [{"index": page.get("index", n), "markdown": str(page.get("markdown", ""))} for n, page in enumerate(pages)]
    data = {"pages": read, "page_count": len(read), "raw": said}
    return Succeeded(data=data, usage={"pages": len(read) if billed is None else billed})


def _bytes(value: Any) -> bytes | None:
    """Return what a data URI holds."""
    if not isinstance(value, str) or not value.startswith("data:"):
        return None
    try:
        return pybase64.b64decode(value.partition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        return None


_DOES: dict[Operation, Callable[[Account, Call], Steps[Outcome]]] = {
    Operation.TRANSCRIPTION: _transcription,
    Operation.TEXT_TO_SPEECH: _speech,
    Operation.OCR: _ocr,
    Operation.CHAT: lambda account, call: chat(account, call, Manner(cost_of=token_cost, asks_usage=False)),
}
