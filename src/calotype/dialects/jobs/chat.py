"""The chat: answered at once, whole or as a stream, and priced by tokens (`wire/products.md B4`)."""

from typing import Any

from msgspec import Struct

from calotype.dialects.door import Exchange
from calotype.dialects.jobs.answers import failure_answer, job_headers, tell
from calotype.dialects.jobs.chat_stream import stream_chat
from calotype.dialects.jobs.chat_words import chat_answer, name_of
from calotype.dialects.jobs.desk import Desk
from calotype.dialects.jobs.facts import CHAT_MODEL
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation
from calotype.kernel.job import JobState

FIELDS = frozenset({"messages", "temperature", "max_tokens", "web_search"})
TEMPERATURE = 0.7


class JobsChatRequest(Struct, kw_only=True):
    """The body of a chat, as documented; a model may take further fields of its own."""

    messages: list[dict[str, Any]]
    model: str | None = None
    temperature: float = TEMPERATURE
    max_tokens: int | None = None
    stream: bool = False
    web_search: bool = False
    webhook_url: str | None = None


async def complete(desk: Desk, x: Exchange) -> None:
    """Hold a conversation's next turn, whole or as a stream."""
    caller = await desk.enter(x)
    raw, body = await desk.body(x)
    stream = _flag(body, "stream")
    if not _flag(body, "web_search", keep=True):
        body.pop("web_search", None)
    model = desk.model_of(body, CHAT_MODEL)
    card = desk.catalog.get(model)
    if card is not None and "temperature" in card.fields and body.get("temperature") is None:
        body["temperature"] = TEMPERATURE
    ask = desk.ask_now(x, caller, raw, model, Operation.CHAT, body, FIELDS)
    if stream:
        await stream_chat(desk, x, ask)
        return
    view, ticket = await desk.engine.run(ask)
    delivered = False
    try:
        if view.state is JobState.SUCCEEDED:
            delivered = await tell(x, chat_answer(view, name_of(desk, view), desk.rate), job_headers(view))
        else:
            delivered = await x.answer(*failure_answer(view, desk.rate))
    finally:
        desk.engine.answered(ticket, delivered=delivered)


def _flag(body: dict[str, Any], name: str, *, keep: bool = False) -> bool:
    """Read a truth value and take it out of the body, or leave it there.

    Raises:
        Problem: `invalid_input` for anything else.

    """
    value = body.get(name) if keep else body.pop(name, None)
    if value is not None and not isinstance(value, bool):
        raise Problem(Code.INVALID_INPUT, f"{name} must be true or false.", field=name, data={"rule": "type"})
    return bool(value)
