"""What fal's answers mean: results of every kind of model, and failures of every family (`wire/fal.md §8, §13`)."""

import re
from collections.abc import Iterable
from typing import Any

from calotype.kernel.outcome import Cost, Failed, FailedKind, Outcome, Output, Succeeded
from calotype.kernel.steps import HttpResponse
from calotype.providers.answers import redacted
from calotype.providers.errors import ErrorBody, Meaning, meaning_of

FIRST = ("images", "image", "videos", "video", "audio", "audio_file", "audio_url")
"""Fields that hold what was asked for; files of other fields (masks, configurations) follow them."""
DEEPEST = 6
MAX_FACT_CHARS = 200
_FILE = frozenset(
    {"url", "content_type", "file_name", "file_size", "file_data", "width", "height", "duration"}
)  # fmt: skip
"""What is known of a file otherwise."""
LOCKED = "locked"

_RETRY, _UNKNOWN, _UPSTREAM = FailedKind.RETRY, FailedKind.UNKNOWN, FailedKind.UPSTREAM
_POLICY = "The provider's content policy refused the request."
_NO_END = "The provider did not say how the request ended."
_TRANSIENT = "The provider cannot take the request at the moment."
_INPUT = "The provider refused the input."
_BROKE = "The provider failed while it worked on the request."
_LATE = "The provider did not come to an end in time."
_POLICY_TYPES = frozenset({"content_policy_violation"})

REFUSALS: tuple[Meaning, ...] = (
    Meaning("4xx", FailedKind.MODERATED, _POLICY, _POLICY_TYPES),
    Meaning("403", FailedKind.QUOTA, "The provider's account is locked or out of credit.", types=frozenset({LOCKED})),
    Meaning("401 403", FailedKind.AUTH, "The provider refused our credential."),
    Meaning("402", FailedKind.QUOTA, "The provider's account is out of credit."),
    Meaning("3xx 404 405 410", FailedKind.GONE, "The provider does not have this model."),
    Meaning("408 409 499", _UNKNOWN, _NO_END),
    Meaning("425 429", _RETRY, "The provider limits our rate."),
    Meaning("4xx", FailedKind.INVALID, _INPUT),
    # fal has no idempotency key: an error that is not plainly a refusal may stand for an accepted request
    Meaning("500 503", _RETRY, _TRANSIENT, late=_UNKNOWN, silent=_UNKNOWN),
    Meaning("xxx", _UNKNOWN, _NO_END),
)
"""What an answer to a submit means when it is not a 2xx (`wire/fal.md §8, §14`); the first row that fits decides."""

FAILURES: tuple[Meaning, ...] = (
    Meaning("xxx", FailedKind.MODERATED, _POLICY, _POLICY_TYPES),
    Meaning("xxx", _UPSTREAM, "The model made nothing of this input.", frozenset({"no_media_generated"})),
    Meaning("xxx", _UPSTREAM, _BROKE, frozenset({"downstream_service_error", "downstream_service_unavailable"})),
    Meaning("xxx", _UPSTREAM, "The request was canceled at the provider.", frozenset({"client_cancelled"})),
    Meaning("404 405", FailedKind.GONE, "The provider does not have this model."),
    Meaning("400 413 415 422", FailedKind.INVALID, _INPUT),
    Meaning("504", _UPSTREAM, _LATE),
    Meaning("xxx", _UPSTREAM, _BROKE),
)
"""What the result of a request that was accepted and is over means when it is not a 2xx: never "try again"."""

SENTENCES: dict[str, str] = {
    "image_too_small": "An input image is smaller than {min_width}x{min_height} pixels.",
    "image_too_large": "An input image is larger than {max_width}x{max_height} pixels.",
    "image_load_error": "An input image could not be read.",
    "file_download_error": "An input file could not be fetched.",
    "face_detection_error": "No face was found in the input image.",
    "file_too_large": "An input file is larger than {max_size} bytes.",
    "greater_than": "{field} must be more than {gt}.",
    "greater_than_equal": "{field} must be at least {ge}.",
    "less_than": "{field} must be less than {lt}.",
    "less_than_equal": "{field} must be at most {le}.",
    "multiple_of": "{field} must be a multiple of {multiple_of}.",
    "sequence_too_short": "{field} must have at least {min_length} elements.",
    "sequence_too_long": "{field} must have at most {max_length} elements.",
    "missing": "{field} is required.",
    "feature_not_supported": "The model does not support this combination of inputs.",
    "audio_duration_too_long": "The recording is longer than {max_duration} seconds.",
    "audio_duration_too_short": "The recording is shorter than {min_duration} seconds.",
    "video_duration_too_long": "The video is longer than {max_duration} seconds.",
    "video_duration_too_short": "The video is shorter than {min_duration} seconds.",
    "unsupported_audio_format": "The format of the recording is not supported.",
    "unsupported_image_format": "The format of the image is not supported.",
    "unsupported_video_format": "The format of the video is not supported.",
}
"""Our own words for a wrong input, by fal's type; only numbers and the field's name are taken over."""


def delivered(answer: HttpResponse, request_id: str | None) -> Outcome:
    """Return the end that a result with status 2xx stands for.

    Files become outputs, those asked for first; `data` keeps everything else and, as `files`, the path that each
    output had in fal's answer (`images.0`), so that a dialect can put it together again; `file_facts` are what fal
    said of a file beside that, by its path (the codec of a recording).
    """
    body = answer.json()
    cost = cost_of(answer)
    if not isinstance(body, dict):
        return Failed(_UPSTREAM, "The provider's answer could not be read.", status=answer.status, cost=cost)
    found: list[tuple[str, Output]] = []
    facts: dict[str, dict[str, Any]] = {}
    rest = _without_files(body, "", found, facts, 0)
    found.sort(key=lambda item: _rank(item[0]))
    data: dict[str, Any] = rest if isinstance(rest, dict) else {}
    if not found and (said := body.get("error")) and isinstance(said, str) and not body.get("output"):
        return Failed(_UPSTREAM, _BROKE, detail=redacted(said), status=answer.status, cost=cost)
    if not found and not any(isinstance(value, str) and value for value in data.values()):
        return Failed(_UPSTREAM, "The provider delivered nothing.", status=answer.status, cost=cost)
    if found:
        data = {**data, "files": [path for path, _ in found], **({"file_facts": facts} if facts else {})}
    outputs = tuple(output for _, output in found)
    return Succeeded(outputs, data, cost=cost, warnings=_warnings(body), upstream_id=request_id)


def typed(answer: HttpResponse) -> bool:
    """Say whether fal itself names the error (§8): then it is the end of the request, whatever its status."""
    body = answer.json()
    return "x-fal-error-type" in answer.headers or (isinstance(body, dict) and "error_type" in body)


def failed(
    table: tuple[Meaning, ...], answer: HttpResponse, secret: str, *, late: bool = False, prose: Iterable[str] = ()
) -> Failed:
    """Return what an answer that is not a 2xx means; texts of models, which may quote the input, are left out.

    `prose` is the caller's own words, where they are known.
    """
    said, context = _error(answer)
    kind, message = meaning_of(table, answer.status, said, late=late)
    error = said or ErrorBody()
    field = error.param if re.fullmatch(r"[a-z][a-z0-9_]{0,63}", error.param) else None
    code = error.code if re.fullmatch(r"[a-z0-9_.]{1,64}", error.code) else None
    if kind is FailedKind.INVALID and code in SENTENCES:
        message = _sentence(SENTENCES[code], field or "The input", context) or message
    words = redacted(f"HTTP {answer.status} {error.code} {error.message}", [secret, *prose])
    request_id = answer.headers.get("x-fal-request-id", "")
    return Failed(
        kind,
        message,
        detail=f"{words} ({request_id})" if re.fullmatch(r"[\w.-]{1,80}", request_id) else words,
        code=code,
        status=answer.status,
        field=field,
        cost=cost_of(answer),
    )


def speaks(answer: HttpResponse) -> bool:
    """Say whether an error comes from fal itself and not from something on the way to it."""
    return _error(answer)[0] is not None


def unknown(answer: HttpResponse) -> bool:
    """Say whether it is fal itself that does not know a request (§5.2), and not something on the way to it."""
    body = answer.json()
    return speaks(answer) or (isinstance(body, dict) and body.get("status") == "NOT_FOUND")


def cost_of(answer: HttpResponse) -> Cost | None:
    """Return the units that fal says it bills (`x-fal-billable-units`); their price is fal's price list."""
    units = answer.headers.get("x-fal-billable-units", "")
    if not re.fullmatch(r"\d{1,12}(\.\d{1,12})?", units):
        return None
    free = float(units) == 0
    return Cost(micro=0 if free else None, amount=units, unit="fal_unit", source="response")


def _error(answer: HttpResponse) -> tuple[ErrorBody | None, dict[str, Any]]:
    """Read an error of any family; the second value is the context of a model's error."""
    body = answer.json() if len(answer.body) <= 1 << 20 else None
    if not isinstance(body, dict) or "detail" not in body:
        return None, {}
    detail = body["detail"]
    if isinstance(detail, list):
        first = next((item for item in detail if isinstance(item, dict)), {})
        loc, context = first.get("loc"), first.get("ctx")
        field = next((str(part) for part in loc if part != "body"), "") if isinstance(loc, list) else ""
        return ErrorBody(_word(first.get("type")), param=field), context if isinstance(context, dict) else {}
    code = body.get("error_type") or answer.headers.get("x-fal-error-type") or body.get("type")
    text = _word(detail)
    locked = answer.status == 403 and re.search(r"\block|exhausted|balance", text, re.IGNORECASE)
    return ErrorBody(_word(code), LOCKED if locked else "", text), {}


def _sentence(template: str, field: str, context: dict[str, Any]) -> str | None:
    numbers = {name: value for name, value in context.items() if isinstance(value, int | float)}
    try:
        return template.format(field=field, **numbers)
    except (KeyError, TypeError):
        return None


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""


# -- files in a result --------------------------------------------------------------------------------------------


def _without_files(
    value: Any, path: str, found: list[tuple[str, Output]], facts: dict[str, dict[str, Any]], depth: int
) -> Any:
    """Return the value with its files taken out into `found` and `facts`; None for what was nothing but files."""
    if depth > DEEPEST:
        return value
    if isinstance(value, dict):
        if isinstance(url := value.get("url"), str) and _fetchable(url):
            found.append((path, _output(url, value)))
            if said := {name: item for name, item in value.items() if name not in _FILE and _is_fact(item)}:
                facts[path] = said
            return None
        pairs = {
            name: _without_files(item, f"{path}.{name}".lstrip("."), found, facts, depth + 1)
            for name, item in value.items()
        }
        kept = {name: item for name, item in pairs.items() if item is not None or value[name] is None}
        return kept if kept or not value else None
    if isinstance(value, list):
        items = [_without_files(item, f"{path}.{n}", found, facts, depth + 1) for n, item in enumerate(value)]
        kept_items = [item for item in items if item is not None]
        return kept_items if kept_items or not value else None
    if isinstance(value, str) and path.rpartition(".")[2].endswith("_url") and _fetchable(value):
        found.append((path, _output(value, {})))
        return None
    return value


def _is_fact(value: Any) -> bool:
    """Say whether a value is a number or a word, and not an address or more."""
    if isinstance(value, str):
        return len(value) <= MAX_FACT_CHARS and not _fetchable(value)
    return isinstance(value, int | float)


def _output(url: str, file: dict[str, Any]) -> Output:
    kind = file.get("content_type")
    kind = kind if isinstance(kind, str) else None
    width, height = _pixels(file.get("width")), _pixels(file.get("height"))
    duration = file.get("duration")
    seconds = float(duration) if isinstance(duration, int | float) and not isinstance(duration, bool) else None
    if url.startswith("data:"):
        head, _, text = url.partition(",")
        kind = kind or head[5:].partition(";")[0] or None
        return Output(base64=text.encode(), content_type=kind, width=width, height=height, duration_s=seconds)
    return Output(url=url, content_type=kind, width=width, height=height, duration_s=seconds)


def _fetchable(url: str) -> bool:
    return url.startswith(("https://", "http://")) or (url.startswith("data:") and ";base64," in url[:200])


def _pixels(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _rank(path: str) -> int:
    name = path.partition(".")[0]
    return FIRST.index(name) if name in FIRST else len(FIRST)


def _warnings(body: dict[str, Any]) -> tuple[str, ...]:
    said = body.get("has_nsfw_concepts")
    flags = said if isinstance(said, list) else []
    marked = sum(flag is True for flag in flags)
    return (f"the provider's safety checker marked {marked} of {len(flags)} images",) if marked else ()
