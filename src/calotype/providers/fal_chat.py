"""Conversations with the language models that fal passes on (any-llm, `wire/products.md E11`)."""

from collections.abc import Sequence
from typing import Any

from calotype.kernel.outcome import Failed, FailedKind, Succeeded

ASIDE = frozenset({"top_p", "stop", "seed", "frequency_penalty", "presence_penalty", "user"})
"""Fields that fal has no word for and that an answer can do without."""
NEVER = frozenset({"tools", "tool_choice", "response_format"})
"""Fields that change what an answer is: another provider may take them."""
SYSTEM = frozenset({"system", "developer"})
SPEAKERS = {"user": "User", "assistant": "Assistant"}


def prompted(fields: dict[str, Any]) -> dict[str, Any] | Failed:
    """Return a conversation as fal takes it: its last words or all of it as `prompt`, what guides it apart.

    Pictures are only taken where the caller named `image_urls` itself: they have an endpoint of their own.
    """
    said = {name: value for name, value in fields.items() if name not in ASIDE}
    if refused := next((name for name in sorted(NEVER) if fields.get(name) not in (None, [], "none")), None):
        return Failed(FailedKind.GONE, f"The provider takes no {refused} for this model.", field=refused)
    for name in NEVER:
        said.pop(name, None)
    messages = said.pop("messages", None)
    if messages is None:
        return said
    guidance: list[tuple[str, str]] = []
    turns: list[tuple[str, str]] = []
    for message in messages:
        text = _text(message.get("content"))
        role = message.get("role")
        if text is None or role not in SYSTEM | SPEAKERS.keys():
            return Failed(FailedKind.GONE, "The provider takes only words here.", field="messages")
        (guidance if role in SYSTEM else turns).append((role, text))
    if guidance:
        said.setdefault("system_prompt", "\n\n".join(text for _, text in guidance))
    if len(turns) == 1 and turns[0][0] == "user":
        return {**said, "prompt": turns[0][1]}
    lines = [f"{SPEAKERS[role]}: {text}" for role, text in turns]
    return {**said, "prompt": "\n\n".join([*lines, "Assistant:"])}


def answered(outcome: Succeeded, unheard: Sequence[str] = ()) -> Succeeded:
    """Return any-llm's answer as a conversation's next message; `unheard` are wishes that had no effect."""
    data = outcome.data
    message: dict[str, Any] = {"role": "assistant", "content": data.get("output") or ""}
    if reasoning := data.get("reasoning"):
        message["reasoning"] = reasoning
    choice = {"index": 0, "message": message, "finish_reason": "length" if data.get("partial") else "stop"}
    usage = data.get("usage")
    counted = usage if isinstance(usage, dict) else {}
    known = {"input_tokens": "prompt_tokens", "output_tokens": "completion_tokens"}
    return Succeeded(
        data={"choices": [choice]},
        usage={name: counted[theirs] for name, theirs in known.items() if type(counted.get(theirs)) is int},
        cost=outcome.cost,
        warnings=outcome.warnings + tuple(unheard),
        upstream_id=outcome.upstream_id,
    )


def ignored(fields: dict[str, Any]) -> tuple[str, ...]:
    """Say which of the caller's wishes have no effect."""
    unheard = sorted(name for name in ASIDE if fields.get(name) is not None)
    return tuple(f"{name} has no effect on this model here" for name in unheard)


def _text(content: Any) -> str | None:
    """Return the words of a message; None where it is more than words."""
    if isinstance(content, list):
        texts = [part["text"] for part in content if isinstance(part, dict) and isinstance(part.get("text"), str)]
        return "\n".join(texts) if len(texts) == len(content) else None
    return content if isinstance(content, str) else None
