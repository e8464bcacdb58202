"""A chat as a stream, in the form of OpenRouter's: `choices[0].delta`, and at last `[DONE]` (`wire/products.md B4`)."""

from contextlib import aclosing
from typing import Any

import msgspec

from calotype.dialects.door import Exchange
from calotype.dialects.jobs.answers import encode, failure_answer, job_headers
from calotype.dialects.jobs.chat_words import choice_of, name_of, reason_of, usage_of
from calotype.dialects.jobs.desk import Desk
from calotype.dialects.listening import heard
from calotype.dialects.sse import KEEP_ALIVE_S, EventStream
from calotype.jobs.intake import Ask
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.job import JobState
from calotype.kernel.outcome import Delta

DONE = b"data: [DONE]\n\n"


async def stream_chat(desk: Desk, x: Exchange, ask: Ask) -> None:
    """Run a chat and send its pieces; nothing is sent before the first one, so that a failure is a plain answer."""
    ticket = await desk.engine.accept(msgspec.structs.replace(ask, listen=True))
    stream = EventStream(x)
    pieces = _Pieces(desk, JobView(ticket.job), stream)
    delivered = False
    try:
        async with aclosing(heard(desk.engine.follow(ticket), stream.gone, KEEP_ALIVE_S)) as items:
            async for item in items:
                if item is None:
                    await pieces.open()
                    await stream.keep_alive()
                elif isinstance(item, Delta):
                    await pieces.show(item)
                elif item.state is JobState.SUCCEEDED:
                    await pieces.end(item)
                    delivered = await stream.close()
                elif stream.opened:
                    await pieces.fail(item.problem)
                    delivered = await stream.close()
                else:
                    stream.leave()
                    delivered = await x.answer(*failure_answer(item, desk.rate))
    except Problem as problem:
        if not stream.opened:
            raise
        await pieces.fail(problem)
        await stream.close()
    finally:
        stream.leave()
        desk.engine.answered(ticket, delivered=delivered)


class _Pieces:
    """The chunks of one answer."""

    def __init__(self, desk: Desk, view: JobView, stream: EventStream) -> None:
        self._desk = desk
        self._view = view
        self._stream = stream
        self._said = ""
        self._called = False
        self._head = {
            "id": view.id, "object": "chat.completion.chunk", "created": view.job.created_at_ms // 1000,
            "model": name_of(desk, view),
        }  # fmt: skip

    async def open(self) -> None:
        if not self._stream.opened:
            await self._stream.open(job_headers(self._view))
            await self._send({"role": "assistant", "content": ""})

    async def show(self, delta: Delta) -> None:
        said = {name: value for name, value in delta.data.items() if value} if delta.kind == "chat" else {}
        if said:
            self._said += str(said.get("content", ""))
            self._called = self._called or "tool_calls" in said
            await self.open()
            await self._send(said)

    async def end(self, view: JobView) -> None:
        """Send what was not shown while it came, then why it ended and what it cost."""
        choice = choice_of(view)
        message = choice.get("message") or {}
        self._view = view
        await self.open()
        whole = str(message.get("content") or "")
        if whole != self._said and whole.startswith(self._said):
            await self._send({"content": whole.removeprefix(self._said)})
        calls = message.get("tool_calls")
        if calls and not self._called:
            await self._send({"tool_calls": [{"index": n, **one} for n, one in enumerate(calls)]})
        more: dict[str, Any] = {"usage": usage_of(view), "credits_used": self._desk.rate.used(view.job)}
        if view.warnings:
            more["warnings"] = view.warnings
        await self._send({}, reason_of(choice), more)
        await self._stream.write(DONE)

    async def fail(self, problem: Problem | None) -> None:
        """Send why nothing more comes, as OpenRouter does in the middle of a stream."""
        problem = problem or Problem(Code.INTERNAL, "The job ended without a reason.")
        error = {"code": problem.status, "message": problem.message}
        await self._send({"content": ""}, "error", {"error": error})

    async def _send(self, delta: dict[str, Any], reason: str | None = None, more: dict[str, Any] | None = None) -> None:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        body = {**self._head, "choices": [choice], **(more or {})}
        await self._stream.write(b"data: " + encode(body) + b"\n\n")
