"""Calls of OpenAI's API that are not offered: refused once the key was checked, with what to use instead."""

from collections.abc import Awaitable, Callable

from calotype.dialects.door import Exchange
from calotype.dialects.openai.desk import Desk
from calotype.kernel.errors import Code, Problem

NOT_OFFERED: dict[str, str] = {
    "/responses": "Responses are not offered; use /v1/chat/completions.",
    "/completions": "Completions of bare texts are not offered; use /v1/chat/completions.",
    "/moderations": "Moderations are not offered; no model here classifies texts.",
    "/images/variations": "Variations are not offered; use /v1/images/edits with a prompt.",
    "/audio/translations": "Translations are not offered; transcribe and have the text translated by a chat model.",
    "/math/chat/completions": "No code is run for a conversation; use /v1/chat/completions.",
    "/videos/characters": "Characters are not offered; use /v1/videos with input_reference.",
}
"""Path → what is said."""


def refusal(sentence: str) -> Callable[[Desk, Exchange], Awaitable[None]]:
    """Return the handler that refuses a call."""

    async def refuse(desk: Desk, x: Exchange) -> None:
        await desk.door.enter(x)
        raise Problem(Code.NOT_FOUND, sentence)

    return refuse
