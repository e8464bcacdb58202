"""Direct calls to fal that show pieces of their result as they come (`wire/fal.md §6.2`)."""

from collections.abc import Callable
from typing import Any

import msgspec

from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Delta, Failed, FailedKind, Outcome, Succeeded
from calotype.kernel.steps import AnswerTooLarge, Emit, HttpRequest, HttpResponse, Listen, MaybeSent, Next, Steps
from calotype.providers.base import Call
from calotype.providers.fal_answers import delivered
from calotype.providers.fal_chat import answered, ignored

_BROKE = "The provider's stream broke off."


def streamed(request: HttpRequest, call: Call, refused: Callable[[HttpResponse], Failed]) -> Steps[Outcome]:
    """Send a direct call and show its events; the last one is the whole output.

    A direct call is in no queue: what breaks off cannot be asked for again, and is never sent again. `refused` reads an
    answer that is no stream: one that comes late may stand for work that was done.
    """
    answer: HttpResponse = yield Listen(request)
    if not answer.ok:
        return refused(answer)
    if answer.body:
        return _whole(call, answer)
    last: dict[str, Any] | None = None
    said = {"output": "", "reasoning": ""}
    try:
        while (event := (yield Next())) is not None:
            body = event.json()
            if not isinstance(body, dict):
                continue
            last = body
            for delta in _deltas(call, body, said):
                yield Emit(delta)
    except AnswerTooLarge:
        return Failed(FailedKind.UPSTREAM, "The provider's answer was too large.")
    except MaybeSent as error:
        return Failed(FailedKind.UNKNOWN, _BROKE, detail=str(error))
    if last is None or last.get("partial") is True:
        return Failed(FailedKind.UNKNOWN, _BROKE, detail="the stream ended before the output was whole")
    if last.get("error") or "detail" in last:
        return Failed(FailedKind.UPSTREAM, "The provider failed while it worked on the request.", code="stream_error")
    headers = {name: value for name, value in answer.headers.items() if name.startswith("x-fal-")}
    return _whole(call, HttpResponse(200, headers, msgspec.json.encode(last)))


def _whole(call: Call, answer: HttpResponse) -> Outcome:
    outcome = delivered(answer, answer.headers.get("x-fal-request-id", ""))
    if isinstance(outcome, Succeeded) and call.operation is Operation.CHAT:
        return answered(outcome, ignored(call.input))
    return outcome


def _deltas(call: Call, body: dict[str, Any], said: dict[str, str]) -> list[Delta]:
    """Return what an event adds: language models repeat their text from its beginning, others show what there is."""
    if call.operation is not Operation.CHAT:
        return [Delta("event", body)]
    deltas = []
    for name, ours in (("reasoning", "reasoning"), ("output", "content")):
        text = body.get(name)
        if isinstance(text, str) and text.startswith(said[name]) and len(text) > len(said[name]):
            deltas.append(Delta("chat", {ours: text[len(said[name]) :]}))
            said[name] = text
    return deltas
