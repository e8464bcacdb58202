"""`POST /chat/completions`: a turn of a conversation, whole or as a stream (`wire/providers.md §7.4`)."""

from functools import partial
from typing import Any

from msgspec import Struct

from calotype.catalog import Card
from calotype.dialects.door import Exchange
from calotype.dialects.openai.chat_words import ChatWords, completion, turn_headers
from calotype.dialects.openai.desk import Desk
from calotype.dialects.openai.forms import json_body
from calotype.dialects.openai.options import TriedOptions, split
from calotype.dialects.openai.runs import Answer, answer_tried, stream_tried
from calotype.dialects.openai.tries import effort_in, idle_in_streams, turns
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation

FIELDS = frozenset(
    {
        "messages", "max_tokens", "max_completion_tokens", "temperature", "top_p", "n", "stop", "seed", "tools",
        "tool_choice", "parallel_tool_calls", "response_format", "frequency_penalty", "presence_penalty", "logit_bias",
        "logprobs", "top_logprobs", "reasoning_effort", "verbosity", "modalities", "audio", "prediction", "store",
        "metadata", "moderation", "service_tier", "safety_identifier", "prompt_cache_key", "prompt_cache_retention",
        "prompt_cache_options", "web_search_options", "functions", "function_call",
    }
)  # fmt: skip
"""Fields with a meaning in this dialect; the model's card decides which of them it takes."""
USUAL: dict[str, Any] = {
    "n": 1, "modalities": ["text"], "store": False, "logprobs": False, "service_tier": "auto", "frequency_penalty": 0,
    "presence_penalty": 0,
}  # fmt: skip
"""Values that say what happens anyway; a model need not take the field for them."""
LIMITS = ("max_completion_tokens", "max_tokens")
"""Two names of one bound; the model's own is the second."""


class StreamOptions(Struct, forbid_unknown_fields=True):
    """What a stream tells beside the answer; there is nothing here to obfuscate."""

    include_usage: bool = False
    include_obfuscation: bool = False


class ChatOptions(TriedOptions):
    """The fields of a chat request that steer the answer and not the model."""

    stream: bool | None = None
    stream_options: StreamOptions | None = None


class ChatRequest(ChatOptions, kw_only=True):
    """The body of a chat request, as documented; a model may take further fields of its own."""

    messages: list[dict[str, Any]]
    max_completion_tokens: int | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    n: int | None = None
    stop: str | list[str] | None = None
    seed: int | None = None
    tools: list[dict[str, Any]] | None = None
    tool_choice: str | dict[str, Any] | None = None
    parallel_tool_calls: bool | None = None
    response_format: dict[str, Any] | None = None
    reasoning_effort: str | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None


async def create_completion(desk: Desk, x: Exchange) -> None:
    """Hold a conversation's next turn."""
    caller = await desk.door.enter(x)
    raw, body = await json_body(desk, x)
    options, given = split(body, ChatOptions, FIELDS)
    if options.stream_options is not None and not options.stream:
        raise Problem(Code.INVALID_INPUT, "stream_options takes stream: true beside it.", field="stream_options")
    effort = effort_in(x, body, options)
    fields = fitted(desk.catalog.get(options.model), given)
    # the answer is written in the job's result or, of a PHI request, answered directly and nowhere written
    idle = idle_in_streams(effort) if options.stream else ()
    ask = desk.ask(
        x, caller, raw, options, Operation.CHAT, fields, FIELDS, wants={"inline": True}, warnings=idle, effort=effort
    )  # fmt: skip
    asks = turns(desk, ask, effort, lambda card: (Operation.CHAT, fitted(card, given)))
    if options.stream:
        counted = options.stream_options is not None and options.stream_options.include_usage
        await stream_tried(desk, x, asks, effort, partial(ChatWords, catalog=desk.catalog, counted=counted))
    else:
        await answer_tried(desk, x, asks, effort, partial(_told, desk))


async def _told(desk: Desk, view: JobView) -> Answer:
    return turn_headers(view, desk.catalog), completion(view)


def fitted(card: Card | None, given: dict[str, Any]) -> dict[str, Any]:
    """Return the input for a model: one name for the bound on tokens, messages in the form that the model takes.

    Raises:
        Problem: `invalid_input` for two bounds that disagree.

    """
    fields = {name: value for name, value in given.items() if name not in USUAL or not _usual(name, value)}
    bounds = [fields.pop(name) for name in LIMITS if name in fields]
    if len(bounds) > 1 and bounds[0] != bounds[1]:
        sentence = "max_completion_tokens and max_tokens mean the same and disagree; send one of them."
        raise Problem(Code.INVALID_INPUT, sentence, field=LIMITS[0])
    if bounds:
        fields[LIMITS[1]] = bounds[0]
    if isinstance(messages := fields.get("messages"), list):
        rule = card.schema.properties.get("messages", {}) if card is not None else {}
        takes = rule.get("items", {}).get("properties", {})
        fields["messages"] = [_message(one, takes) if isinstance(one, dict) else one for one in messages]
    return fields


def _usual(name: str, value: Any) -> bool:
    return value == USUAL[name] and isinstance(value, bool) == isinstance(USUAL[name], bool)


def _message(message: dict[str, Any], takes: dict[str, Any]) -> dict[str, Any]:
    """Leave out nulls, with which clients send an answer back; say `developer` and parts of text in simpler words.

    That is done where the model's card takes neither: what guides it comes as `system`, and parts as one text.
    """
    kept = {name: value for name, value in message.items() if value is not None or name == "content"}
    roles = takes.get("role", {}).get("enum", ())
    if kept.get("role") == "developer" and "system" in roles and "developer" not in roles:
        kept["role"] = "system"
    content = kept.get("content")
    if takes.get("content", {}).get("type") == "string" and isinstance(content, list):
        texts = [one.get("text") for one in content if isinstance(one, dict) and one.get("type") == "text"]
        if len(texts) == len(content) and all(isinstance(text, str) for text in texts):
            kept["content"] = "\n".join(text for text in texts if text)
    return kept
