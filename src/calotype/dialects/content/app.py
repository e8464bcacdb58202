"""The content dialect as one small ASGI application with its own 404, 405 and error shape."""

import structlog

from calotype.dialects.content import listing, pages, selling
from calotype.dialects.content.answers import JOBS, JSON, encode, refused
from calotype.dialects.content.desk import Desk
from calotype.dialects.content.entries import BY_ROUTE, BY_SLUG
from calotype.dialects.content.search import SEARCH, search
from calotype.dialects.door import Exchange, Receive, Scope, Send, data_class_of
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass

log = structlog.get_logger(__name__)

CATALOG = "/catalog"
RESULT = "/result"
_KEPT = (b"cache-control", b"public, max-age=60")


def serves(path: str) -> bool:
    """Say whether a path is this dialect's."""
    return path.startswith(("/v1/content/", f"{CATALOG}/")) or path in (SEARCH.route, CATALOG, f"{CATALOG}.json")


class ContentDialect:
    """Serves `/v1/content/*`, `/v1/search` and the catalogue's pages."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request; every problem becomes this dialect's error body."""
        x = Exchange(scope, receive, send)
        try:
            await self._answer(x)
        except Problem as problem:
            status, headers, body = refused(problem, _class_asked(x))
            if (allowed := problem.data.get("allowed")) is not None:
                headers.append((b"allow", allowed.encode()))
            await x.answer(status, headers, body)
        except Exception:
            log.exception("request_broke", request_id=scope.get("calotype.request_id"), dialect="content")
            mistake = Problem(Code.INTERNAL, "The server made a mistake.", retryable=False)
            await x.answer(*refused(mistake, _class_asked(x)))

    async def _answer(self, x: Exchange) -> None:
        path = x.scope["path"].rstrip("/")
        if path == SEARCH.route:
            _only(x, "GET")
            await search(self._desk, x)
        elif (entry := BY_ROUTE.get(path)) is not None:
            _only(x, entry.method)
            await selling.sell(self._desk, x, entry)
        elif path.startswith(JOBS) and path != JOBS.rstrip("/"):
            _only(x, "GET")
            x.rest = path.removeprefix(JOBS).removesuffix(RESULT)
            await (selling.get_result if path.endswith(RESULT) else selling.get_job)(self._desk, x)
        elif path.startswith(CATALOG):
            _only(x, "GET")
            await self._catalogue(x, path)
        else:
            raise Problem(Code.NOT_FOUND, f"There is nothing at {path[:100]}; /catalog has what there is.")

    async def _catalogue(self, x: Exchange, path: str) -> None:
        base = self._desk.addresses.base(x)
        name = path.removeprefix(CATALOG)
        as_json = name.endswith(".json")
        slug = name.removesuffix(".json").lstrip("/")
        if not slug:
            listed = listing.listing(self._desk, base)
            await x.answer(
                200, [JSON if as_json else pages.HTML, _KEPT], encode(listed) if as_json else pages.index(listed)
            )
            return
        entry = BY_SLUG.get(slug)
        if entry is None and as_json:
            raise Problem(Code.NOT_FOUND, "There is no such entry.", field="slug")
        if entry is None:
            await x.answer(404, [pages.HTML], pages.missing())
            return
        one = listing.whole(self._desk, entry, base)
        await x.answer(200, [JSON if as_json else pages.HTML, _KEPT], encode(one) if as_json else pages.entry_page(one))


def _only(x: Exchange, method: str) -> None:
    """Refuse every other method.

    Raises:
        Problem: `method_not_allowed`.

    """
    asked = x.scope["method"]
    if asked != method and not (asked == "HEAD" and method == "GET"):
        sentence = f"{asked} is not offered here; use {method}."
        raise Problem(Code.METHOD_NOT_ALLOWED, sentence, data={"allowed": method})


def _class_asked(x: Exchange) -> DataClass:
    try:
        return data_class_of(x)
    except Problem:
        return DataClass.GENERAL
