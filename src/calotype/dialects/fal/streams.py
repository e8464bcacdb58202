"""Streams: how a queued request goes on, and a direct call that tells its progress (`wire/fal.md §5.3, §6.2`)."""

import asyncio
import base64
from typing import Any

import msgspec

from calotype.dialects.fal.answers import tell_end
from calotype.dialects.fal.asks import ask_of
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.endpoints import endpoint_id
from calotype.dialects.fal.errors import failure_of, media_of, refused
from calotype.dialects.fal.events import PING_S, EventStream, looks
from calotype.dialects.fal.outputs import output_of
from calotype.dialects.fal.queue import wants_logs
from calotype.dialects.fal.starts import watch_start
from calotype.dialects.fal.statuses import WORDS, status_object
from calotype.dialects.fal.tokens import caller_of
from calotype.dialects.listening import heard
from calotype.jobs.intake import Ticket
from calotype.jobs.types import JobView
from calotype.kernel.job import JobState
from calotype.kernel.outcome import Delta

STREAM = "/stream"


async def status_stream(desk: Desk, x: FalExchange) -> None:
    """Send a request's status now and at each change; each event carries only the log lines that are new."""
    caller = await desk.door.enter(x, counted=False)
    view = await desk.look(x, x.rest, caller.org.id, whole=False)
    logs, passed, last = wants_logs(x), 0, None
    stream = EventStream(x)
    try:
        await stream.open()
        async for now in looks(desk, view.id, caller.org.id, stream.gone):
            body = await status_object(desk, x, now, logs=logs, passed=passed)
            shown = {name: value for name, value in body.items() if name != "logs"}
            if shown != last or body.get("logs"):
                await stream.event(body)
                last = shown
                passed += len(body.get("logs") or ())
            else:
                await stream.keep_alive()
        await stream.close()
    finally:
        stream.leave()


async def stream_run(desk: Desk, x: FalExchange) -> None:
    """Run a request and send what it shows of itself, at last its whole output.

    Nothing is sent before the work has shown something, so that a failure until then is an ordinary HTTP error: fal
    has no event for errors.
    """
    path = x.place.path.removesuffix(STREAM)
    caller = await caller_of(desk, x, endpoint_id(path))
    desk.door.count(caller.key, x.scope)
    ask = await ask_of(desk, x, path, at_once=True, caller=caller)
    ticket = await desk.engine.accept(msgspec.structs.replace(ask, listen=True))
    delivered = False
    x.job = JobView(ticket.job)
    watch_start(desk, x.job)
    stream = EventStream(x)
    pieces = Pieces(x.job)
    opened = False
    try:
        async for item in heard(desk.engine.follow(ticket), stream.gone, PING_S):
            if isinstance(item, JobView):
                x.job = end = await _with_bytes(ticket, item)
                output = await output_of(desk, end, x.bases.media) if end.state is JobState.SUCCEEDED else None
                if output is None and not opened:
                    stream.leave()
                    delivered = await tell_end(x, end, None)
                    return
                if not opened:
                    await stream.open()
                await stream.event(_last(end) if output is None else output)
                delivered = await stream.close()
            elif item is not None and (event := pieces.event_of(item)) is not None:
                if not opened:
                    await stream.open()
                    opened = True
                await stream.event(event)
            elif opened:
                await stream.keep_alive()
    finally:
        stream.leave()
        desk.engine.answered(ticket, delivered=delivered)


class Pieces:
    """Pieces of a result in the words of fal's models: pictures as they stand, texts as far as they are."""

    def __init__(self, view: JobView) -> None:
        self._view = view
        self._percent = 0
        self._said = {"content": "", "reasoning": ""}

    def event_of(self, delta: Delta) -> dict[str, Any] | None:
        """Return the event for a piece; None where it tells nothing new."""
        match delta.kind:
            case "event":
                return delta.data
            case "preview":
                picture = base64.b64encode(delta.body).decode()
                url = f"data:{delta.content_type};base64,{picture}"
                return {"images": [{"url": url, "content_type": delta.content_type}], "progress": self._percent / 100}
            case "chat":
                return self._chat(delta.data)
            case _:
                percent = min(99, int(delta.data["fraction"] * 100))
                if percent <= self._percent:
                    return None
                self._percent = percent
                word = WORDS[JobState.RUNNING]
                return {"status": word, "request_id": self._view.id, "progress": percent / 100}

    def _chat(self, data: dict[str, Any]) -> dict[str, Any] | None:
        for name in self._said:
            self._said[name] += str(data.get(name) or "")
        event: dict[str, Any] = {"output": self._said["content"], "partial": True, "error": None}
        return event | ({"reasoning": self._said["reasoning"]} if self._said["reasoning"] else {})


def _last(view: JobView) -> dict[str, Any]:
    """Write the end of a stream whose request failed after it had begun, as its result says it."""
    return refused(failure_of(view), media_of(view)).body


async def _with_bytes(ticket: Ticket, view: JobView) -> JobView:
    """Return the view that holds the outputs' bytes where they are answered directly and stored nowhere."""
    if ticket.task is None:
        return view
    await asyncio.wait((ticket.task,))
    if ticket.task.cancelled():
        return view
    return ticket.task.result() or view
