"""Conversations with a server that speaks as OpenAI does, driven by hand: what a test answers is what came."""

from collections.abc import Sequence
from typing import Any

import msgspec

from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Delta, Outcome
from calotype.kernel.steps import (
    Emit,
    HttpRequest,
    HttpResponse,
    Listen,
    Next,
    ServerEvent,
    Steps,
    TransportError,
)
from calotype.providers.base import Call

STREAM = {"content-type": "text/event-stream"}
DONE = "[DONE]"


def asking(**changes: Any) -> Call:
    """Return a call for a chat; `input` is added to its fields."""
    fields = {"messages": [{"role": "user", "content": "What is it?"}], **changes.pop("input", {})}
    return Call("job", 1, "token-1", Operation.CHAT, changes.pop("model", "gemma"), fields, **changes)


def answer(body: Any, status: int = 200, **headers: str) -> HttpResponse:
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def chunk(delta: dict[str, Any], reason: str | None = None, index: int = 0, **more: Any) -> dict[str, Any]:
    """Return a piece of a stream."""
    return {"id": "c-1", "choices": [{"index": index, "delta": delta, "finish_reason": reason}], **more}


def usage(prompt: int, completion: int, **more: Any) -> dict[str, Any]:
    """Return the last piece of a stream."""
    return {"id": "c-1", "choices": [], "usage": {"prompt_tokens": prompt, "completion_tokens": completion, **more}}


class Held:
    """A conversation that was held: its requests, the pieces that were shown, the end."""

    def __init__(self, steps: Steps[Outcome], answers: Sequence[HttpResponse | TransportError | Any]) -> None:
        self.requests: list[HttpRequest] = []
        self.listened = 0
        self.deltas: list[dict[str, Any]] = []
        self.waited = 0
        self.outcome = self._held(steps, list(answers))

    def _held(self, steps: Steps[Outcome], answers: list[Any]) -> Outcome:
        reply: Any = None
        failure: TransportError | None = None
        while True:
            try:
                step = steps.throw(failure) if failure is not None else steps.send(reply)
            except StopIteration as end:
                outcome: Outcome = end.value
                return outcome
            failure = reply = None
            if isinstance(step, Emit):
                assert isinstance(step.delta, Delta) and step.delta.kind == "chat"
                self.deltas.append(step.delta.data)
                continue
            if not isinstance(step, HttpRequest | Listen | Next):
                self.waited += 1
                continue
            if isinstance(step, Listen):
                self.listened += 1
                self.requests.append(step.request)
            elif isinstance(step, HttpRequest):
                self.requests.append(step)
            said = answers.pop(0) if answers else None
            if isinstance(said, TransportError):
                failure = said
            elif isinstance(step, Next) and said is not None:
                reply = ServerEvent(said if isinstance(said, str) else msgspec.json.encode(said).decode())
            else:
                reply = said

    @property
    def body(self) -> dict[str, Any]:
        """The body of the first request."""
        raw = self.requests[0].body
        assert isinstance(raw, bytes)
        decoded: dict[str, Any] = msgspec.json.decode(raw)
        return decoded
