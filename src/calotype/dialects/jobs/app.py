"""The jobs dialect as one small ASGI application with its own 404, 405 and error shape."""

from collections.abc import Awaitable, Callable
from functools import partial

import structlog

from calotype.dialects.door import Exchange, Message, Receive, Scope, Send
from calotype.dialects.jobs import account, chat, embedding, facts, media
from calotype.dialects.jobs.answers import error_answer
from calotype.dialects.jobs.desk import Desk
from calotype.dialects.jobs.service_calls import cancel, create, history, show
from calotype.dialects.jobs.services import SERVICES, Service
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass

log = structlog.get_logger(__name__)

PREFIX = "/api/v1"
MEDIA = frozenset(
    {"status", "queue", "upload", *(one.create.removeprefix("/media/") for one in SERVICES if "/media/" in one.create)}
)
"""What below `/api/v1/media/` is this dialect's own; the rest are signed files."""
Handler = Callable[[Desk, Exchange], Awaitable[None]]


def _exact() -> dict[tuple[str, str], Handler]:
    found: dict[tuple[str, str], Handler] = {
        ("GET", "/text-to-speech/voices"): facts.voices,
        ("GET", "/video-download/supported-platforms"): facts.platforms,
        ("POST", "/phaya-gpt/chat/completions"): chat.complete,
        ("GET", "/phaya-gpt/models"): facts.chat_models,
        ("GET", "/phaya-gpt/pricing"): facts.chat_pricing,
        ("POST", "/embedding/create"): embedding.embed,
        ("GET", "/embedding/pricing"): facts.embedding_pricing,
        ("POST", "/media/upload"): media.upload,
        ("GET", "/media/queue/stats"): media.queue_stats,
        ("GET", "/user/profile"): account.profile,
        ("GET", "/user/credits"): account.balance,
        ("GET", "/user/credits/history"): account.credit_history,
        ("POST", "/user/credits/invalidate-cache"): account.forget_cached,
    }
    for one in SERVICES:
        found["POST", one.create] = partial(create, service=one)
        if one.history is not None:
            found["GET", one.history] = partial(history, service=one)
        if one.listed is not None:
            found["GET", one.listed] = partial(history, service=one, only_made=True)
    return found


def _below() -> dict[str, tuple[str, Handler]]:
    sharing: dict[str, tuple[Service, ...]] = {}
    for one in SERVICES:
        sharing[one.status] = (*sharing.get(one.status, ()), one)
    found: dict[str, tuple[str, Handler]] = {
        path: ("GET", partial(show, services=services)) for path, services in sharing.items()
    }
    for one in SERVICES:
        if one.cancel is not None:
            found[one.cancel] = ("POST", partial(cancel, services=(one,)))
    return found


EXACT = _exact()
BELOW = _below()
"""What stands before a job's id → method and call."""


class JobsDialect:
    """Serves its services' paths below `/api/v1/` and answers 404 for what is nobody's there."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every problem becomes `{"detail": …}`."""
        begun = False

        async def answer(message: Message) -> None:
            nonlocal begun
            begun = True
            await send(message)

        x = Exchange(scope, receive, answer)
        try:
            await _route(x)(self._desk, x)
        except Problem as problem:
            await self._refuse(x, problem)
        except Exception:
            if begun:
                raise
            log.exception("request_broke", request_id=scope.get("calotype.request_id"), dialect="jobs")
            await self._refuse(x, Problem(Code.INTERNAL, "The server made a mistake.", retryable=False))

    async def _refuse(self, x: Exchange, problem: Problem) -> None:
        status, headers, body = error_answer(problem, self._desk.rate, _data_class(x))
        if problem.code is Code.METHOD_NOT_ALLOWED:
            headers.append((b"allow", ", ".join(problem.data["allowed"]).encode()))
        await x.answer(status, headers, body)


def _route(x: Exchange) -> Handler:
    method, path = x.scope["method"], x.scope["path"].removeprefix(PREFIX).rstrip("/")
    method = "GET" if method == "HEAD" else method
    if (handler := EXACT.get((method, path))) is not None:
        return handler
    allowed = [known for known, exact in EXACT if exact == path]
    start, slash, ident = path.rpartition("/")
    if not allowed and ident and (found := BELOW.get(start + slash)) is not None:
        if method == found[0]:
            x.rest = ident.lower()
            return found[1]
        allowed = [found[0]]
    if allowed:
        sentence = f"{method} is not offered here; use {' or '.join(allowed)}."
        raise Problem(Code.METHOD_NOT_ALLOWED, sentence, data={"allowed": allowed})
    raise Problem(Code.NOT_FOUND, f"There is nothing at {method} {x.scope['path'][:100]}; see /docs.")


def _data_class(x: Exchange) -> DataClass:
    return DataClass.PHI if x.headers.get(b"x-phi", b"").strip().lower() == b"true" else DataClass.GENERAL
