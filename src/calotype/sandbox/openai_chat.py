"""Chat completions and embeddings as an emulator answers them, whole or as a stream (`wire/providers.md §6.1, §7.4`).

Words in a message: `@tool` calls the first tool, `@reasoning` thinks first, `@filtered` withholds the answer, `@empty`
answers nothing, `@nousage` counts no tokens, `@nodone` ends a stream without its mark, `@midstream` fails in the middle
of one, `@error` answers an error with status 200.
"""

import hashlib
import math
import time
from collections.abc import Iterator
from typing import Any

import msgspec
from msgspec import Struct

from calotype.sandbox.faults import words_in

TOKENS_PER_WORD = 2
TOKENS_OF_A_FILE = 300
DIMENSIONS = 64
MIDSTREAM = {"message": "The model broke off.", "code": 502, "type": "server_error"}


class Asked(Struct, frozen=True):
    """A request for a completion, as far as the answer depends on it."""

    model: str
    text: str
    words: dict[str, str]
    tools: list[dict[str, Any]]
    input_tokens: int
    max_tokens: int | None


def asked(fields: dict[str, Any]) -> Asked | None:
    """Read a request; None where it has no messages."""
    messages = fields.get("messages")
    if not isinstance(messages, list) or not messages:
        return None
    texts = list(_texts([message.get("content") for message in messages if isinstance(message, dict)]))
    files = sum(
        1
        for message in messages
        if isinstance(message, dict) and isinstance(message.get("content"), list)
        for part in message["content"]
        if isinstance(part, dict) and part.get("type") != "text"
    )
    limit = fields.get("max_tokens") or fields.get("max_completion_tokens")
    tools = fields.get("tools")
    return Asked(
        model=str(fields.get("model")),
        text=texts[-1] if texts else "",
        words=words_in(f"{fields.get('model')} {' '.join(texts)}"),
        tools=tools if isinstance(tools, list) else [],
        input_tokens=TOKENS_PER_WORD * sum(len(text.split()) for text in texts) + TOKENS_OF_A_FILE * files,
        max_tokens=limit if isinstance(limit, int) else None,
    )


def completion(one: Asked, ident: str, *, reasoning: str = "reasoning_content") -> dict[str, Any]:
    """Return the whole answer; `reasoning` is the field in which this kind of server writes what it thinks."""
    pieces, reason = _answer(one)
    message: dict[str, Any] = {"role": "assistant", "content": "".join(pieces)}
    if "reasoning" in one.words:
        message[reasoning] = "The question is about words."
    if _calls(one):
        message |= {"content": None, "tool_calls": [_tool_call(one)]}
    body = _head(one, ident, "chat.completion")
    body["choices"] = [] if "empty" in one.words else [{"index": 0, "message": message, "finish_reason": reason}]
    if "nousage" not in one.words:
        body["usage"] = usage_of(one)
    return body


def stream(
    one: Asked, ident: str, usage: dict[str, Any] | None, *, reasoning: str = "reasoning_content", comment: str = ""
) -> bytes:
    """Return the stream of the same answer; `comment` is written between its events, `usage` in the last of them."""
    events = [msgspec.json.encode(event) for event in _chunks(one, ident, usage, reasoning)]
    if not {"nodone", "midstream"} & set(one.words):
        events.append(b"[DONE]")
    between = f": {comment}\n\n".encode() if comment else b""
    return b"".join(between + b"data: " + event + b"\n\n" for event in events)


def usage_of(one: Asked) -> dict[str, Any]:
    """Count the tokens of an answer."""
    pieces, _ = _answer(one)
    thought = 5 * TOKENS_PER_WORD if "reasoning" in one.words else 0
    made = len(pieces) * TOKENS_PER_WORD + thought
    return {
        "prompt_tokens": one.input_tokens, "completion_tokens": made, "total_tokens": one.input_tokens + made,
        "prompt_tokens_details": {"cached_tokens": 0}, "completion_tokens_details": {"reasoning_tokens": thought},
    }  # fmt: skip


def vectors(fields: dict[str, Any]) -> dict[str, Any] | None:
    """Return embeddings that follow from the texts, of length 1 each; None where there is no text."""
    given = fields.get("input")
    items = given if isinstance(given, list) else [given]
    texts = [text for text in items if isinstance(text, str) and text]
    if not texts or len(texts) < len(items):
        return None
    size = fields.get("dimensions") or DIMENSIONS
    data = [{"object": "embedding", "index": n, "embedding": _vector(text, size)} for n, text in enumerate(texts)]
    tokens = TOKENS_PER_WORD * sum(len(text.split()) for text in texts)
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return {"object": "list", "model": fields.get("model"), "data": data, "usage": usage}


def _answer(one: Asked) -> tuple[list[str], str]:
    """Return the words of the answer and why it ended."""
    if _calls(one):
        return [], "tool_calls"
    if "filtered" in one.words:
        return [], "content_filter"
    said = [word for word in one.text.split() if not word.startswith("@")]
    pieces = [f"{word} " for word in ("You", "said:", *said)]
    most = None if one.max_tokens is None else max(1, one.max_tokens // TOKENS_PER_WORD)
    if most is not None and len(pieces) > most:
        return pieces[:most], "length"
    return [*pieces[:-1], pieces[-1].rstrip()], "stop"


def _chunks(one: Asked, ident: str, usage: dict[str, Any] | None, reasoning: str) -> Iterator[dict[str, Any]]:
    def chunk(delta: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
        choice = {"index": 0, "delta": delta, "finish_reason": reason}
        return {**_head(one, ident, "chat.completion.chunk"), "choices": [choice]}

    pieces, reason = _answer(one)
    if "empty" not in one.words:
        yield chunk({"role": "assistant", "content": ""})
        if "reasoning" in one.words:
            yield from (chunk({reasoning: text}) for text in ("The question ", "is about words."))
        if _calls(one):
            yield from (chunk({"tool_calls": [piece]}) for piece in _tool_pieces(one))
        half = len(pieces) // 2
        for n, piece in enumerate(pieces):
            if "midstream" in one.words and n == half:
                failed = chunk({"content": ""}, "error")
                yield {**failed, "error": MIDSTREAM}
                return
            yield chunk({"content": piece})
        yield chunk({}, reason)
    if usage is not None and "nousage" not in one.words:
        yield {**_head(one, ident, "chat.completion.chunk"), "choices": [], "usage": usage}


def _head(one: Asked, ident: str, kind: str) -> dict[str, Any]:
    return {"id": ident, "object": kind, "created": int(time.time()), "model": one.model}


def _calls(one: Asked) -> bool:
    return "tool" in one.words and bool(one.tools)


def _tool_call(one: Asked) -> dict[str, Any]:
    function = one.tools[0].get("function")
    name = function.get("name") if isinstance(function, dict) else None
    arguments = msgspec.json.encode({"text": one.text}).decode()
    return {"id": "call_1", "type": "function", "function": {"name": name, "arguments": arguments}}


def _tool_pieces(one: Asked) -> Iterator[dict[str, Any]]:
    """Write a tool call as streams do: the name first, then the arguments in pieces."""
    call = _tool_call(one)
    name, arguments = call["function"]["name"], call["function"]["arguments"]
    yield {"index": 0, "id": call["id"], "type": "function", "function": {"name": name, "arguments": ""}}
    for n in range(0, len(arguments), 8):
        yield {"index": 0, "function": {"arguments": arguments[n : n + 8]}}


def _vector(text: str, size: int) -> list[float]:
    """Return numbers that follow from the words of a text, so that texts with words in common are near each other."""
    found = [0.0] * size
    for word in text.lower().split():
        seed = hashlib.sha256(word.encode()).digest()
        for n in range(size):
            found[n] += (seed[n % 32] ^ (n * 37 & 255)) / 127.5 - 1.0
    length = math.sqrt(sum(number * number for number in found)) or 1.0
    return [round(number / length, 6) for number in found]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _texts(item.get("text") if isinstance(item, dict) else item)
