"""fal's storage: the two ways to upload a file and the address everybody reads from (`wire/fal.md §7`)."""

import secrets
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calotype.kernel.ids import uuid7
from calotype.sandbox.base import Emulator, reply

TOKEN_LIFE = timedelta(minutes=10)


class StoredFile(Struct):
    """A file behind a public URL; `parts` while it still comes in pieces."""

    body: bytes
    content_type: str
    lifecycle: str | None = None
    parts: dict[int, bytes] = {}


class Storage:
    """Files by name, under `<cdn>/files/`."""

    def __init__(self, emulator: Emulator) -> None:
        self.files: dict[str, StoredFile] = {}
        self._emulator = emulator
        self._secret = secrets.token_urlsafe(12)

    def put(self, body: bytes, content_type: str, name: str) -> str:
        """Keep a file; return its path below the CDN."""
        path = f"files/{uuid7()[:8]}/{uuid7()[-8:]}_{name}"
        self.files[path] = StoredFile(body, content_type)
        return path

    def routes(self) -> list[Route]:
        """Return the addresses of `rest` and `cdn`."""
        route = self._emulator.route
        return [
            route("/rest/storage/upload/initiate", "upload", self._initiate),
            route("/rest/storage/upload/initiate-multipart", "upload", self._initiate),
            route("/rest/storage/auth/token", "upload", self._token),
            route("/cdn/files/upload", "upload", self._upload),
            route("/cdn/files/upload/multipart", "upload", self._upload_multipart),
            route("/cdn/{path:path}/multipart/{upload}/complete", "upload", self._complete),
            route("/cdn/{path:path}/multipart/{upload}/{n:int}", "upload", self._part, "PUT"),
            route("/cdn/upload/{path:path}/complete", "upload", self._complete),
            route("/cdn/upload/{path:path}/{n:int}", "upload", self._part, "PUT"),
            route("/cdn/upload/{path:path}", "upload", self._put, "PUT"),
            route("/cdn/{path:path}", "file", self._get, "GET", "HEAD"),
        ]

    # -- initiate, then PUT (§7.1, §7.2) ------------------------------------------------------------------------------

    async def _initiate(self, request: Request) -> Response:
        if (refused := key_refusal(request)) is not None:
            return refused
        body = msgspec.json.decode(await request.body() or b"{}")
        lifecycle = request.headers.get("x-fal-object-lifecycle")
        path = self._reserve(str(body.get("content_type")), str(body.get("file_name")), lifecycle)
        cdn = origin(request, "cdn")
        upload = f"{cdn}/upload/{path}?token={self._secret}"
        return reply({"file_url": f"{cdn}/{path}", "upload_url": upload})

    async def _put(self, request: Request) -> Response:
        file = self.files.get(request.path_params["path"])
        if file is None or request.query_params.get("token") != self._secret:
            return reply({"detail": "Not found"}, 404)
        file.body = await request.body()
        file.content_type = request.headers.get("content-type", file.content_type)
        return Response(status_code=200)

    # -- the CDN's own token (§7.3) -----------------------------------------------------------------------------------

    async def _token(self, request: Request) -> Response:
        if (refused := key_refusal(request)) is not None:
            return refused
        expires = (datetime.now(UTC) + TOKEN_LIFE).isoformat()
        token = {
            "token": self._secret,
            "token_type": "Bearer",
            "base_url": origin(request, "cdn"),
            "expires_at": expires,
        }
        return reply(token)

    async def _upload(self, request: Request) -> Response:
        if (refused := self._token_refusal(request)) is not None:
            return refused
        path = self._named(request)
        self.files[path].body = await request.body()
        return reply({"access_url": f"{origin(request, 'cdn')}/{path}"})

    async def _upload_multipart(self, request: Request) -> Response:
        if (refused := self._token_refusal(request)) is not None:
            return refused
        path = self._named(request)
        return reply({"access_url": f"{origin(request, 'cdn')}/{path}", "uploadId": str(uuid7())})

    async def _part(self, request: Request) -> Response:
        file, n = self.files.get(request.path_params["path"]), request.path_params["n"]
        if file is None:
            return reply({"detail": "Not found"}, 404)
        file.parts[n] = await request.body()
        etag = f'"part-{n}"'
        return reply({"partNumber": n, "etag": etag}, headers={"etag": etag})

    async def _complete(self, request: Request) -> Response:
        """Join the parts by number: clients list them in the order in which they were done."""
        file = self.files.get(request.path_params["path"])
        parts = msgspec.json.decode(await request.body() or b"{}").get("parts") or []
        if file is None or sorted(part["partNumber"] for part in parts) != sorted(file.parts):
            return reply({"detail": "Parts are missing"}, 400)
        file.body = b"".join(file.parts[n] for n in sorted(file.parts))
        file.parts = {}
        return reply({})

    # -- reading ------------------------------------------------------------------------------------------------------

    async def _get(self, request: Request) -> Response:
        file = self.files.get(request.path_params["path"])
        if file is None:
            return reply({"detail": "Not found"}, 404)
        return Response(file.body, media_type=file.content_type)

    def _token_refusal(self, request: Request) -> Response | None:
        if request.headers.get("authorization") == f"Bearer {self._secret}":
            return None
        return reply({"detail": "Invalid token"}, 401)

    def _named(self, request: Request) -> str:
        headers = request.headers
        kind = headers.get("content-type", "application/octet-stream")
        return self._reserve(kind, headers.get("x-fal-file-name", "file"), headers.get("x-fal-object-lifecycle"))

    def _reserve(self, content_type: str, name: str, lifecycle: str | None) -> str:
        path = self.put(b"", content_type, name)
        self.files[path].lifecycle = lifecycle
        return path


def origin(request: Request, service: str) -> str:
    """Return the base of a service as this client reaches it: by the real host, or by a prefix here."""
    host = request.headers.get("host", "")
    real = {"queue": "queue.fal.run", "run": "fal.run", "rest": "rest.fal.ai", "cdn": "v3.fal.media"}
    if host.partition(":")[0] in ("queue.fal.run", "fal.run", "rest.fal.ai", "rest.alpha.fal.ai", "v3.fal.media"):
        return f"https://{real[service]}"
    return f"{request.url.scheme}://{host}/{service}"


def key_refusal(request: Request) -> Response | None:
    """Refuse a request without a usable key (`wire/fal.md §3`); `locked:…` and `unknown:…` are such keys."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme not in ("Key", "Bearer") or not key:
        return _refused(401, "Authentication is required to access this application.")
    if scheme == "Key" and ":" not in key:
        return _refused(401, "Invalid Key Authorization header format. Expected '<key_id>:<key_secret>'.")
    if key.startswith("unknown:"):
        return _refused(401, "No user found for Key ID and Secret")
    if key.startswith("locked:"):
        where = "Top up your balance at fal.ai/dashboard/billing."
        return _refused(403, f"User is locked. Reason: Exhausted balance. {where}")
    return None


def _refused(status: int, detail: str) -> Response:
    body: dict[str, Any] = {"detail": detail}
    return reply(body, status, {"x-fal-request-id": str(uuid7())})
