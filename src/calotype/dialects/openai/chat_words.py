"""A language model's answer in OpenAI's words: one object, or the chunks of a stream (`wire/providers.md §7.4`)."""

from typing import Any

import msgspec

from calotype.catalog import Catalog
from calotype.dialects.headers import Headers
from calotype.dialects.openai.answers import job_headers, kept_once
from calotype.dialects.openai.runs import Event, stream_headers
from calotype.jobs.types import JobView
from calotype.kernel.outcome import Delta

REASONS = frozenset({"stop", "length", "tool_calls", "content_filter", "function_call"})
"""Why an answer may end, as clients know it; an upstream's own word stands for `stop`."""
TEXTS = ("content", "reasoning", "refusal")
DONE = b"data: [DONE]\n\n"
_encode = msgspec.json.Encoder().encode


def turn_headers(view: JobView, catalog: Catalog) -> Headers:
    """Return the headers of an answer, with what the model that answered can do with tools (`wire/products.md A4`)."""
    card = catalog.get(view.job.model)
    able = card is not None and "tools" in card.fields
    return [*job_headers(view), (b"x-phi-tools", b"supported" if able else b"unsupported")]


def completion(view: JobView) -> bytes:
    """Encode a job as a chat completion."""
    body = {**_head(view, "chat.completion"), "choices": [_choice(one) for one in choices_of(view)]}
    body["usage"] = usage_of(view)
    return _encode(body | _more(view))


def choices_of(view: JobView) -> list[dict[str, Any]]:
    """Return the choices of an answer as the provider gave them.

    Raises:
        Problem: `gone` for one that was answered directly and is kept nowhere.

    """
    found = (view.job.result.data if view.job.result is not None else {}).get("choices")
    if not isinstance(found, list):
        raise kept_once()
    return found


def usage_of(view: JobView) -> dict[str, Any]:
    """Write the tokens of a conversation."""
    used = view.job.result.usage if view.job.result is not None else {}
    asked = used.get("input_tokens", 0) + used.get("input_image_tokens", 0)
    made = used.get("output_tokens", 0)
    return {
        "prompt_tokens": asked,
        "completion_tokens": made,
        "total_tokens": asked + made,
        "prompt_tokens_details": {"cached_tokens": used.get("cached_tokens", 0)},
        "completion_tokens_details": {"reasoning_tokens": used.get("reasoning_tokens", 0)},
    }


def _head(view: JobView, kind: str) -> dict[str, Any]:
    job = view.job
    ident = f"chatcmpl-{job.id.replace('-', '')}"
    return {"id": ident, "object": kind, "created": job.created_at_ms // 1000, "model": job.model}


def _more(view: JobView) -> dict[str, Any]:
    label = {"label": view.job.plan.label} if view.job.plan.label is not None else {}
    return label | ({"warnings": view.warnings} if view.warnings else {})


def _choice(given: dict[str, Any]) -> dict[str, Any]:
    message = {"role": "assistant", "content": None, "refusal": None, **(given.get("message") or {})}
    return {
        "index": given.get("index", 0), "message": message, "logprobs": None, "finish_reason": _reason(given),
    }  # fmt: skip


def _reason(given: dict[str, Any]) -> str:
    said = given.get("finish_reason")
    return said if said in REASONS else "stop"


def _whole(message: dict[str, Any]) -> dict[str, Any]:
    """Return a message as one piece."""
    piece = {name: value for name, value in message.items() if name not in ("role", "tool_calls") and value}
    return piece | ({"tool_calls": calls} if (calls := _calls(message)) else {})


def _calls(message: dict[str, Any]) -> list[dict[str, Any]]:
    return [{"index": n, **call} for n, call in enumerate(message.get("tool_calls") or ())]


class ChatWords:
    """The chunks of one answer: the role first, what comes, why it ended, and where asked for what was used."""

    last = DONE

    def __init__(self, view: JobView, *, catalog: Catalog, counted: bool) -> None:
        self._head = _head(view, "chat.completion.chunk")
        self._catalog = catalog
        self._counted = counted
        self._said = dict.fromkeys(TEXTS, "")
        self._called = False

    def headers(self, view: JobView) -> Headers:
        """Return the headers of the answer."""
        return [*stream_headers(view), turn_headers(view, self._catalog)[-1]]

    def opening(self) -> list[Event]:
        """Return the chunk that says who speaks."""
        return [self._chunk(0, {"role": "assistant", "content": ""})]

    def piece(self, delta: Delta) -> list[Event]:
        """Return what was said, if anything was."""
        said = {name: value for name, value in delta.data.items() if value} if delta.kind == "chat" else {}
        if not said:
            return []
        for name in TEXTS:
            self._said[name] += str(said.get(name, ""))
        self._called = self._called or "tool_calls" in said
        return [self._chunk(0, said)]

    async def ending(self, view: JobView) -> list[Event]:
        """Return what was not said yet, why each choice ended, and what was used."""
        events: list[Event] = []
        for choice in choices_of(view):
            index = choice.get("index", 0)
            message = choice.get("message") or {}
            left = self._left(message) if index == 0 else _whole(message)
            if left:
                events.append(self._chunk(index, left))
            events.append(self._chunk(index, {}, _reason(choice)))
        events[-1][1].update(_more(view))
        if self._counted:
            events.append(("", {**self._head, "choices": [], "usage": usage_of(view)}))
        return events

    def _left(self, message: dict[str, Any]) -> dict[str, Any]:
        """Return what of the first choice was not shown while it came: all of it where the model does not stream."""
        whole = _whole(message)
        if not self._called and not any(self._said.values()):
            return whole
        left = {
            name: whole[name].removeprefix(said)
            for name, said in self._said.items()
            if str(whole.get(name, "")) != said
        }
        left = {name: text for name, text in left.items() if text and self._said[name] + text == whole[name]}
        return left | ({"tool_calls": whole["tool_calls"]} if "tool_calls" in whole and not self._called else {})

    def _chunk(self, index: int, delta: dict[str, Any], reason: str | None = None) -> Event:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": reason}
        usage = {"usage": None} if self._counted else {}
        return "", {**self._head, "choices": [choice], **usage}
