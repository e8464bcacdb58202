"""The endpoints of the jobs dialect, as they are documented: made from the table of services."""

from typing import Any, Literal

from msgspec import UNSET, UnsetType, defstruct

from calotype.dialects.endpoints import Endpoint, Parameter
from calotype.dialects.jobs import account, chat, embedding, facts, media, services, shapes
from calotype.dialects.jobs.chat_words import JobsChatAnswer
from calotype.dialects.jobs.credits import Amount
from calotype.dialects.jobs.service_calls import MOST, PAGE
from calotype.dialects.jobs.services import SERVICES, Service
from calotype.kernel.generation import Operation

PREFIX = "/api/v1"
JOBS, MEDIA, CREDITS, CHAT = "Jobs", "Media tools", "Credits", "Chat and vectors"
_TEXT: dict[str, Any] = {"type": "string"}
_ID = Parameter("id", "The job's id.", _TEXT, "path")
_MAKES = (402, 403, 404, 405, 410, 413, 415, 422, 429, 501, 503)
_ANSWERS = (*_MAKES, 409, 502, 504)
_PAGE = (
    Parameter(
        "limit", "How many to answer.", {"type": "integer", "minimum": 1, "maximum": MOST, "default": PAGE}
    ),
    Parameter("cursor", "The next_cursor of the page before.", _TEXT),
)  # fmt: skip
_LINES = Parameter(
    "limit", "How many to answer.",
    {"type": "integer", "minimum": 1, "maximum": account.MOST_LINES, "default": account.LINES},
)  # fmt: skip
_WEBHOOK = {"type": "string", "description": "A public URL that is told when the job ends."}
_FILE = {
    "type": "object",
    "required": ["file"],
    "properties": {"file": {"type": "string", "format": "binary", "description": "The file."}},
}
_RECORDING = {
    "type": "object",
    "required": ["media_url"],
    "properties": {
        "media_url": {**_TEXT, "description": "A public URL or a data URI of a recording or film."},
        "language": {**_TEXT, "description": "The language's code, such as en; without it, it is recognised."},
        "webhook_url": _WEBHOOK,
    },
}
EXAMPLES: dict[str, dict[str, Any]] = {
    "/text-to-image/generate": {"prompt": "a lighthouse on a cliff at sunset", "aspect_ratio": "16:9"},
    "/image-to-video/create": {
        "image_url": "https://example.com/landscape.jpg", "duration": 5, "zoom": {"mode": "pan_right"},
    },
    "/seedance-video/create": {"prompt": "waves rolling towards a beach", "resolution": "720p", "duration": "8"},
    "/veo31-video/create": {"prompt": "waves rolling towards a beach", "model": "veo3_fast"},
    "/text-to-music/generate": {"prompt": "a calm piece for piano and strings", "instrumental": True},
    "/text-to-speech/generate": {"prompt": "The evening train leaves at half past nine.", "voice": "Kore"},
    "/video-download/create": {"url": "https://example.com/film.mp4", "format": "mp4", "quality": "720p"},
    "/media/merge-video": {"video_urls": ["https://example.com/one.mp4", "https://example.com/two.mp4"]},
}  # fmt: skip
"""Create path → a request."""


def _create(service: Service) -> Endpoint:
    own = _RECORDING if service.names else None
    further: dict[str, Any] = {"webhook_url": _WEBHOOK}
    if service.chosen_by is not None:
        further[service.chosen_by] = {
            "enum": list(service.models), "default": service.models[0], "description": "Which of the two."
        }  # fmt: skip
    late = " Debited when it is done." if service.settle == "completion" else ""
    return Endpoint(
        "POST", PREFIX + service.create, MEDIA if service in services.TOOLS else JOBS, service.title,
        f"{service.words.rstrip('.')}. Answers the id of a job; look at it at `{PREFIX}{service.status}{{id}}`.{late}",
        answer=shapes.JobCreated, schema=own, card=None if own else service.models[0], further=further,
        example=EXAMPLES.get(service.create), errors=_MAKES, error=shapes.JobsError,
        answer_example={"job_id": "019a9c1e-7a5c-7d0e-8a4f-2b6c1d3e5f70"},
    )  # fmt: skip


def _named(path: str, what: str) -> str:
    words = path.strip("/").removesuffix("/status").replace("/", "-").split("-")
    return "".join(word.capitalize() for word in words) + what


def _kind(selector: str) -> Any:
    if selector in ("images", "audios"):
        return list[str] | None
    return Any if selector.startswith("data:segments") else str | None


def _status(path: str, sharing: list[Service]) -> Endpoint:
    """Return the call that shows a job; of services that share it each job has its own service's results alone."""
    several = len(sharing) > 1
    results: dict[str, Any] = {name: _kind(selector) for one in sharing for name, selector in one.results.items()}
    fields: list[Any] = [("job_id", str), ("status", _words(sharing[0])), ("error", str | None)]
    fields += [(name, kind | UnsetType, UNSET) if several else (name, kind) for name, kind in results.items()]
    fields += [("label", str | UnsetType, UNSET), ("warnings", list[str] | UnsetType, UNSET)]
    kind = defstruct(_named(path, "Status"), fields, kw_only=True)
    kind.__doc__ = "How a job stands; a result that is not there (yet) is null."
    return Endpoint(
        "GET", f"{PREFIX}{path}{{id}}", MEDIA if several else JOBS,
        "Look at a media job" if several else f"Look at a job of {sharing[0].title}",
        "Looks are never refused for their number. Addresses are signed and short-lived; each look makes new ones.",
        answer=kind, parameters=(_ID,), errors=(404,), error=shapes.JobsError,
    )  # fmt: skip


def _words(service: Service) -> Any:
    return Literal[tuple(dict.fromkeys(service.family.value))]


def _others(service: Service) -> list[Endpoint]:
    found = []
    if service.cancel is not None:
        found.append(
            Endpoint(
                "POST", f"{PREFIX}{service.cancel}{{id}}", JOBS, f"Cancel a job of {service.title}",
                "Answers 200 either way: a job that has ended, or that its provider cannot stop, is not cancelled.",
                answer=shapes.JobCancelled, parameters=(_ID,), errors=(404, 429), error=shapes.JobsError,
            )
        )  # fmt: skip
    for path, what in ((service.history, "History"), (service.listed, "Made with")):
        if path is not None:
            found.append(
                Endpoint(
                    "GET", PREFIX + path, JOBS, f"{what} {'of ' if path == service.history else ''}{service.title}",
                    "Newest first. The shared test key lists nothing.", answer=_page(path, service), parameters=_PAGE,
                    errors=(403, 422, 429), error=shapes.JobsError,
                )
            )  # fmt: skip
    return found


def _page(path: str, service: Service) -> type:
    fields: list[Any] = [("job_id", str), ("status", _words(service)), ("created_at", str), ("credits_used", Amount)]
    fields += [(name, _kind(selector)) for name, selector in service.results.items()]
    item: Any = defstruct(_named(path, "Item"), fields, kw_only=True)
    item.__doc__ = "One job."
    page = defstruct(
        _named(path, "Page"), [("success", bool), ("items", list[item]), ("next_cursor", str | None)]
    )  # fmt: skip
    page.__doc__ = "A page of jobs; next_cursor is null on the last one."
    return page


def _get(path: str, group: str, summary: str, words: str, answer: type, **more: Any) -> Endpoint:
    return Endpoint(
        "GET", PREFIX + path, group, summary, words, answer=answer, error=shapes.JobsError, **{"errors": (429,), **more}
    )


def _services() -> list[Endpoint]:
    sharing: dict[str, list[Service]] = {}
    for one in SERVICES:
        sharing.setdefault(one.status, []).append(one)
    found: list[Endpoint] = []
    for path, group in sharing.items():
        found += [_create(one) for one in group]
        found.append(_status(path, group))
        found += [endpoint for one in group for endpoint in _others(one)]
    return found


ENDPOINTS: tuple[Endpoint, ...] = (
    *_services(),
    _get("/text-to-speech/voices", JOBS, "Voices", "Of text-to-speech.", facts.Voices, public=True, errors=()),
    _get("/video-download/supported-platforms", JOBS, "Platforms", "Well-known ones.", facts.Platforms),
    Endpoint(
        "POST", f"{PREFIX}/media/upload", MEDIA, "Upload a file", "Its address is an input of every service.",
        answer=media.Uploaded, form=_FILE, errors=(403, 413, 415, 422, 429), error=shapes.JobsError,
    ),
    _get("/media/queue/stats", MEDIA, "The line", "How many media jobs wait and run.", media.QueueStats, errors=()),
    Endpoint(
        "POST", f"{PREFIX}/phaya-gpt/chat/completions", CHAT, "Chat",
        "Answers at once. The plain answer is flat; with stream it comes as events in OpenRouter's form.",
        answer=JobsChatAnswer, body=chat.JobsChatRequest, more_types=("text/event-stream",),
        operations=(Operation.CHAT,), errors=_ANSWERS, error=shapes.JobsError,
        example={"model": "phaya-gpt", "messages": [{"role": "user", "content": "What is the capital of France?"}]},
    ),
    _get("/phaya-gpt/models", CHAT, "Models of chats", "The usual one first.", facts.JobsChatModels),
    _get("/phaya-gpt/pricing", CHAT, "Prices of chats", "In credits.", facts.TokenPrices),
    Endpoint(
        "POST", f"{PREFIX}/embedding/create", CHAT, "Vectors", "Writes texts as vectors, in their order.",
        answer=embedding.JobsEmbeddingAnswer, body=embedding.JobsEmbeddingRequest, operations=(Operation.EMBEDDINGS,),
        errors=_ANSWERS, error=shapes.JobsError,
        example={"model": "qwen/qwen3-embedding-8b", "input": "The evening train leaves at half past nine."},
    ),
    _get("/embedding/pricing", CHAT, "Prices of vectors", "In credits.", facts.TokenPrices),
    _get("/user/profile", CREDITS, "Who calls", "The organisation of the key.", account.JobsProfile),
    _get("/user/credits", CREDITS, "Balance", "Running jobs are debited already.", account.CreditBalance),
    _get(
        "/user/credits/history", CREDITS, "Movements of credits", "Newest first.", account.CreditLines,
        parameters=(_LINES,), errors=(403, 422, 429),
    ),
    Endpoint(
        "POST", f"{PREFIX}/user/credits/invalidate-cache", CREDITS, "Read the balance anew", "It always is.",
        answer=account.JobsDone, errors=(429,), error=shapes.JobsError,
    ),
)  # fmt: skip
