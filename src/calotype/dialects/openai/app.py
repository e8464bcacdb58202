"""The OpenAI dialect as one small ASGI application with its own 404, 405 and error shape."""

from collections.abc import Awaitable, Callable

from calotype.dialects.door import Exchange, Receive, Scope, Send
from calotype.dialects.headers import refusal_stamp
from calotype.dialects.openai.answers import error_answer
from calotype.dialects.openai.chat import create_completion
from calotype.dialects.openai.desk import Desk
from calotype.dialects.openai.embeddings import create_embeddings
from calotype.dialects.openai.files import create_file, delete_file, get_file, get_file_content, list_files
from calotype.dialects.openai.image_calls import create_edit, create_image
from calotype.dialects.openai.listing import get_model, get_models, get_pricing
from calotype.dialects.openai.not_offered import NOT_OFFERED, refusal
from calotype.dialects.openai.ocr import read_document
from calotype.dialects.openai.speech import create_speech
from calotype.dialects.openai.transcriptions import create_transcription
from calotype.dialects.openai.video_calls import (
    create_video,
    delete_video,
    edit_video,
    extend_video,
    get_content,
    get_video,
    list_videos,
    remix_video,
)
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass

PREFIXES = ("/api/v1", "/v1")
Handler = Callable[[Desk, Exchange], Awaitable[None]]

EXACT: dict[tuple[str, str], Handler] = {
    ("POST", "/chat/completions"): create_completion,
    ("POST", "/embeddings"): create_embeddings,
    ("POST", "/ocr"): read_document,
    ("POST", "/audio/speech"): create_speech,
    ("POST", "/audio/transcriptions"): create_transcription,
    ("POST", "/images/generations"): create_image,
    ("POST", "/images/edits"): create_edit,
    ("POST", "/videos/generations"): create_video,
    ("POST", "/videos/edits"): edit_video,
    ("POST", "/videos/extensions"): extend_video,
    ("POST", "/videos"): create_video,
    ("GET", "/videos"): list_videos,
    ("GET", "/models"): get_models,
    ("GET", "/pricing"): get_pricing,
    ("POST", "/files"): create_file,
    ("GET", "/files"): list_files,
    **{("POST", path): refusal(sentence) for path, sentence in NOT_OFFERED.items()},
}
BELOW: dict[tuple[str, str], dict[str, Handler]] = {
    ("/videos/", "/content"): {"GET": get_content},
    ("/videos/", "/remix"): {"POST": remix_video},
    ("/videos/", ""): {"GET": get_video, "DELETE": delete_video},
    ("/models/", ""): {"GET": get_model},
    ("/files/", "/content"): {"GET": get_file_content},
    ("/files/", ""): {"GET": get_file, "DELETE": delete_file},
}
"""What stands before an id and behind it → calls by method; the longer ones first, for an id may hold slashes."""


class OpenAIDialect:
    """Serves `/v1/*` and the same paths under `/api/v1/`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every problem becomes OpenAI's error body."""
        x = Exchange(scope, receive, send)
        try:
            await self._route(x)(self._desk, x)
        except Problem as problem:
            status, headers, body = error_answer(problem, refusal_stamp(_data_class(x)))
            if isinstance(problem, _NotOfferedError):
                headers.append((b"allow", ", ".join(problem.allowed).encode()))
            await x.answer(status, headers, body)

    def _route(self, x: Exchange) -> Handler:
        method, path = x.scope["method"], path_below(x.scope)
        if method == "HEAD":
            method = "GET"
        handler = EXACT.get((method, path))
        if handler is not None:
            return handler
        allowed = {known for known, exact in EXACT if exact == path}
        near = () if allowed else BELOW.items()
        for (start, end), calls in near:
            if path.startswith(start) and path.endswith(end) and len(path) > len(start) + len(end):
                if method in calls:
                    x.rest = path[len(start) : len(path) - len(end)]
                    return calls[method]
                allowed = set(calls)
                break
        if allowed:
            raise _NotOfferedError(method, sorted(allowed))
        raise Problem(Code.NOT_FOUND, f"There is nothing at {method} {path[:100]}; see /docs.")


class _NotOfferedError(Problem):
    """A path that exists, but not for this method."""

    def __init__(self, method: str, allowed: list[str]) -> None:
        super().__init__(Code.METHOD_NOT_ALLOWED, f"{method} is not offered here; use {' or '.join(allowed)}.")
        self.allowed = allowed


def path_below(scope: Scope) -> str:
    """Return the path below the dialect's prefix, still percent-encoded, for ids may hold `%2F`."""
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    path = raw.decode("latin-1").partition("?")[0]
    for prefix in PREFIXES:
        if path.startswith(prefix):
            path = path[len(prefix) :]
            break
    return path.rstrip("/") or "/"


def _data_class(x: Exchange) -> DataClass:
    return DataClass.PHI if x.headers.get(b"x-phi", b"").strip().lower() == b"true" else DataClass.GENERAL
