"""Serves stored files at `/v1/media/{token}/{name}`: ranges, validators, and headers that keep active content tame."""

import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote

import anyio
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.types import Receive, Scope, Send

from calotype.kernel.clock import Clock, SystemClock
from calotype.kernel.errors import Code, Problem
from calotype.media.acl import Acls
from calotype.media.relay import relay
from calotype.media.signing import Grant, Signer
from calotype.media.store import ACTIVE, Store

_RANGE = re.compile(r"bytes=\s*(?:\d+-\d*|-\d+)(?:\s*,\s*(?:\d+-\d*|-\d+))*\s*\Z")
_NOT_PLAIN = re.compile(r"[^A-Za-z0-9._ -]")
_TYPES = dict.fromkeys((403, 404, 405, 410), "invalid_request_error")


class MediaEndpoint:
    """An ASGI application for one route with the path parameters `token` and `name`.

    A bad signature and a missing file are both 404, an expired link is 410. Where a file has a list of readers
    (`acls`), `reader` says which organisation asks, by the key in the request's headers. A file of object storage is
    answered with a redirect to a URL of the storage that lives `presign_s` at most, or through this server when that
    is None.
    """

    def __init__(
        self,
        store: Store,
        signer: Signer,
        clock: Clock | None = None,
        *,
        presign_s: int | None = None,
        acls: Acls | None = None,
        reader: Callable[[Scope], Awaitable[str | None]] | None = None,
    ) -> None:
        self._store = store
        self._signer = signer
        self._clock = clock or SystemClock()
        self._presign_s = presign_s
        self._acls = acls
        self._reader = reader

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer GET and HEAD."""
        try:
            response = await self._answer(scope)
        except Problem as problem:
            response = refusal(problem)
        await response(_with_plain_range(scope), receive, send)

    async def _answer(self, scope: Scope) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            problem = Problem(Code.METHOD_NOT_ALLOWED, "Media can only be read: use GET or HEAD.")
            return refusal(problem, headers={"Allow": "GET, HEAD"})
        token, name = _parameters(scope)
        now_ms = self._clock.now_ms()
        grant = self._signer.verify(token, now_ms)
        if self._acls is not None and not grant.signed:
            await self._admit(scope, grant.key, self._acls)
        path = self._store.path_of(grant.key)
        if path is None:
            return await self._remote(scope, grant, name, now_ms)
        try:
            found = await anyio.to_thread.run_sync(path.stat)
        except FileNotFoundError:
            raise Problem(Code.GONE, "The file is no longer kept.") from None
        etag = f'"{found.st_size:x}-{found.st_mtime_ns:x}"'
        headers = _headers(grant, name, etag, now_ms)
        if _matches(_header(scope, b"if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        return _File(path, headers=headers, media_type=grant.content_type, stat_result=found)

    async def _admit(self, scope: Scope, key: str, acls: Acls) -> None:
        """Refuse a reader whom the file's owner shuts out."""
        decision = await acls.decide(key, None)
        if decision != "allow" and self._reader is not None:
            decision = await acls.decide(key, await self._reader(scope))
        if decision == "forbid":
            raise Problem(Code.FORBIDDEN, "The owner of this file does not let you read it.")
        if decision == "hide":
            raise Problem(Code.NOT_FOUND, "There is no such file.")

    async def _remote(self, scope: Scope, grant: Grant, name: str, now_ms: int) -> Response:
        found = await self._store.stat(grant.key)
        if found is None:
            raise Problem(Code.GONE, "The file is no longer kept.")
        if self._presign_s is not None:
            lifetime_s = max(1, min(self._presign_s, (grant.expires_at_ms - now_ms) // 1000))
            method: Literal["GET", "HEAD"] = "HEAD" if scope["method"] == "HEAD" else "GET"
            if (url := await self._store.presign(grant.key, method, lifetime_s)) is not None:
                headers = {"Location": url, "Cache-Control": "no-store", "Referrer-Policy": "no-referrer"}
                return Response(status_code=302, headers=headers)
        etag = f'"{found.size_bytes:x}-{found.modified_ms:x}"'
        headers = _headers(grant, name, etag, now_ms)
        if _matches(_header(scope, b"if-none-match"), etag):
            return Response(status_code=304, headers=headers)
        return await relay(
            self._store, found, method=scope["method"], wanted=_header(scope, b"range"),
            if_range=_header(scope, b"if-range"), headers=headers, content_type=grant.content_type,
        )  # fmt: skip


class _File(FileResponse):
    chunk_size = 256 * 1024

    def __init__(self, path: Path, **given: Any) -> None:
        super().__init__(path, **given)


def _headers(grant: Grant, name: str, etag: str, now_ms: int) -> dict[str, str]:
    headers = {
        "ETag": etag,
        "Cache-Control": f"private, max-age={max(0, (grant.expires_at_ms - now_ms) // 1000)}, immutable",
        "X-Content-Type-Options": "nosniff",
        "Content-Disposition": _disposition(name),
        "Cross-Origin-Resource-Policy": "cross-origin",
        "Referrer-Policy": "no-referrer",
    }
    if grant.content_type in ACTIVE:
        headers["Content-Security-Policy"] = "sandbox; default-src 'none'; style-src 'unsafe-inline'"
    return headers


def refusal(problem: Problem, headers: dict[str, str] | None = None) -> JSONResponse:
    """Return a problem in the shape of the media paths: `{"error": {message, type, code, param}}`."""
    kind = _TYPES.get(problem.status, "server_error")
    body = {"error": {"message": problem.message, "type": kind, "code": problem.code.value, "param": None}}
    return JSONResponse(body, problem.status, headers={"Cache-Control": "no-store", **(headers or {})})


def _parameters(scope: Scope) -> tuple[str, str]:
    given = scope.get("path_params") or {}
    if "token" in given:
        return str(given["token"]), str(given.get("name", ""))
    rest, _, name = scope["path"].rpartition("/")
    return rest.rpartition("/")[2], name


def _header(scope: Scope, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in scope["headers"] if key == name), "")


def _matches(wanted: str, etag: str) -> bool:
    """Compare weakly, as If-None-Match is (RFC 9110 §13.1.2)."""
    return wanted == "*" or any(one.strip().removeprefix("W/") == etag for one in wanted.split(",") if one.strip())


def _with_plain_range(scope: Scope) -> Scope:
    """Leave out a Range that is not for us: of another unit, malformed, or on HEAD (RFC 9110 §14.2)."""
    wanted = _header(scope, b"range")
    if not wanted or (scope["method"] == "GET" and _RANGE.match(wanted)):
        return scope
    return {**scope, "headers": [pair for pair in scope["headers"] if pair[0] != b"range"]}


def _disposition(name: str) -> str:
    plain = _NOT_PLAIN.sub("_", name)[:100] or "file"
    if plain == name:
        return f'inline; filename="{plain}"'
    return f"inline; filename=\"{plain}\"; filename*=UTF-8''{quote(name[:100], safe='')}"
