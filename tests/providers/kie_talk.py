"""Talking to the KIE adapter without a socket: calls, recorded answers and what becomes of them."""

from collections.abc import Generator
from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from calotype.kernel.clock import ManualClock
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, Outcome, Pending
from calotype.kernel.steps import HttpRequest, HttpResponse
from calotype.providers.base import Call
from calotype.providers.kie import Kie
from calotype.settings import ProviderSettings

KEY = "5f0c2ad1beef5f0c2ad1beef"
PROMPT = "a very private garden by the sea"
TASK = "task_019d9e0b000070008000000000000000"
T2I, I2I, T2V, I2V = (
    Operation.TEXT_TO_IMAGE,
    Operation.IMAGE_TO_IMAGE,
    Operation.TEXT_TO_VIDEO,
    Operation.IMAGE_TO_VIDEO,
)


def provider(clock: ManualClock | None = None, **settings: Any) -> Kie:
    settings.setdefault("api_key", SecretStr(KEY))
    return Kie("kie", ProviderSettings(kind="kie", **settings), clock or ManualClock())


def call(model: str = "z-image", operation: Operation = T2I, **changes: Any) -> Call:
    fields = {"prompt": PROMPT, "aspect_ratio": "1:1", "seed": None, **changes.pop("input", {})}
    return Call("job", 1, "job-1", operation, model, fields, **changes)


def answer(body: Any, status: int = 200, **headers: str) -> HttpResponse:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def said(code: int, text: str = "no", data: Any = None, status: int = 200, **headers: str) -> HttpResponse:
    return answer({"code": code, "msg": text, "data": data}, status, **headers)


TAKEN = said(200, "success", {"taskId": TASK, "recordId": TASK})


def told(steps: Generator[Any, Any, Any], *answers: Any) -> tuple[list[Any], Any]:
    """Drive a conversation; return its steps and its end."""
    asked = [next(steps)]
    for one in answers:
        try:
            step = steps.throw(one) if isinstance(one, Exception) else steps.send(one)
        except StopIteration as end:
            assert one is answers[-1]
            return asked, end.value
        asked.append(step)
    raise AssertionError("the conversation goes on")


def end_of(steps: Generator[Any, Any, Any]) -> Any:
    """Return the end of a conversation without a step."""
    with pytest.raises(StopIteration) as end:
        next(steps)
    return end.value.value


def posted(one: Call, **settings: Any) -> tuple[HttpRequest, dict[str, Any]]:
    """Return the create of a call without files, and its body."""
    (request,), outcome = told(provider(**settings).submit(one), TAKEN)
    assert isinstance(outcome, Pending) and request.commits
    return request, msgspec.json.decode(request.body)


def refused(response: HttpResponse, one: Call | None = None, **settings: Any) -> Failed:
    outcome = told(provider(**settings).submit(one or call()), response)[1]
    assert isinstance(outcome, Failed)
    return outcome


def handle(family: str = "jobs", **more: Any) -> dict[str, Any]:
    made = {"id": TASK, "family": family, "at_ms": ManualClock().now_ms(), "slow": False, "outputs": 1}
    return {**made, **more}


def polled(response: HttpResponse, family: str = "jobs", clock: ManualClock | None = None, **more: Any) -> Outcome:
    outcome: Outcome = told(provider(clock).poll(handle(family, **more)), response)[1]
    return outcome
