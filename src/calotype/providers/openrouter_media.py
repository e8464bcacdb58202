"""Pictures and sound over OpenRouter (`wire/providers.md §6.2, §6.4`)."""

from typing import Any

from msgspec.structs import replace

from calotype.kernel.outcome import Cost, Failed, FailedKind, Outcome, Succeeded
from calotype.kernel.steps import HttpResponse, Steps, TransportError, Wait
from calotype.providers.answers import is_name
from calotype.providers.base import Call
from calotype.providers.openai_account import Account, given
from calotype.providers.openai_audio import speech, written
from calotype.providers.openai_chat import token_usage
from calotype.providers.openai_images import delivered
from calotype.providers.openrouter_bill import bill

REFERENCES = ("image", "images", "image_url", "image_urls")
"""Fields of the input whose pictures the model looks at."""
SOUND_FORMATS = {
    "audio/mpeg": "mp3", "audio/mp3": "mp3", "audio/wav": "wav", "audio/x-wav": "wav", "audio/flac": "flac",
    "audio/x-flac": "flac", "audio/mp4": "m4a", "audio/x-m4a": "m4a", "audio/aac": "aac", "audio/ogg": "ogg",
    "audio/webm": "webm", "video/webm": "webm", "video/mp4": "mp4",
}  # fmt: skip
ASKED_AGAIN_S = 0.5


def pictures(account: Account, call: Call, extra: dict[str, Any]) -> Steps[Outcome]:
    """Ask for pictures; the answer is the end."""
    body = {"model": call.upstream_model, **with_references(given(call.input)), **extra}
    answer = yield from account.ask(call, account.post("/images", call, body))
    return answer if isinstance(answer, Failed) else delivered(answer, _picture_usage)


def with_references(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the fields with the input's pictures where OpenRouter looks for them."""
    urls: list[str] = []
    for name in REFERENCES:
        value = fields.pop(name, None)
        urls += value if isinstance(value, list) else [value] if isinstance(value, str) else []
    return {**fields, "input_references": [pointer(url) for url in urls]} if urls else fields


def pointer(url: str) -> dict[str, Any]:
    """Write the address of a picture, which may be a data URI."""
    return {"type": "image_url", "image_url": {"url": url}}


def spoken(account: Account, call: Call, extra: dict[str, Any]) -> Steps[Outcome]:
    """Have a text spoken. The recording carries no bill: that is asked for by the answer's id, and may come late."""
    outcome = yield from speech(account, call, extra)
    if not isinstance(outcome, Succeeded) or not is_name(outcome.upstream_id, 100):
        return outcome
    return replace(outcome, cost=(yield from _billed(account, outcome.upstream_id)))


def _billed(account: Account, ident: str) -> Steps[Cost | None]:
    """Ask what a generation cost (§6.5); it is unknown for a moment after its end, and nothing depends on it."""
    for pause_s in (0.0, ASKED_AGAIN_S):
        try:
            if pause_s:
                yield Wait(pause_s)
            answer: HttpResponse = yield account.get(f"/generation?id={ident}", timeout_s=5.0)
        except TransportError:
            return None
        body = answer.json() if answer.ok else None
        data = body.get("data") if isinstance(body, dict) else None
        if isinstance(data, dict):
            return bill({"cost": data.get("total_cost")})
    return None


def heard(account: Account, call: Call, extra: dict[str, Any]) -> Steps[Outcome]:
    """Have a recording written down; the full form is asked for, as it holds the length and the times."""
    fields = given(call.input)
    uri = fields.pop("audio_url", None)
    head, comma, data = uri.partition(",") if isinstance(uri, str) else ("", "", "")
    kind = head.removeprefix("data:").partition(";")[0].lower()
    if not comma or kind not in SOUND_FORMATS:
        known = "mp3, wav, flac, m4a, aac, ogg or webm"
        return Failed(FailedKind.INVALID, f"A recording as {known} is required.", field="audio_url")
    fields |= {"input_audio": {"data": data, "format": SOUND_FORMATS[kind]}, "response_format": "verbose_json"}
    body = {"model": call.upstream_model, **fields, **extra}
    answer = yield from account.ask(call, account.post("/audio/transcriptions", call, body))
    if isinstance(answer, Failed):
        return answer
    said = answer.json()
    return written(call, answer, said, bill(said.get("usage")) if isinstance(said, dict) else None)


def _picture_usage(said: Any) -> tuple[dict[str, int], Cost | None]:
    counted = token_usage(said)
    return {name: counted[name] for name in ("input_tokens", "output_tokens") if name in counted}, bill(said)
