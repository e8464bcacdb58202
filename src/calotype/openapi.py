"""The OpenAPI 3.1 document: one table of endpoints, joined with the types that the dialect itself uses."""

from typing import Any

import msgspec

from calotype.catalog import Catalog
from calotype.dialects.content.endpoints import ENDPOINTS as CONTENT
from calotype.dialects.endpoints import Endpoint
from calotype.dialects.fal.documented import ENDPOINTS as FAL
from calotype.dialects.image.endpoints import ENDPOINTS as IMAGE
from calotype.dialects.jobs.endpoints import ENDPOINTS as JOBS
from calotype.dialects.openai import shapes
from calotype.dialects.openai.endpoints import ENDPOINTS as OPENAI
from calotype.kernel.generation import Operation

TEMPLATE = "#/components/schemas/{name}"

HTML = "text/html"
_TEXT: dict[str, Any] = {"type": "string"}

ENDPOINTS: tuple[Endpoint, ...] = (
    *OPENAI,
    *IMAGE,
    *JOBS,
    *CONTENT,
    *FAL,
    Endpoint("GET", "/healthz", "Health", "Is it alive?", "Answers while the process runs.", public=True),
    Endpoint(
        "GET", "/readyz", "Health", "Can it work?", "503 with what is wrong when it cannot.", public=True, errors=(503,)
    ),
    Endpoint(
        "GET", "/metrics", "Health", "Metrics", "In the text format of Prometheus.", public=True,
        media_type="text/plain",
    ),
)  # fmt: skip

WORDS: dict[str, str] = {
    "model": "The model, by id or alias; auto takes the cheapest that fits.",
    "prompt": "What to make, in words.",
    "n": "How many to make.",
    "size": "WIDTHxHEIGHT in pixels.",
    "quality": "The model's own word for how much effort to spend.",
    "background": "transparent, opaque or auto, where the model can.",
    "output_format": "png, jpeg or webp, where the model can choose.",
    "seed": "The same seed and input give the same result, where the model can.",
    "response_format": "The form of the answer.",
    "stream": "The answer as events (server-sent), as it comes.",
    "stream_options": "include_usage: a last event with what was used.",
    "partial_images": "How many previews a stream shows at most, where the model shows any.",
    "messages": "The conversation so far, in OpenAI's form; parts may be pictures and recordings.",
    "max_completion_tokens": "The most tokens of the answer.",
    "max_tokens": "The older name of max_completion_tokens.",
    "temperature": "0 always takes the likeliest word.",
    "top_p": "Only words that together are this likely are taken.",
    "stop": "Texts at which the answer ends.",
    "tools": "Functions that the model may call.",
    "tool_choice": "Which of the tools is called.",
    "parallel_tool_calls": "Whether several tools may be called at once.",
    "reasoning_effort": "How long the model may think first.",
    "frequency_penalty": "Above 0 words that were said often are avoided.",
    "presence_penalty": "Above 0 words that were said are avoided.",
    "input": "The text, for vectors also a list of texts.",
    "dimensions": "The length of the vectors, where the model can choose.",
    "encoding_format": "float or base64.",
    "voice": "The voice's name, or an object with its id.",
    "speed": "How fast it is spoken.",
    "instructions": "How it is spoken, in words, where the model can.",
    "stream_format": "audio: the recording itself; sse: in events.",
    "file": "A recording: a public URL, a data URI or a file id.",
    "language": "The language's code, such as en.",
    "timestamp_granularities": "segment, word or both: the times that verbose_json tells.",
    "video": "A film: a URL, a file id, or an object with a video's id.",
    "user": "Accepted for OpenAI's clients; use X-Calotype-Customer to group usage.",
    "webhook_url": "A public URL that is told when the job ends.",
    "allow_preview": "Let auto take a preview model.",
    "image_url": "A picture: a public URL, a data URI or a file id.",
    "audio_url": "A recording: a public URL, a data URI or a file id.",
    "seconds": "Length, as a number or a text.",
    "aspect_ratio": "Width to height, such as 16:9.",
    "resolution": "The model's own word for how large.",
    "width": "In pixels.",
    "height": "In pixels.",
    "num_images": "How many to make.",
    "image_size": "1K or 2K, where the model can choose.",
    "duration": "Seconds, where the model can choose.",
    "strict": "Off: what the model does not take is left out with a warning instead of refused.",
    "fallback": "Models to try in order where the one asked for cannot deliver.",
    "retries": "How often a model is tried again while none of its routes takes the request.",
    "timeout": "Milliseconds that each model may take; what takes longer is stopped.",
    "name": "What the key is called.",
    "rateLimit": "Requests a minute.",
    "enabled": "Whether the key may be used.",
}
"""What request fields mean; a model's own words are in its card."""

HEADERS: dict[str, tuple[str, dict[str, Any]]] = {
    "X-PHI": ("true: the payload is protected health information and goes to nobody without an agreement.",
              {"enum": ["true", "false"]}),
    "X-Region": ("Where the request may be processed.",
                 {"enum": ["CH", "EU", "US", "UK", "ASIA", "ANZ", "LATAM", "MENA", "INDIA", "WORLD"]}),
    "X-Model-Tier": ("Which tier auto prefers.", {"enum": ["fast", "baseline", "thinking"]}),
    "Idempotency-Key": ("Sent again with the same request, it answers the same job.",
                        {"type": "string", "minLength": 1, "maxLength": 255}),
    "X-Calotype-Customer": ("Your own customer, to group usage by.", {"type": "string", "maxLength": 200}),
    "X-Calotype-Tags": ("Your own labels: team=radiology,project=42.", {"type": "string"}),
    "X-Webhook-Url": ("A public URL that is told when the job ends.", {"type": "string"}),
}  # fmt: skip
"""Headers of requests that make something."""

ANSWER_HEADERS: dict[str, str] = {
    "x-request-id": "Names this exchange in logs; your own is kept where you send one.",
    "x-calotype-job-id": "The job.",
    "x-phi-cost-micro": "The price in micro-USD: the quote while it runs, the charge once it ended, 0 on a refusal.",
    "x-phi-routed": "The route that served: model/region/class.",
    "x-phi-tier": "phi or non_phi.",
    "x-phi-attempts": "How many routes were tried.",
    "x-phi-usage": "verified where the price rests on what was measured, estimated where it does not.",
    "x-phi-tools": "Of chats: whether the model that answered knows tools.",
    "x-calotype-warnings": "A JSON list of what the caller should know, also in the body.",
}

ERRORS: dict[int, str] = {
    400: "The request does not fit; `param` names the field.",
    401: "The API key is missing, wrong, expired or revoked.",
    402: "Too little credit; `data` says what is needed and what there is.",
    403: "Policy, the key or its spend cap forbids it.",
    404: "There is no such thing, or no route for it.",
    405: "The path does not take this method.",
    409: "It cannot be done in this state.",
    410: "It is gone; a retired model names its replacement.",
    413: "The body is too large.",
    415: "The body is of a type that is not taken.",
    422: "A field does not fit, or the Idempotency-Key was used with another request.",
    429: "Too many requests; Retry-After says when to come back.",
    499: "It was cancelled.",
    500: "It broke; nothing was charged.",
    501: "Planned, and not possible yet.",
    502: "The provider failed; nothing was charged.",
    503: "Not possible at the moment; nothing was charged.",
    504: "It did not end in time.",
}


def document(catalog: Catalog, *, version: str, url: str) -> dict[str, Any]:
    """Return the document for a catalogue, as plain values."""
    types = {
        one
        for endpoint in ENDPOINTS
        for one in (endpoint.answer, endpoint.body, endpoint.error)
        if one is not None
    } | {shapes.Error}  # fmt: skip
    ordered = sorted(types, key=lambda one: one.__name__)
    named, schemas = msgspec.json.schema_components(ordered, ref_template=TEMPLATE)
    refs = dict(zip(ordered, named, strict=True))
    for kind, operations in _bodies().items():
        fields = schemas[kind.__name__]["properties"]
        for name in WORDS.keys() & fields.keys():
            fields[name].setdefault("description", WORDS[name])
        names = [
            name
            for card in catalog.cards()
            if not operations or not operations.isdisjoint(card.operations)
            for name in card.names
        ]
        if "model" in fields:
            fields["model"]["anyOf"] = [{"enum": ["auto", *names]}, {"type": "string"}]
            fields["model"].pop("type", None)
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, refs, catalog)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Calotype",
            "version": version,
            "summary": "One API in front of every image, video, audio and language model.",
            "description": "Everything below `/v1` is served below `/api/v1` as well.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "servers": [{"url": url}],
        "security": [{"bearer": []}],
        "paths": paths,
        "components": {
            "schemas": schemas,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer", "description": "A key: ct_live_…"}},
        },
        "x-calotype-models": {card.id: card.schema.document for card in catalog.cards()},
    }


def _bodies() -> dict[type, frozenset[Operation]]:
    """Return the bodies of requests and the operations whose models they may name; none stands for all."""
    found: dict[type, frozenset[Operation]] = {}
    for endpoint in ENDPOINTS:
        if endpoint.body is not None:
            found[endpoint.body] = found.get(endpoint.body, frozenset()).union(endpoint.operations)
    return found


def _operation(endpoint: Endpoint, refs: dict[type, Any], catalog: Catalog) -> dict[str, Any]:
    asks = _makes(endpoint)
    parameters = [
        {"name": one.name, "in": one.place, "required": one.place == "path", "description": one.words,
         "schema": one.schema}
        for one in endpoint.parameters
    ]  # fmt: skip
    if asks:
        parameters += [
            {"name": name, "in": "header", "required": False, "description": words, "schema": schema}
            for name, (words, schema) in HEADERS.items()
        ]
    operation: dict[str, Any] = {
        "operationId": endpoint.name,
        "tags": [endpoint.group],
        "summary": endpoint.summary,
        "description": endpoint.words,
        "responses": _responses(endpoint, refs),
    }
    if parameters:
        operation["parameters"] = parameters
    content: dict[str, Any] = {}
    if endpoint.body is not None:
        content["application/json"] = {"schema": refs[endpoint.body]}
        if endpoint.example is not None:
            content["application/json"]["example"] = endpoint.example
    if (schema := schema_of(endpoint, catalog)) is not None:
        content["application/json"] = {"schema": schema}
        if endpoint.example is not None:
            content["application/json"]["example"] = endpoint.example
    if endpoint.form is not None:
        content["multipart/form-data"] = {"schema": endpoint.form}
    if content:
        operation["requestBody"] = {"required": True, "content": content}
    if endpoint.public:
        operation["security"] = []
    return operation


def schema_of(endpoint: Endpoint, catalog: Catalog) -> dict[str, Any] | None:
    """Return the schema of a body that is told by its own schema or by a card; None for any other."""
    if endpoint.schema is not None or endpoint.card is None:
        return endpoint.schema
    card = catalog.get(endpoint.card)
    document: dict[str, Any] = card.schema.document if card is not None else {"type": "object"}
    return {**document, "properties": {**document.get("properties", {}), **endpoint.further}}


def _responses(endpoint: Endpoint, refs: dict[type, Any]) -> dict[str, Any]:
    names = ANSWER_HEADERS if _makes(endpoint) else ("x-request-id",)
    headers = {name: {"description": ANSWER_HEADERS[name], "schema": _TEXT} for name in names}
    responses: dict[str, Any] = {}
    if endpoint.redirects:
        location = {"description": "A signed, short-lived URL.", "schema": _TEXT}
        responses["302"] = {"description": "Where the bytes are.", "headers": {**headers, "location": location}}
    if not endpoint.redirects or endpoint.more_types:
        schema = refs[endpoint.answer] if endpoint.answer is not None else {}
        content: dict[str, Any] = {kind: {"schema": {}} for kind in endpoint.more_types}
        content[endpoint.media_type] = {"schema": schema}
        if endpoint.answer_example is not None:
            content[endpoint.media_type]["example"] = endpoint.answer_example
        good = {"description": endpoint.summary, "headers": headers, "content": content}
        if endpoint.status == 204:
            del good["content"]
        responses[str(endpoint.status)] = good
    own = endpoint.group == "Health"
    for status in sorted({*endpoint.errors, *(() if endpoint.public else (401,))}):
        error = {} if own else refs[endpoint.error or shapes.Error]
        kinds: dict[str, Any] = {"application/json": {"schema": error}}
        if endpoint.media_type == HTML:
            kinds[HTML] = {"schema": {}}
        responses[str(status)] = {
            "description": ERRORS[status],
            "headers": {"x-request-id": headers["x-request-id"]},
            "content": kinds,
        }
    return responses


def _makes(endpoint: Endpoint) -> bool:
    """Say whether it runs a model, and so keeps to the headers that steer that."""
    asks = endpoint.body or endpoint.schema or endpoint.card or endpoint.operations
    return bool(asks) and not endpoint.plain
