"""A model's own OpenAPI document, as readers of schemas fetch it (`wire/fal.md §11`)."""

from typing import Any

from calotype.catalog import Card
from calotype.dialects.fal.outputs import SINGLE
from calotype.kernel.generation import Operation

CATEGORIES: dict[Operation, str] = {
    Operation.UPSCALE: "image-to-image", Operation.BACKGROUND_REMOVAL: "image-to-image",
    Operation.TALKING_AVATAR: "image-to-video", Operation.LIP_SYNC: "video-to-video",
    Operation.TEXT_TO_MUSIC: "text-to-audio", Operation.VOICE_CLONING: "text-to-speech",
    Operation.SPEECH_TO_SPEECH: "audio-to-audio", Operation.TRANSCRIPTION: "speech-to-text", Operation.CHAT: "llm",
    Operation.OCR: "image-to-text",
}  # fmt: skip
"""fal's words for operations that it calls otherwise (`wire/products.md E6`)."""
_FILE: dict[str, Any] = {
    "title": "File",
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": {"type": "string", "description": "Where the file can be read."},
        "content_type": {"type": "string"},
        "file_name": {"type": "string"},
        "file_size": {"type": "integer", "description": "In bytes."},
        "width": {"type": "integer", "description": "In pixels, of a picture or a film."},
        "height": {"type": "integer", "description": "In pixels, of a picture or a film."},
        "duration": {"type": "number", "description": "In seconds, of a film or a recording."},
    },
}
_SYNC_MODE = {"type": "boolean", "default": False, "description": "Answers pictures as data URIs."}
_REF = {"$ref": "#/components/schemas/File"}
_STATUS: dict[str, Any] = {
    "title": "QueueStatus",
    "type": "object",
    "required": ["status", "request_id"],
    "properties": {
        "status": {"type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]},
        "request_id": {"type": "string", "format": "uuid"},
        "response_url": {"type": "string"},
        "status_url": {"type": "string"},
        "cancel_url": {"type": "string"},
        "queue_position": {"type": "integer"},
        "logs": {"type": ["array", "null"], "items": {"type": "object"}},
        "metrics": {"type": "object"},
    },
}


def model_document(card: Card, queue_url: str, own_url: str) -> dict[str, Any]:
    """Return the document of one model; `queue_url` is where its queue is reached."""
    name = "".join(part.capitalize() for part in card.id.replace("/", "-").replace(".", "-").split("-"))
    return {
        "openapi": "3.0.4",
        "info": {
            "title": f"Queue OpenAPI for {card.id}",
            "version": "1.0.0",
            "description": card.description or card.title,
            "x-fal-metadata": {
                "endpointId": card.id,
                "category": category(card),
                "thumbnailUrl": "",
                "playgroundUrl": "",
                "documentationUrl": f"{own_url}/docs#model-list",
            },
        },
        "components": {
            "securitySchemes": {
                "apiKeyAuth": {
                    "type": "apiKey", "in": "header", "name": "Authorization", "description": "Key <your key>",
                }
            },
            "schemas": {
                "File": _FILE, "QueueStatus": _plain(_STATUS), f"{name}Input": _input(card, f"{name}Input"),
                f"{name}Output": output_schema(card, f"{name}Output"),
            },
        },
        "servers": [{"url": queue_url}],
        "security": [{"apiKeyAuth": []}],
        "paths": _paths(card.id, name),
    }  # fmt: skip


def category(card: Card) -> str:
    """Return the one word under which a model is listed, fal's where fal has one."""
    first = card.operations[0]
    return CATEGORIES.get(first, first.value)


def output_schema(card: Card, title: str) -> dict[str, Any]:
    """Describe what a model answers, as `outputs` writes it; more facts may stand beside it."""
    properties: dict[str, Any]
    if card.operations[0] is Operation.CHAT:
        text = {"type": "string", "nullable": True}
        properties = {"output": {"type": "string"}, "reasoning": text, "partial": {"type": "boolean"}, "error": text}
    elif (single := SINGLE.get(card.operations[0])) is not None:
        properties = {single: _REF}
    elif card.output == "image":
        properties = {
            "images": {"type": "array", "items": _REF}, "seed": {"type": "integer"}, "prompt": {"type": "string"},
            "has_nsfw_concepts": {"type": "array", "items": {"type": "boolean"}}, "timings": {"type": "object"},
        }  # fmt: skip
    elif card.output in ("video", "audio", "file"):
        properties = {card.output: _REF}
    else:
        properties = {}
    return {"title": title, "type": "object", "x-fal-order-properties": list(properties), "properties": properties}


def _input(card: Card, title: str) -> dict[str, Any]:
    schema = {key: value for key, value in card.schema.document.items() if not key.startswith("$")}
    plain: dict[str, Any] = _plain(schema)
    if card.output == "image" and "sync_mode" not in card.schema.properties:
        plain["properties"] = {**plain["properties"], "sync_mode": _SYNC_MODE}
    return {**plain, "title": title, "x-fal-order-properties": list(plain["properties"])}


def _plain(value: Any) -> Any:
    """Write a schema as OpenAPI 3.0 does: one type, and `nullable` beside it."""
    if isinstance(value, list):
        return [_plain(one) for one in value]
    if not isinstance(value, dict):
        return value
    found = {key: _plain(one) for key, one in value.items()}
    kinds = found.get("type")
    if isinstance(kinds, list):
        some = [kind for kind in kinds if kind != "null"]
        rest = {key: one for key, one in found.items() if key != "type"}
        found = rest | ({"type": some[0]} if len(some) == 1 else {"anyOf": [{"type": kind} for kind in some]})
        if "null" in kinds:
            found["nullable"] = True
    if "const" in found:
        found["enum"] = [found.pop("const")]
    return found


def _paths(endpoint: str, name: str) -> dict[str, Any]:
    def answer(schema: str) -> dict[str, Any]:
        content = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
        return {"200": {"description": "The request's answer.", "content": content}}

    ident = {"name": "request_id", "in": "path", "required": True, "schema": {"type": "string", "format": "uuid"}}
    logs = {"name": "logs", "in": "query", "required": False, "schema": {"type": "number"}}
    taken = {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}Input"}}}
    success = {"type": "object", "properties": {"success": {"type": "boolean"}}}
    canceled = {"200": {"description": "It was cancelled.", "content": {"application/json": {"schema": success}}}}
    request = f"/{endpoint}/requests/{{request_id}}"
    return {
        f"/{endpoint}": {
            "post": {"requestBody": {"required": True, "content": taken}, "responses": answer("QueueStatus")}
        },
        f"{request}/status": {"get": {"parameters": [ident, logs], "responses": answer("QueueStatus")}},
        f"{request}/cancel": {"put": {"parameters": [ident], "responses": canceled}},
        request: {"get": {"parameters": [ident], "responses": answer(f"{name}Output")}},
    }
