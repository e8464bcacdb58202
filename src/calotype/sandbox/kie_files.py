"""KIE's upload host and the addresses everybody reads files from (`wire/providers.md §5.6`)."""

import base64
import binascii
import http.client
import time
from asyncio import to_thread
from collections.abc import Callable
from datetime import UTC, datetime
from mimetypes import guess_type
from typing import Any
from urllib.parse import urlsplit

import msgspec
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calotype.sandbox.base import Emulator, reply

MAX_BYTES = 100 * 1024 * 1024
FETCH_S = 30.0
Refuse = Callable[[Request], Response | None]
"""Refuses a request without a usable key."""


class Files:
    """Uploads under `/uploads/<path>/<name>` and produced files under `/files/<name>`; the same name overwrites."""

    def __init__(self, emulator: Emulator, refuse: Refuse) -> None:
        self.kept: dict[str, tuple[bytes, str]] = {}
        self._emulator = emulator
        self._refuse = refuse

    def routes(self) -> list[Route]:
        """Return the three ways to upload, and the reading."""
        route = self._emulator.route
        return [
            route("/api/file-stream-upload", "upload", self._stream),
            route("/api/file-base64-upload", "upload", self._base64),
            route("/api/file-url-upload", "upload", self._url),
            route("/uploads/{path:path}", "file", self._read, "GET", "HEAD"),
            route("/files/{path:path}", "file", self._read, "GET", "HEAD"),
        ]

    def keep(self, body: bytes, content_type: str, path: str) -> str:
        """Keep a file and return its address."""
        self.kept[path] = (body, content_type)
        return f"{self._emulator.url}/{path}"

    def body_of(self, url: str) -> bytes | None:
        """Return the file of an address of ours."""
        found = self.kept.get(urlsplit(url).path.lstrip("/"))
        return found[0] if found is not None else None

    def lost(self, url: str) -> bool:
        """Say whether an address is ours and has no file; others are taken on trust."""
        return url.startswith(f"{self._emulator.url}/") and self.body_of(url) is None

    async def _stream(self, request: Request) -> Response:
        if (refused := self._refuse(request)) is not None:
            return refused
        async with request.form() as form:
            file = form.get("file")
            if not isinstance(file, UploadFile):
                return refusal(400, "file is required")
            body, kind = await file.read(), file.content_type
            return self._kept(body, form.get("uploadPath"), form.get("fileName") or file.filename, kind)

    async def _base64(self, request: Request) -> Response:
        if (refused := self._refuse(request)) is not None:
            return refused
        said = _object(await request.body())
        head, comma, text = str(said.get("base64Data", "")).rpartition(",")
        try:
            body = base64.b64decode(text, validate=True)
        except binascii.Error:
            return refusal(400, "base64Data is not valid Base64")
        kind = head.removeprefix("data:").partition(";")[0] if comma else None
        return self._kept(body, said.get("uploadPath"), said.get("fileName") or "file", kind)

    async def _url(self, request: Request) -> Response:
        if (refused := self._refuse(request)) is not None:
            return refused
        said = _object(await request.body())
        source = str(said.get("fileUrl", ""))
        body = await to_thread(_fetched, source)
        if body is None:
            return refusal(451, "Failed to fetch the file.")
        name = said.get("fileName") or urlsplit(source).path.rpartition("/")[2] or "file"
        return self._kept(body, said.get("uploadPath"), name, None)

    def _kept(self, body: bytes, folder: Any, name: Any, content_type: str | None) -> Response:
        if not isinstance(folder, str) or not folder.strip("/"):
            return refusal(400, "uploadPath is required")
        if len(body) > MAX_BYTES:
            return refusal(413, "The file is larger than 100 MB.")
        kind = content_type or guess_type(str(name))[0] or "application/octet-stream"
        path = f"{folder.strip('/')}/{name}"
        data = {
            "fileName": name, "filePath": path, "downloadUrl": self.keep(body, kind, f"uploads/{path}"),
            "fileSize": len(body), "mimeType": kind, "uploadedAt": datetime.fromtimestamp(time.time(), UTC).isoformat(),
        }  # fmt: skip
        return reply({"success": True, "code": 200, "msg": "File uploaded successfully", "data": data})

    async def _read(self, request: Request) -> Response:
        found = self.kept.get(request.url.path.lstrip("/"))
        if found is None:
            return Response("Not Found", 404, media_type="text/plain")
        return Response(found[0], media_type=found[1])


def refusal(code: int, text: str) -> Response:
    """Word a refusal: HTTP 200 and the truth in the code (`§5.1`)."""
    return reply({"code": code, "msg": text, "data": None})


def _object(raw: bytes) -> dict[str, Any]:
    try:
        return msgspec.json.decode(raw, type=dict[str, Any])
    except msgspec.MsgspecError:
        return {}


def _fetched(source: str) -> bytes | None:
    """Fetch a file without following redirects; blocks."""
    url = urlsplit(source)
    connection = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    try:
        link = connection(url.hostname or "", url.port, timeout=FETCH_S)
        link.request("GET", f"{url.path or '/'}{'?' + url.query if url.query else ''}")
        answer = link.getresponse()
        return answer.read(MAX_BYTES + 1) if answer.status == 200 else None
    except (OSError, ValueError, http.client.HTTPException):
        return None
