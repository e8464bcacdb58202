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


def prompted(fields: dict[str, Any], *, pictures: bool = False) -> dict[str, Any] | Failed:
    """Return a conversation as fal takes it: its last words or all of it as `prompt`, what guides it apart.

    `pictures` says that this endpoint sees: those of the messages become `image_urls`.
    """
    said = {name: value for name, value in fields.items() if name not in ASIDE}
    if refused := next((name for name in sorted(NEVER) if fields.get(name) not in (None, [], "none")), None):
        return Failed(FailedKind.GONE, f"The provider takes no {refused} for this model.", field=refused)
    for name in NEVER:
        said.pop(name, None)
    messages = said.pop("messages", None)
    if messages is None:
        return said
    guidance: list[str] = []
    turns: list[tuple[str, str]] = []
    seen: list[str] = []
    for message in messages:
        parts = _parts(message.get("content"))
        role = message.get("role")
        if parts is None or role not in SYSTEM | SPEAKERS.keys() or (parts[1] and not pictures):
            return Failed(FailedKind.GONE, "The provider takes no such messages for this model.", field="messages")
        seen += parts[1]
        if role in SYSTEM:
            guidance.append(parts[0])
        else:
            turns.append((role, parts[0]))
    if guidance:
        said.setdefault("system_prompt", "\n\n".join(guidance))
    if seen:
        said["image_urls"] = [*said.get("image_urls", []), *seen]
    if len(turns) == 1 and turns[0][0] == "user":
        return {**said, "prompt": turns[0][1]}
    lines = [f"{SPEAKERS[role]}: {text}" for role, text in turns]
    return {**said, "prompt": "\n\n".join([*lines, "Assistant:"])}


def answered(outcome: Succeeded, unheard: Sequence[str] = ()) -> Succeeded | Failed:
    """Return any-llm's answer as a conversation's next message; `unheard` are wishes that had no effect."""
    data = outcome.data
    if not isinstance(data.get("output"), str):
        return Failed(FailedKind.UPSTREAM, "The provider answered nothing.", cost=outcome.cost)
    message: dict[str, Any] = {"role": "assistant", "content": data["output"]}
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


def _parts(content: Any) -> tuple[str, list[str]] | None:
    """Return the words of a message and the addresses of its pictures; None where it holds anything else."""
    if isinstance(content, str):
        return content, []
    texts: list[str] = []
    pictures: list[str] = []
    for part in content if isinstance(content, list) else [None]:
        picture = part.get("image_url") if isinstance(part, dict) else None
        url = picture.get("url") if isinstance(picture, dict) else picture
        if isinstance(part, dict) and isinstance(part.get("text"), str):
            texts.append(part["text"])
        elif isinstance(url, str):
            pictures.append(url)
        else:
            return None
    return "\n".join(texts), pictures
