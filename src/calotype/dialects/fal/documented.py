"""The endpoints of the fal dialect, as they are documented; fal's own host names lead to the same places."""

from typing import Any

from msgspec import Struct

from calotype.dialects.endpoints import Endpoint, Parameter
from calotype.dialects.fal import (
    platform_account,
    platform_analytics,
    platform_models,
    platform_requests,
    platform_usage,
)

MODELS = "fal: models"
STORAGE = "fal: files"
PLATFORM = "fal: platform"

_TEXT: dict[str, Any] = {"type": "string"}
_MANY: dict[str, Any] = {"type": "string", "description": "1 to 50, with commas between."}
_INPUT: dict[str, Any] = {
    "type": "object",
    "properties": {},
    "description": "The model's input; its own document says what it takes.",
}
_MODEL = Parameter("model", "The model, by id or alias; slashes need not be escaped.", _TEXT, "path")
_REQUEST = Parameter("request_id", "The id that the submit answered.", _TEXT, "path")
_LOGS = Parameter("logs", "1 or true: with the log so far.", _TEXT)
_WEBHOOK = Parameter("fal_webhook", "A public URL that is told when the request ends.", _TEXT)
_START = Parameter("start", "ISO date or time; 24 hours ago unless said.", _TEXT)
_END = Parameter("end", "ISO date or time, exclusive; now unless said.", _TEXT)
_ZONE = Parameter("timezone", "Where days begin.", _TEXT)
_FRAME = Parameter("timeframe", "How long a bucket is.", {"enum": ["minute", "hour", "day", "week", "month"]})
_BOUND = Parameter("bound_to_timeframe", "false: bounds are not moved to whole buckets.", {"enum": ["true", "false"]})
_IDS = Parameter("endpoint_id", "Models.", _MANY)
_KEYS = Parameter("api_key_id", "Keys.", _MANY)
_EXPAND = Parameter("expand", "What else is answered.", _TEXT)
_CURSOR = Parameter("cursor", "The next_cursor of the page before.", _TEXT)
_SPAN = (_START, _END)
_FRAMES = (*_SPAN, _ZONE, _FRAME, _BOUND)
_URL = Parameter("url", "A file of yours.", _TEXT)
_ACL: dict[str, Any] = {
    "type": "object",
    "properties": {
        "default": {"enum": ["allow", "forbid", "hide"]},
        "rules": {
            "type": "array",
            "maxItems": 10,
            "items": {
                "type": "object",
                "required": ["user", "decision"],
                "properties": {
                    "user": {"type": "string", "minLength": 1, "maxLength": 60},
                    "decision": {"enum": ["allow", "forbid", "hide"]},
                },
            },
        },
    },
}
_SETTINGS: dict[str, Any] = {
    "type": "object",
    "properties": {
        "expiration_duration_seconds": {"anyOf": [{"type": "integer", "minimum": 1}, {"type": "null"}]},
        "initial_acl": _ACL,
    },
}
_ESTIMATE: dict[str, Any] = {
    "type": "object",
    "required": ["estimate_type", "endpoints"],
    "properties": {
        "estimate_type": {"enum": ["historical_api_price", "unit_price"]},
        "endpoints": {"type": "object", "description": "Model → call_quantity or unit_quantity."},
    },
}
_RUN_ERRORS = (400, 403, 404, 405, 410, 413, 415, 422, 429, 500, 501, 503, 504)
_ASK_ERRORS = (400, 404, 405, 429)


class FalRefusal(Struct):
    """A refusal in fal's words: `detail` is a text, or a list that names the fields."""

    detail: Any
    error: dict[str, Any]
    message: str = ""
    error_type: str = ""


class PlatformError(Struct):
    """What went wrong: `type` is authorization_error, validation_error, not_found, rate_limited and so on."""

    type: str
    message: str
    request_id: str


class PlatformRefusal(Struct):
    """A refusal of the Platform API."""

    error: PlatformError


def _page(most: int) -> tuple[Parameter, ...]:
    """Return the parameters of a list whose pages have so many items at most."""
    return Parameter("limit", "How many items a page has.", {"type": "integer", "minimum": 1, "maximum": most}), _CURSOR


def _run(method: str, path: str, summary: str, words: str, **more: Any) -> Endpoint:
    return Endpoint(method, f"/fal/{path}", MODELS, summary, words, error=FalRefusal, **more)


def _platform(method: str, path: str, summary: str, words: str, **more: Any) -> Endpoint:
    errors = more.pop("errors", _ASK_ERRORS)
    return Endpoint(
        method, f"/fal/api/v1{path}", PLATFORM, summary, words, error=PlatformRefusal, errors=errors, plain=True, **more
    )


def _admin(method: str, path: str, summary: str, words: str, **more: Any) -> Endpoint:
    return _platform(method, path, summary, words, errors=(*_ASK_ERRORS, 403, *more.pop("also", ())), **more)


ENDPOINTS: tuple[Endpoint, ...] = (
    _run(
        "POST", "queue/{model}", "Submit a request", "Answers at once with the addresses of the request.",
        schema=_INPUT, example={"prompt": "a lighthouse"}, parameters=(_MODEL, _WEBHOOK), errors=_RUN_ERRORS,
    ),
    _run(
        "GET", "queue/{model}/requests/{request_id}/status", "Look how a request stands",
        "202 until it has ended, 200 then; never counted against the rate.",
        parameters=(_MODEL, _REQUEST, _LOGS), errors=(404,),
    ),
    _run(
        "GET", "queue/{model}/requests/{request_id}/status/stream", "Follow a request", "Each change as an event.",
        media_type="text/event-stream", parameters=(_MODEL, _REQUEST, _LOGS), errors=(404,),
    ),
    _run(
        "GET", "queue/{model}/requests/{request_id}", "Get the output of a request",
        "400 while it is in progress; where it failed, the status and body of the failure.",
        parameters=(_MODEL, _REQUEST), errors=(*_RUN_ERRORS, 499),
    ),
    _run(
        "PUT", "queue/{model}/requests/{request_id}/cancel", "Cancel a request", "400 where it has ended.",
        status=202, parameters=(_MODEL, _REQUEST), errors=(400, 404),
    ),
    _run(
        "GET", "queue/{model}/openapi.json", "A model's own document", "OpenAPI 3.0, with input and output.",
        parameters=(_MODEL,), errors=(404,), public=True,
    ),
    _run(
        "POST", "run/{model}", "Call a model and wait", "Answers the output.", schema=_INPUT,
        example={"prompt": "a lighthouse"}, parameters=(_MODEL,), errors=(*_RUN_ERRORS, 499),
    ),
    _run(
        "POST", "run/{model}/stream", "Call a model and follow it", "Progress as events; the last one is the output.",
        schema=_INPUT, example={"prompt": "a lighthouse"}, media_type="text/event-stream", parameters=(_MODEL,),
        errors=(*_RUN_ERRORS, 499),
    ),
    Endpoint(
        "POST", "/fal/rest/storage/upload/initiate", STORAGE, "Begin an upload",
        "Answers where the file is put and where it will be read.", error=FalRefusal, errors=(400, 403, 413, 415, 429),
        schema={"type": "object", "properties": {"file_name": _TEXT, "content_type": _TEXT}},
        example={"file_name": "a.png", "content_type": "image/png"}, plain=True,
    ),
    _platform(
        "GET", "/models", "Search models", "Those that this server can run.", public=True,
        parameters=(Parameter("q", "Words.", _TEXT), Parameter("category", "Such as text-to-image.", _TEXT),
                    Parameter("status", "Their state.", {"enum": ["active", "deprecated"]}), _IDS, _EXPAND,
                    *_page(platform_models.MOST_PAGE)),
    ),
    _platform("GET", "/models/pricing", "Prices of models", "Retail prices in USD.", parameters=(_IDS,)),
    _platform(
        "POST", "/models/pricing/estimate", "Estimate a cost", "By units of the price, or by your own last 30 days.",
        schema=_ESTIMATE, errors=(*_ASK_ERRORS, 413, 415),
        example={"estimate_type": "unit_price", "endpoints": {"local/sketch": {"unit_quantity": 50}}},
    ),
    _admin(
        "GET", "/models/usage", "Usage in buckets", "What was delivered and captured, by model and unit.",
        parameters=(*_FRAMES, _IDS, _KEYS, _EXPAND, *_page(platform_usage.USUAL_BUCKETS)),
    ),
    _platform(
        "GET", "/models/analytics", "Analytics of models", "Counts and percentiles that `expand` names.",
        parameters=(*_FRAMES, _IDS, _EXPAND, *_page(platform_analytics.USUAL_BUCKETS)),
    ),
    _admin(
        "GET", "/models/billing-events", "Billing events", "What each request that succeeded was charged.",
        parameters=(*_SPAN, _IDS, _KEYS, Parameter("request_id", "Requests.", _MANY), _EXPAND,
                    *_page(platform_usage.MOST_EVENTS)),
    ),
    _platform(
        "GET", "/models/requests/by-endpoint", "Requests of models", "Those that have ended; expand=payloads for more.",
        parameters=(*_SPAN, _IDS, Parameter("request_id", "One request.", _TEXT),
                    Parameter("status", "How they ended.", {"enum": ["success", "error", "user_error"]}),
                    Parameter("sort_by", "Their order.", {"enum": ["ended_at", "duration"]}), _EXPAND,
                    *_page(platform_requests.MOST_PAGE)),
    ),
    _platform(
        "GET", "/models/requests/search", "Browse requests", "Newest first; search by meaning is not offered.",
        parameters=(*_SPAN, _IDS, *_page(platform_requests.MOST_PAGE)), errors=(*_ASK_ERRORS, 501),
    ),
    _admin(
        "DELETE", "/models/requests/{request_id}/payloads", "Remove payloads",
        "Input, output and output files of one request; the charge stays.", parameters=(_REQUEST,),
    ),
    _admin(
        "GET", "/keys", "List keys", "Without their secrets.",
        parameters=(_EXPAND, *_page(platform_account.MOST_PAGE)),
    ),
    _admin(
        "POST", "/keys", "Make a key", "Of scope API, under the bounds of yours; its secret is shown this once.",
        status=201, also=(413, 415),
        schema={"type": "object", "required": ["alias"],
                "properties": {"alias": {"type": "string", "minLength": 1, "maxLength": 255}}},
    ),
    _admin(
        "DELETE", "/keys/{id}", "Revoke a key", "For good.", status=204,
        parameters=(Parameter("id", "The key's id.", _TEXT, "path"),),
    ),
    _admin("GET", "/account/billing", "Credit", "What may still be spent, with expand=credits.", parameters=(_EXPAND,)),
    _admin(
        "GET", "/account/focus", "FOCUS report", "Costs by day, model and key as the FinOps Foundation writes them.",
        media_type="text/csv", also=(501,),
        parameters=(Parameter("source", "Invoices are not written here.", {"enum": ["estimate", "invoice"]}),
                    Parameter("billing_month", "Such as 2026-11.", _TEXT), *_SPAN),
    ),
    _platform(
        "GET", "/account/model-access-controls", "Allowed models", "Which models the key may call.",
        media_type="text/csv",
    ),
    _platform("GET", "/storage/settings", "Settings of files", "What holds for coming files."),
    _platform(
        "PUT", "/storage/settings", "Set what holds for files", "For requests that say nothing else.",
        schema=_SETTINGS, errors=(*_ASK_ERRORS, 413, 415),
    ),
    _platform("GET", "/storage/files/acl", "Readers of a file", "Who may read it.", parameters=(_URL,)),
    _platform(
        "PUT", "/storage/files/acl", "Set the readers of a file", "For every URL of it that was answered before.",
        schema=_ACL, parameters=(_URL,), errors=(*_ASK_ERRORS, 413, 415),
    ),
    _platform(
        "POST", "/storage/files/sign", "Sign a file's URL", "It opens the file whoever else may read it.",
        schema={"type": "object", "required": ["expiration_seconds"],
                "properties": {"expiration_seconds": {"type": "integer", "minimum": 1, "maximum": 604_800}}},
        parameters=(_URL,), errors=(*_ASK_ERRORS, 413, 415),
    ),
    _platform("GET", "/meta", "The server's own facts", "From which networks webhooks come.", public=True),
)  # fmt: skip
