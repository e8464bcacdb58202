"""The answer of a language model, gathered from one whole message or from the pieces of a stream.

Servers differ in where they put what a model thinks before it answers: `reasoning` (OpenRouter, newer vLLM),
`reasoning_content` (DeepSeek, Scaleway, Together), or parts of the content (Mistral). Here it is always `reasoning`.
"""

from typing import Any

REASONING = ("reasoning", "reasoning_content")
MAX_TOOL_CALLS = 1_000


class Reply:
    """The choices of one answer as far as they have come."""

    def __init__(self) -> None:
        self._choices: dict[int, _Choice] = {}

    @property
    def finished(self) -> bool:
        """Whether every choice has said why it ended."""
        return bool(self._choices) and all(choice.reason is not None for choice in self._choices.values())

    def take(self, choice: dict[str, Any], said: Any) -> dict[str, Any]:
        """Add a message or a piece of one and return what of it can be shown, empty where it says nothing."""
        index = choice.get("index")
        one = self._choices.setdefault(index if isinstance(index, int) else 0, _Choice())
        reason = choice.get("finish_reason")
        if isinstance(reason, str) and reason:
            one.reason = reason
        return one.take(said) if isinstance(said, dict) else {}

    def shown(self) -> dict[str, Any]:
        """Return the first choice as one piece."""
        message = self._choices[0].message() if 0 in self._choices else {}
        piece = {name: value for name, value in message.items() if name != "role" and value}
        if calls := piece.get("tool_calls"):
            piece["tool_calls"] = [{"index": n, **call} for n, call in enumerate(calls)]
        return piece

    def choices(self) -> list[dict[str, Any]]:
        """Return the choices as a chat completion lists them; those that said nothing at all are none."""
        return [
            {"index": index, "message": one.message(), "finish_reason": one.ended}
            for index, one in sorted(self._choices.items())
            if one.reason is not None or spoken(one.message())
        ]


def spoken(message: dict[str, Any]) -> bool:
    """Say whether a message holds anything for its reader."""
    return bool(message.get("content") or message.get("tool_calls") or message.get("refusal"))


class _Choice:
    """One choice: its texts in pieces, its tool calls by index."""

    def __init__(self) -> None:
        self.reason: str | None = None
        self._content: list[str] = []
        self._reasoning: list[str] = []
        self._refusal: list[str] = []
        self._details: list[Any] = []
        self._calls: dict[int, dict[str, Any]] = {}

    @property
    def ended(self) -> str:
        """Return why it ended, also where the server did not say."""
        return self.reason or ("tool_calls" if self._calls else "stop")

    def take(self, said: dict[str, Any]) -> dict[str, Any]:
        content, thought = _content(said.get("content"))
        thought = next((text for name in REASONING if isinstance(text := said.get(name), str) and text), thought)
        refusal = said.get("refusal")
        details = said.get("reasoning_details")
        piece: dict[str, Any] = {}
        if content:
            self._content.append(content)
            piece["content"] = content
        if thought:
            self._reasoning.append(thought)
            piece["reasoning"] = thought
        if isinstance(refusal, str) and refusal:
            self._refusal.append(refusal)
            piece["refusal"] = refusal
        if isinstance(details, list) and details:
            self._details += details
            piece["reasoning_details"] = details
        calls = said.get("tool_calls")
        if taken := [self._call(call) for call in calls or () if isinstance(call, dict)] if calls else []:
            piece["tool_calls"] = taken
        return piece

    def message(self) -> dict[str, Any]:
        """Return the message as it stands."""
        message: dict[str, Any] = {"role": "assistant", "content": "".join(self._content) or None}
        if not self._calls and message["content"] is None:
            message["content"] = ""
        if self._reasoning:
            message["reasoning"] = "".join(self._reasoning)
        if self._details:
            message["reasoning_details"] = self._details
        if self._refusal:
            message["refusal"] = "".join(self._refusal)
        if self._calls:
            message["tool_calls"] = [call for _, call in sorted(self._calls.items())]
        return message

    def _call(self, piece: dict[str, Any]) -> dict[str, Any]:
        """Add a piece of a tool call and return it with the index of its call.

        A piece without an index (Gemini's compatible endpoint sends whole calls) is a new call where it has an id, and
        goes on with the last one where it has none. Another id at an index that is taken is a new call too.
        """
        index, ident = piece.get("index"), piece.get("id")
        if not isinstance(index, int) or not 0 <= index < MAX_TOOL_CALLS:
            index = len(self._calls) if ident or not self._calls else max(self._calls)
        elif ident and index in self._calls and self._calls[index]["id"] not in ("", ident):
            index = max(self._calls) + 1
        call = self._calls.setdefault(index, {"id": "", "type": "function", "function": {"name": "", "arguments": ""}})
        function = piece.get("function")
        said = function if isinstance(function, dict) else {}
        shown: dict[str, Any] = {"index": index}
        if isinstance(ident, str) and ident and not call["id"]:
            call["id"] = shown["id"] = ident
            shown["type"] = "function"
        told = {}
        if isinstance(said.get("name"), str) and said["name"] and not call["function"]["name"]:
            call["function"]["name"] = told["name"] = said["name"]
        if isinstance(said.get("arguments"), str) and said["arguments"]:
            call["function"]["arguments"] += said["arguments"]
            told["arguments"] = said["arguments"]
        return {**shown, "function": told} if told else shown


def _content(content: Any) -> tuple[str, str]:
    """Return text and thought of a content, which may be a list of parts (Mistral)."""
    if isinstance(content, str):
        return content, ""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content if isinstance(content, list) else ():
        if not isinstance(part, dict):
            continue
        if isinstance(part.get("text"), str):
            texts.append(part["text"])
        thinking = part.get("thinking")
        if isinstance(thinking, str):
            thoughts.append(thinking)
        elif isinstance(thinking, list):
            thoughts += [one["text"] for one in thinking if isinstance(one, dict) and isinstance(one.get("text"), str)]
    return "".join(texts), "".join(thoughts)
