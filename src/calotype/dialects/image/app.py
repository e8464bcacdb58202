"""The image dialect as one small ASGI application with its own 404, 405 and error shape."""

from collections.abc import Awaitable, Callable

import structlog

from calotype.dialects.door import Receive, Scope, Send, data_class_of
from calotype.dialects.image import keys, pictures, reports, videos
from calotype.dialects.image.answers import refused
from calotype.dialects.image.desk import RATE, Desk, ImageExchange
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass

log = structlog.get_logger(__name__)

Handler = Callable[[Desk, ImageExchange], Awaitable[None]]

EXACT: dict[str, dict[str, Handler]] = {
    "/api/v1/image/generate": {"POST": pictures.generate},
    "/api/v1/image/edit": {"POST": pictures.edit},
    "/api/v1/image/models": {"GET": reports.models},
    "/api/v1/video/generate": {"POST": videos.generate},
    "/api/v1/video/status": {"GET": videos.status},
    "/api/v1/keys": {"GET": keys.list_keys, "POST": keys.create_key},
    "/api/v1/usage": {"GET": reports.usage},
    "/api/health": {"GET": reports.health},
}
KEYS = "/api/v1/keys/"
ONE_KEY: dict[str, Handler] = {"GET": keys.get_key, "PATCH": keys.change_key, "DELETE": keys.delete_key}


def serves(path: str) -> bool:
    """Say whether a path is this dialect's."""
    return path.startswith(("/api/v1/image/", "/api/v1/video/", KEYS)) or path.rstrip("/") in EXACT


class ImageDialect:
    """Serves `/api/v1/{image,video,keys,usage}` and `/api/health`."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every problem becomes this dialect's error body."""
        x = ImageExchange(scope, receive, send)
        try:
            await _route(x)(self._desk, x)
        except Problem as problem:
            await self._refuse(x, problem)
        except Exception:
            log.exception("request_broke", request_id=scope.get("calotype.request_id"), dialect="image")
            await self._refuse(x, Problem(Code.INTERNAL, "The server made a mistake.", retryable=False))

    async def _refuse(self, x: ImageExchange, problem: Problem) -> None:
        if problem.code is Code.INVALID_API_KEY and not (x.headers.keys() & {b"authorization", b"x-api-key"}):
            problem.data["missing"] = True
        standing = None if x.caller is None else self._desk.door.standing(x.caller.key, x.scope, RATE)
        status, headers, body = refused(problem, standing, _class_asked(x))
        if (allowed := problem.data.get("allowed")) is not None:
            headers.append((b"allow", ", ".join(allowed).encode()))
        await x.answer(status, headers, body)


def _route(x: ImageExchange) -> Handler:
    """Return the handler of a request.

    Raises:
        Problem: `not_found`, or `method_not_allowed` naming what is.

    """
    path = x.scope["path"].rstrip("/")
    method = "GET" if x.scope["method"] == "HEAD" else x.scope["method"]
    calls = EXACT.get(path)
    if calls is None and path.startswith(KEYS):
        x.rest, calls = path.removeprefix(KEYS), ONE_KEY
    if calls is None:
        raise Problem(Code.NOT_FOUND, f"There is nothing at {method} {path[:100]}; see /docs.")
    if method not in calls:
        allowed = sorted(calls)
        sentence = f"{method} is not offered here; use {' or '.join(allowed)}."
        raise Problem(Code.METHOD_NOT_ALLOWED, sentence, data={"allowed": allowed})
    return calls[method]


def _class_asked(x: ImageExchange) -> DataClass:
    try:
        return data_class_of(x)
    except Problem:
        return DataClass.GENERAL
