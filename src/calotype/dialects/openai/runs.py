"""A request is run to its end and answered, whole or piece by piece: a synchronous call is a job that was waited for.

Of a stream nothing is sent before the work has shown something, so that a failure until then is an ordinary answer; a
failure after that is an event with OpenAI's error object. Who hangs up does not stop the job.
"""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any, Protocol

from calotype.dialects.door import Exchange, is_gone
from calotype.dialects.effort import Effort
from calotype.dialects.headers import Headers
from calotype.dialects.kept import cache_header
from calotype.dialects.listening import heard
from calotype.dialects.openai.answers import error_object, failure_answer, job_headers
from calotype.dialects.openai.desk import Desk
from calotype.dialects.sse import KEEP_ALIVE_S, EventStream
from calotype.jobs.intake import Ask
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.job import JobState
from calotype.kernel.outcome import Delta

Event = tuple[str, dict[str, Any]]
"""An event's name, often none, and its body."""
Answer = tuple[Headers, bytes]
"""The headers and the body of a whole answer."""


class Words(Protocol):
    """How one kind of result is told in events."""

    last: bytes
    """What ends the stream, beside its events."""

    def headers(self, view: JobView) -> Headers:
        """Return the headers of the answer beside those of every stream."""
        ...

    def opening(self) -> list[Event]:
        """Return what is sent first."""
        ...

    def piece(self, delta: Delta) -> list[Event]:
        """Return what a piece of the result says; nothing where it tells nothing new."""
        ...

    async def ending(self, view: JobView) -> list[Event]:
        """Return what a job that succeeded says at its end."""
        ...


async def answer_job(desk: Desk, x: Exchange, ask: Ask, tell: Callable[[JobView], Awaitable[bool]]) -> None:
    """Run a request to its end; `tell` answers its success and says whether the answer reached the caller."""
    view, ticket = await desk.engine.run(ask)
    delivered = False
    try:
        if view.state is JobState.SUCCEEDED:
            delivered = await tell(view)
        else:
            delivered = await x.answer(*failure_answer(view))
    finally:
        desk.engine.answered(ticket, delivered=delivered)


async def answer_tried(
    desk: Desk, x: Exchange, asks: Sequence[Ask], effort: Effort, told: Callable[[JobView], Awaitable[Answer]]
) -> None:
    """Run requests in turn, as hard as their caller wishes; `told` encodes a success."""
    tried = await desk.attempts.run(asks, effort)
    delivered = False
    try:
        if tried.view.state is JobState.SUCCEEDED:
            headers, body = await told(tried.view)
            delivered = await x.answer(200, [*headers, *cache_header(effort, kept=tried.kept)], body)
        else:
            delivered = await x.answer(*failure_answer(tried.view))
    finally:
        if tried.ticket is not None:
            desk.engine.answered(tried.ticket, delivered=delivered)


async def stream_job(desk: Desk, x: Exchange, ask: Ask, words_of: Callable[[JobView], Words]) -> None:
    """Run a request and send what it shows of itself as events."""
    await stream_tried(desk, x, [ask], Effort(), words_of)


async def stream_tried(
    desk: Desk, x: Exchange, asks: Sequence[Ask], effort: Effort, words_of: Callable[[JobView], Words]
) -> None:
    """Run requests in turn until one of them shows something of itself, and send that as events."""
    begun = await desk.attempts.begin(asks, effort)
    start = JobView(begun.job)
    words = words_of(start)
    stream = EventStream(x)
    delivered = False
    try:
        async with aclosing(heard(begun.items(), stream.gone, KEEP_ALIVE_S)) as items:
            async for item in items:
                if isinstance(item, JobView):
                    delivered = await _end(x, stream, words, item)
                elif item is None:
                    await _open(stream, words, start)
                    await stream.keep_alive()
                elif events := words.piece(item):
                    await _open(stream, words, start)
                    await _send(stream, events)
    except Problem as problem:
        if not stream.opened:
            raise
        await stream.event({"error": error_object(problem)})
        await stream.close()
    finally:
        stream.leave()
        desk.engine.answered(begun.ticket, delivered=delivered)


async def _end(x: Exchange, stream: EventStream, words: Words, view: JobView) -> bool:
    """Tell the end of a job; what reached the caller whole is delivered."""
    if view.state is JobState.SUCCEEDED:
        events = await words.ending(view)
        await _open(stream, words, view)
        await _send(stream, events)
        if words.last:
            await stream.write(words.last)
    elif stream.opened:
        problem = view.problem or Problem(Code.INTERNAL, "The job ended without a reason.")
        await stream.event({"error": error_object(problem)})
    else:
        stream.leave()
        return await x.answer(*failure_answer(view))
    return await stream.close()


async def _open(stream: EventStream, words: Words, view: JobView) -> None:
    if not stream.opened:
        await stream.open(words.headers(view))
        await _send(stream, words.opening())


async def _send(stream: EventStream, events: list[Event]) -> None:
    for name, body in events:
        await stream.event(body, name)


def stream_headers(view: JobView) -> Headers:
    """Return the headers of a stream that carries a job."""
    return [pair for pair in job_headers(view) if pair[0] != b"content-type"]


async def send_blocks(x: Exchange, headers: Headers, size_bytes: int, blocks: AsyncIterator[bytes]) -> bool:
    """Answer a file in blocks as they are read; False when the caller had hung up before."""
    length = (b"content-length", str(size_bytes).encode())
    await x.send({"type": "http.response.start", "status": 200, "headers": [*headers, length]})
    async for block in blocks:
        await x.send({"type": "http.response.body", "body": block, "more_body": True})
    gone = is_gone(x.receive)
    await x.send({"type": "http.response.body", "body": b""})
    return not gone
