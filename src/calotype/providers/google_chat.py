"""A conversation in OpenAI's words as Google's `contents` (`wire/providers.md §3.9`)."""

from typing import Any

import msgspec

from calotype.kernel.steps import NOT_JSON
from calotype.providers.google_content import part_of
from calotype.providers.google_json import table, tables, word
from calotype.providers.google_media import Medium, medium_of

DIRECT: dict[str, str] = {
    "temperature": "temperature", "top_p": "topP", "top_k": "topK", "seed": "seed", "max_tokens": "maxOutputTokens",
    "max_completion_tokens": "maxOutputTokens", "presence_penalty": "presencePenalty",
    "frequency_penalty": "frequencyPenalty",
}  # fmt: skip
MODES = {"auto": "AUTO", "none": "NONE", "required": "ANY"}
BUDGETS = {"none": 0, "minimal": 512, "low": 1024, "medium": 8192, "high": 24_576}
"""Tokens of thought for models that count them (2.5); later ones take the level's name."""
COUNTING = "gemini-2"
_SOUNDS = {"mp3": "audio/mp3", "wav": "audio/wav"}


class Unusable(ValueError):  # noqa: N818  (it refuses an input; nothing went wrong)
    """A message that has no counterpart; `field` says where."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field


def chat_body(fields: dict[str, Any], model: str) -> dict[str, Any]:
    """Write the body of a chat request.

    Raises:
        Unusable: something in it that Google has no place for.

    """
    system, contents = _conversation(tables(fields.get("messages")))
    body: dict[str, Any] = {"contents": contents}
    if system:
        body["systemInstruction"] = {"parts": [{"text": text} for text in system]}
    if config := _config(fields, model):
        body["generationConfig"] = config
    if tools := [_declared(table(tool.get("function"))) for tool in tables(fields.get("tools"))]:
        body["tools"] = [{"functionDeclarations": tools}]
        if choice := _choice(fields.get("tool_choice")):
            body["toolConfig"] = {"functionCallingConfig": choice}
    return body


def _config(fields: dict[str, Any], model: str) -> dict[str, Any]:
    config = {DIRECT[name]: fields[name] for name in DIRECT if fields.get(name) is not None}
    if stop := fields.get("stop"):
        config["stopSequences"] = [stop] if isinstance(stop, str) else stop
    wanted = table(fields.get("response_format"))
    if wanted.get("type") in ("json_object", "json_schema"):
        config["responseMimeType"] = "application/json"
        if schema := table(table(wanted.get("json_schema")).get("schema")):
            config["responseJsonSchema"] = schema
    if thinking := _thinking(fields, model):
        config["thinkingConfig"] = thinking
    return config


def _thinking(fields: dict[str, Any], model: str) -> dict[str, Any]:
    budget, effort = fields.get("thinking_budget"), fields.get("reasoning_effort")
    if budget is not None:
        return {"thinkingBudget": budget, "includeThoughts": budget != 0}
    if effort is None:
        return {}
    if model.startswith(COUNTING):
        return {"thinkingBudget": BUDGETS.get(effort, BUDGETS["medium"]), "includeThoughts": effort != "none"}
    return {"thinkingLevel": "minimal" if effort == "none" else effort, "includeThoughts": effort != "none"}


def _declared(function: dict[str, Any]) -> dict[str, Any]:
    said = {"name": function.get("name"), "description": function.get("description")}
    said["parametersJsonSchema"] = function.get("parameters")
    return {name: value for name, value in said.items() if value}


def _choice(choice: Any) -> dict[str, Any] | None:
    if isinstance(choice, dict):
        name = table(choice.get("function")).get("name")
        return {"mode": "ANY", "allowedFunctionNames": [name]} if name else None
    return {"mode": MODES[choice]} if choice in MODES else None


def _conversation(messages: list[dict[str, Any]]) -> tuple[list[str], list[dict[str, Any]]]:
    """Return the instructions, and the turns; what follows from the same side is one turn."""
    system: list[str] = []
    contents: list[dict[str, Any]] = []
    names: dict[str, str] = {}
    for n, message in enumerate(messages):
        role = message.get("role")
        if role in ("system", "developer"):
            system += [word(part.get("text")) for part in _parts(message.get("content"), f"messages[{n}].content")]
            continue
        if role == "tool":
            side, parts = "user", [_result(message, names, n)]
        else:
            side = "model" if role == "assistant" else "user"
            parts = _parts(message.get("content"), f"messages[{n}].content")
            parts += [_called(call, names, n) for call in tables(message.get("tool_calls"))]
        if not parts:
            continue
        if contents and contents[-1]["role"] == side:
            contents[-1]["parts"] += parts
        else:
            contents.append({"role": side, "parts": parts})
    if not contents:
        raise Unusable("messages", "messages must hold something that a user says.")
    return system, contents


def _parts(content: Any, field: str) -> list[dict[str, Any]]:
    if isinstance(content, str):
        return [{"text": content}] if content else []
    return [_part(one, f"{field}[{n}]") for n, one in enumerate(tables(content))]


def _part(one: dict[str, Any], field: str) -> dict[str, Any]:
    kind = one.get("type")
    held = one.get(kind) if isinstance(kind, str) else None
    match kind:
        case "text" | "refusal":
            return {"text": word(held)}
        case "image_url" | "video_url" | "audio_url":
            url = held.get("url") if isinstance(held, dict) else held
            if isinstance(url, str) and url.startswith(("data:", "https://", "http://")):
                return part_of(medium_of(url))
        case "input_audio" if isinstance(held, dict):
            sound = word(held.get("format"))
            return part_of(Medium(_SOUNDS.get(sound, f"audio/{sound}"), base64=word(held.get("data"))))
        case "file" if isinstance(held, dict) and word(held.get("file_data")).startswith("data:"):
            return part_of(medium_of(held["file_data"]))
    raise Unusable(field, f"{field} is of a kind that this model does not take.")


def _called(call: dict[str, Any], names: dict[str, str], n: int) -> dict[str, Any]:
    """Write a call that the model made; its signature goes back to the model as it came."""
    function = table(call.get("function"))
    name, ident = word(function.get("name")), word(call.get("id"))
    names[ident] = name
    try:
        arguments = msgspec.json.decode(word(function.get("arguments")) or "{}", type=dict[str, Any])
    except NOT_JSON:
        field = f"messages[{n}].tool_calls"
        raise Unusable(field, f"{field} must have arguments that are a JSON object.") from None
    part: dict[str, Any] = {"functionCall": {"name": name, "args": arguments}}
    if signature := table(table(call.get("extra_content")).get("google")).get("thought_signature"):
        part["thoughtSignature"] = signature
    return part


def _result(message: dict[str, Any], names: dict[str, str], n: int) -> dict[str, Any]:
    name = names.get(word(message.get("tool_call_id"))) or word(message.get("name"))
    if not name:
        field = f"messages[{n}].tool_call_id"
        raise Unusable(field, f"{field} must be the id of a call in an earlier message.")
    text = "".join(word(part.get("text")) for part in _parts(message.get("content"), f"messages[{n}].content"))
    try:
        said: Any = msgspec.json.decode(text)
    except NOT_JSON:
        said = text
    return {"functionResponse": {"name": name, "response": said if isinstance(said, dict) else {"result": said}}}
