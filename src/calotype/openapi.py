"""The OpenAPI 3.1 document: one table of endpoints, joined with the types that the dialect itself uses."""

from typing import Any

import msgspec
from msgspec import Struct

from calotype.catalog import Catalog
from calotype.dialects.openai import shapes
from calotype.dialects.openai.images import ImageRequest
from calotype.dialects.openai.videos import VideoRequest

TEMPLATE = "#/components/schemas/{name}"


class Parameter(Struct, frozen=True):
    """A parameter in the path or the query."""

    name: str
    words: str
    schema: dict[str, Any]
    place: str = "query"


class Endpoint(Struct, frozen=True):
    """One route as it is documented; `errors` are the statuses it may refuse with beside those every route has."""

    method: str
    path: str
    group: str
    summary: str
    words: str
    answer: type | None = None
    status: int = 200
    media_type: str = "application/json"
    body: type | None = None
    form: dict[str, Any] | None = None
    example: dict[str, Any] | None = None
    answer_example: dict[str, Any] | None = None
    parameters: tuple[Parameter, ...] = ()
    errors: tuple[int, ...] = ()
    public: bool = False
    redirects: bool = False

    @property
    def name(self) -> str:
        """The operation's id: `post_v1_images_generations`."""
        return f"{self.method.lower()}_{self.path.strip('/').translate(_PLAIN)}"


_PLAIN = str.maketrans({"/": "_", "{": "", "}": "", ".": "_"})
_TEXT: dict[str, Any] = {"type": "string"}
_ID = Parameter("id", "The id that the creating call answered.", _TEXT, "path")
_FILM = {"model": "local/sketch-video", "prompt": "waves rolling towards a beach", "seconds": "4", "size": "1280x720"}
_ASK_ERRORS = (400, 402, 403, 404, 410, 413, 415, 422, 429, 501, 502, 503, 504)
_VIDEO = {
    "id": "video_019a9c1e7a5c7d0e8a4f2b6c1d3e5f70", "object": "video", "model": "local/sketch-video",
    "status": "queued", "progress": 0, "created_at": 1_795_000_000, "completed_at": None, "expires_at": None,
    "prompt": "waves rolling towards a beach", "seconds": "4", "size": "1280x720", "remixed_from_video_id": None,
    "error": None, "data": None,
}  # fmt: skip
_FILE_FORM = {
    "type": "object",
    "required": ["file"],
    "properties": {
        "file": {"type": "string", "format": "binary", "description": "The file."},
        "purpose": {"type": "string", "description": "Your own word for what it is for."},
        "expires_after[seconds]": {"type": "integer", "minimum": 1, "description": "Keep it shorter than usual."},
    },
}

ENDPOINTS: tuple[Endpoint, ...] = (
    Endpoint(
        "POST", "/v1/images/generations", "Images", "Make pictures",
        "Waits for the pictures and answers them, by URL or as base64.",
        shapes.Images, body=ImageRequest, errors=_ASK_ERRORS,
        example={"model": "local/sketch", "prompt": "a lighthouse on a cliff at sunset", "size": "1024x1024"},
        answer_example={
            "created": 1_795_000_000, "data": [{"url": "https://calotype.example/v1/media/AQBr…/0.png"}],
            "model": "local/sketch",
        },
    ),
    Endpoint(
        "POST", "/v1/videos/generations", "Videos", "Make a video",
        "Answers at once with a job to poll. A picture makes it image-to-video, a recording a talking avatar.",
        shapes.Video, 202, body=VideoRequest, errors=_ASK_ERRORS, example=_FILM, answer_example=_VIDEO,
    ),
    Endpoint(
        "POST", "/v1/videos", "Videos", "Make a video, as OpenAI's clients do",
        "The same job from a form or from JSON; input_reference takes a file.",
        shapes.Video, 202, body=VideoRequest, errors=_ASK_ERRORS, example=_FILM, answer_example=_VIDEO,
        form={
            "type": "object",
            "required": ["prompt"],
            "properties": {
                "model": _TEXT, "prompt": _TEXT, "seconds": _TEXT, "size": _TEXT,
                "input_reference": {"type": "string", "format": "binary", "description": "A picture to film."},
            },
        },
    ),
    Endpoint(
        "GET", "/v1/videos", "Videos", "List videos", "Newest first. The shared test key lists nothing.",
        shapes.Videos, errors=(400, 403, 404),
        parameters=(
            Parameter("limit", "How many to answer.", {"type": "integer", "minimum": 1, "maximum": 100, "default": 20}),
            Parameter("after", "The last id of the page before.", _TEXT),
            Parameter("order", "Newest first.", {"enum": ["desc"], "default": "desc"}),
        ),
    ),
    Endpoint(
        "GET", "/v1/videos/{id}", "Videos", "Look at a video",
        "Polls are never refused for their number; the header openai-poll-after-ms says when to come back.",
        shapes.Video, parameters=(_ID,), errors=(404,),
    ),
    Endpoint(
        "GET", "/v1/videos/{id}/content", "Videos", "Fetch a video's file", "Redirects to a signed URL.",
        parameters=(_ID, Parameter("variant", "Only the video is kept.", {"enum": ["video"], "default": "video"})),
        errors=(400, 404, 409, 502, 503, 504), redirects=True,
    ),
    Endpoint(
        "DELETE", "/v1/videos/{id}", "Videos", "Delete a video",
        "Cancels a video that has not ended; removes the files of one that has.",
        shapes.Deleted, parameters=(_ID,), errors=(404, 409, 429),
    ),
    Endpoint("GET", "/v1/models", "Models", "List models", "Every model this server knows.", shapes.Models),
    Endpoint(
        "GET", "/v1/models/{id}", "Models", "Look at a model", "Slashes in the id may be sent as %2F.",
        shapes.Model, parameters=(_ID,), errors=(404, 410),
    ),
    Endpoint("GET", "/v1/pricing", "Models", "See the rate card", "No key is needed.", shapes.Pricing, public=True),
    Endpoint(
        "POST", "/v1/files", "Files", "Upload a file", "The file's id can stand where a request takes a URL.",
        shapes.FileObject, form=_FILE_FORM, errors=(400, 403, 413, 415, 429, 503),
    ),
    Endpoint(
        "GET", "/v1/files", "Files", "List files", "Newest first.", shapes.Files,
        parameters=(Parameter("after", "The last id of the page before.", _TEXT),), errors=(404,),
    ),
    Endpoint(
        "GET", "/v1/files/{id}", "Files", "Look at a file", "What is known of it.", shapes.FileObject,
        parameters=(_ID,), errors=(404,),
    ),
    Endpoint(
        "GET", "/v1/files/{id}/content", "Files", "Fetch a file", "Redirects to a signed URL.",
        parameters=(_ID,), errors=(404,), redirects=True,
    ),
    Endpoint(
        "DELETE", "/v1/files/{id}", "Files", "Delete a file", "It is gone at once.", shapes.Deleted,
        parameters=(_ID,), errors=(404, 429),
    ),
    Endpoint(
        "GET", "/v1/media/{token}/{name}", "Media", "Fetch what was made",
        "The URLs in answers lead here; they are signed, expire, and take Range.",
        media_type="application/octet-stream", errors=(404, 410), public=True,
        parameters=(
            Parameter("token", "Signed by this server.", _TEXT, "path"),
            Parameter("name", "The file's name.", _TEXT, "path"),
        ),
    ),
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
    "response_format": "A signed URL, or the bytes as base64 in the answer.",
    "stream": "Not offered for pictures; leave it out.",
    "user": "Accepted for OpenAI's clients; use X-Calotype-Customer to group usage.",
    "webhook_url": "A public URL that is told when the job ends.",
    "allow_preview": "Let auto take a preview model.",
    "image_url": "A picture: a public URL, a data URI or a file id.",
    "audio_url": "A recording: a public URL, a data URI or a file id.",
    "seconds": "Length, as a number or a text.",
    "aspect_ratio": "Width to height, such as 16:9.",
    "resolution": "The model's own word for how large.",
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
    422: "The Idempotency-Key was used with another request.",
    429: "Too many requests; Retry-After says when to come back.",
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
        for one in (endpoint.answer, endpoint.body)
        if one is not None
    } | {shapes.Error}  # fmt: skip
    ordered = sorted(types, key=lambda one: one.__name__)
    named, schemas = msgspec.json.schema_components(ordered, ref_template=TEMPLATE)
    refs = dict(zip(ordered, named, strict=True))
    names = [name for card in catalog.cards() for name in card.names]
    for kind in ("ImageRequest", "VideoRequest"):
        schema = schemas[kind]
        fields = schema["properties"]
        schema["properties"] = {name: {**fields[name], "description": WORDS[name]} for name in WORDS if name in fields}
        schema["properties"]["model"]["anyOf"] = [{"enum": ["auto", *names]}, {"type": "string"}]
        del schema["properties"]["model"]["type"]
        schema["required"] = ["prompt"] if kind == "ImageRequest" else []
    paths: dict[str, dict[str, Any]] = {}
    for endpoint in ENDPOINTS:
        paths.setdefault(endpoint.path, {})[endpoint.method.lower()] = _operation(endpoint, refs)
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


def _operation(endpoint: Endpoint, refs: dict[type, Any]) -> dict[str, Any]:
    asks = endpoint.body is not None
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
        content["application/json"] = {"schema": refs[endpoint.body], "example": endpoint.example}
    if endpoint.form is not None:
        content["multipart/form-data"] = {"schema": endpoint.form}
    if content:
        operation["requestBody"] = {"required": True, "content": content}
    if endpoint.public:
        operation["security"] = []
    return operation


def _responses(endpoint: Endpoint, refs: dict[type, Any]) -> dict[str, Any]:
    names = ANSWER_HEADERS if endpoint.body is not None else ("x-request-id",)
    headers = {name: {"description": ANSWER_HEADERS[name], "schema": _TEXT} for name in names}
    good: dict[str, Any] = {"description": endpoint.summary, "headers": headers}
    if endpoint.redirects:
        location = {"description": "A signed, short-lived URL.", "schema": _TEXT}
        responses = {"302": {"description": "Where the bytes are.", "headers": {**headers, "location": location}}}
    else:
        schema = refs[endpoint.answer] if endpoint.answer is not None else {}
        good["content"] = {endpoint.media_type: {"schema": schema}}
        if endpoint.answer_example is not None:
            good["content"][endpoint.media_type]["example"] = endpoint.answer_example
        responses = {str(endpoint.status): good}
    own = endpoint.group == "Health"
    for status in sorted({*endpoint.errors, *(() if endpoint.public else (401,))}):
        error = {} if own else refs[shapes.Error]
        responses[str(status)] = {
            "description": ERRORS[status],
            "headers": {"x-request-id": headers["x-request-id"]},
            "content": {"application/json": {"schema": error}},
        }
    return responses
