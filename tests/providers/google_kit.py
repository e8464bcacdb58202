"""Driving Google's conversations with recorded answers."""

import base64
from typing import Any

import msgspec
from pydantic import SecretStr

from calotype.kernel.clock import ManualClock
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Outcome
from calotype.kernel.steps import HttpRequest, HttpResponse, Parallel
from calotype.providers.base import Call
from calotype.providers.google import Google
from calotype.settings import ProviderSettings

KEY = "AIzaSyTest-0123456789abcdefghijklmnopqrs"
BASE = "https://generativelanguage.googleapis.com"
PROMPT = "a very private garden by the sea"
B64 = base64.b64encode(b"picture bytes").decode()
PICTURE = f"data:image/png;base64,{B64}"


def provider(clock: ManualClock | None = None, **settings: Any) -> Google:
    settings.setdefault("api_key", SecretStr(KEY))
    return Google("google", ProviderSettings(kind="google", **settings), clock)


def call(operation: Operation, model: str, fields: dict[str, Any] | None = None, **more: Any) -> Call:
    return Call("job", 1, "token-1", operation, model, {"prompt": PROMPT} if fields is None else fields, **more)


def answer(body: Any, status: int = 200, **headers: str) -> HttpResponse:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def told(steps: Any, *answers: Any) -> tuple[list[Any], Any]:
    """Drive a conversation; return its steps and its end. Several requests at once take a tuple of answers."""
    asked = [next(steps)]
    for number, one in enumerate(answers, 1):
        said = (one,) if isinstance(asked[-1], Parallel) and not isinstance(one, tuple) else one
        try:
            step = steps.throw(said) if isinstance(said, Exception) else steps.send(said)
        except StopIteration as end:
            assert number == len(answers), "it ended early"
            return asked, end.value
        asked.append(step)
    raise AssertionError("the conversation goes on")


def submitted(call_: Call, *answers: Any, **settings: Any) -> tuple[list[HttpRequest], Outcome]:
    """Submit a call; return every request it sent, those at once one after the other, and its end."""
    steps, outcome = told(provider(**settings).submit(call_), *answers)
    return [one for step in steps for one in (step.requests if isinstance(step, Parallel) else (step,))], outcome


def body_of(request: HttpRequest) -> Any:
    assert isinstance(request.body, bytes)
    return msgspec.json.decode(request.body)


def error(status: int, word: str, text: str = "no", *details: dict[str, Any]) -> HttpResponse:
    return answer({"error": {"code": status, "message": text, "status": word, "details": list(details)}}, status)


def quota(period: str) -> dict[str, Any]:
    return {
        "@type": "type.googleapis.com/google.rpc.QuotaFailure",
        "violations": [{"quotaId": f"GenerateRequestsPer{period}PerProjectPerModel-FreeTier"}],
    }


def picture(data: str = B64, **more: Any) -> HttpResponse:
    """An answer with one picture, as Google gives it."""
    usage = {
        "promptTokenCount": 270, "candidatesTokenCount": 1120, "totalTokenCount": 1390,
        "promptTokensDetails": [{"modality": "TEXT", "tokenCount": 12}, {"modality": "IMAGE", "tokenCount": 258}],
        "candidatesTokensDetails": [{"modality": "IMAGE", "tokenCount": 1120}],
    }  # fmt: skip
    part = {"inlineData": {"mimeType": "image/png", "data": data}}
    candidate = {"index": 0, "finishReason": "STOP", "content": {"role": "model", "parts": [part]}}
    return answer({"candidates": [candidate], "usageMetadata": usage, "responseId": "r1", **more})


def ended(reason: str, *parts: dict[str, Any]) -> HttpResponse:
    """An answer that ends for this reason."""
    return answer({"candidates": [{"finishReason": reason, "content": {"role": "model", "parts": list(parts)}}]})
