"""Files of the emulated ComfyUI: its three folders in memory, uploads, and `/view` (`wire/comfyui.md §2`)."""

import hashlib
import io
import mimetypes
import posixpath
import re
from typing import Any

import msgspec
from PIL import Image
from starlette.datastructures import FormData, UploadFile
from starlette.requests import Request
from starlette.responses import Response

from calotype.sandbox.base import reply

FOLDERS = ("input", "output", "temp")
DOWNLOADED = {"text/html", "text/html-sandboxed", "application/xhtml+xml", "text/javascript", "text/css"}
TYPES = {".opus": "audio/ogg", ".flac": "audio/flac", ".webp": "image/webp", ".mp4": "video/mp4", ".webm": "video/webm"}
_NOTED = re.compile(r"(.*) \[(input|output|temp)\]")

Key = tuple[str, str, str]
"""Folder, subfolder, name."""


class Escape(Exception):  # noqa: N818  (it is what the path does)
    """A path that leads out of its folder."""


class Files:
    """What lies in `input`, `output` and `temp`; only `temp` is emptied by a restart."""

    def __init__(self) -> None:
        self.bodies: dict[Key, bytes] = {}

    def restart(self) -> None:
        """Empty `temp`."""
        self.bodies = {key: body for key, body in self.bodies.items() if key[0] != "temp"}

    def read(self, name: str) -> bytes | None:
        """Return the file that a graph names: `name`, `sub/name`, perhaps with ` [output]` behind; None if missing."""
        folder = "input"
        if (noted := _NOTED.fullmatch(name)) is not None:
            name, folder = noted[1], noted[2]
        try:
            subfolder, name = split(name)
        except Escape:
            return None
        return self.bodies.get((folder, subfolder, name))

    def save(self, folder: str, prefix: str, extension: str, bodies: list[bytes]) -> list[dict[str, Any]]:
        """Write files under a prefix with the next numbers, as Save nodes do.

        Raises:
            Escape: the prefix leads out of the folder.

        """
        subfolder, name = split(prefix)
        numbers = [
            int(known[len(name) + 1 :].split("_")[0])
            for place, sub, known in self.bodies
            if (place, sub) == (folder, subfolder) and re.match(re.escape(name) + r"_\d+_", known)
        ]
        first = max(numbers, default=0) + 1
        items = []
        for n, body in enumerate(bodies, first):
            filename = f"{name}_{n:05}_.{extension}"
            self.bodies[folder, subfolder, filename] = body
            items.append({"filename": filename, "subfolder": subfolder, "type": folder})
        return items

    def view(self, request: Request) -> Response:
        """Answer `/view`."""
        query = request.query_params
        name = query.get("filename", "")
        folder: str | None = query.get("type", "output")
        if (noted := _NOTED.fullmatch(name)) is not None:
            name, folder = noted[1], noted[2]
        if "filename" not in query:
            return Response(status_code=404)
        if not name or name.startswith("/") or ".." in name or folder not in FOLDERS:
            return Response(status_code=400)
        try:
            subfolder, _ = split(posixpath.join(query.get("subfolder", ""), "x"))
        except Escape:
            return Response(status_code=403)
        name = posixpath.basename(name)
        body = self.bodies.get((str(folder), subfolder, name))
        if body is None:
            return Response(status_code=404)
        if "preview" in query or "channel" in query:
            return _recoded(body, query.get("preview"), query.get("channel"), name)
        return _served(request, body, name)

    def upload(self, form: FormData) -> Response:
        """Take an upload: any bytes, under a new name where another file has it."""
        image = form.get("image")
        if not isinstance(image, UploadFile):
            return Response(status_code=400)
        folder = str(form.get("type", "input"))
        if folder not in FOLDERS:
            return Response(status_code=500)
        if not image.filename:
            return Response(status_code=400)
        given = str(form.get("subfolder", ""))
        try:
            subfolder, name = split(posixpath.join(given, image.filename))
        except Escape:
            return Response(status_code=400)
        body = image.file.read()
        if (original := form.get("original_ref")) is not None:
            masked = self._masked(str(original), body)
            if isinstance(masked, Response):
                return masked
            body = masked
        stem, dot, extension = name.rpartition(".")
        n = 1
        overwrite = form.get("overwrite") in ("true", "1")
        while not overwrite and self.bodies.get((folder, subfolder, name), body) != body:
            name = f"{stem or extension} ({n}){dot}{extension if stem else ''}"
            n += 1
        self.bodies[folder, subfolder, name] = body
        return reply({"name": name, "subfolder": given, "type": folder})

    def _masked(self, original_ref: str, mask: bytes) -> bytes | Response:
        """Copy the alpha of a mask onto the picture it is for."""
        try:
            ref = msgspec.json.decode(original_ref, type=dict[str, str])
            subfolder, name = split(posixpath.join(ref.get("subfolder", ""), ref["filename"]))
        except (msgspec.MsgspecError, KeyError):
            return Response(status_code=500)
        except Escape:
            return Response(status_code=403)
        body = self.bodies.get((ref.get("type", "output"), subfolder, name))
        if body is None:
            return Response(status_code=404)
        whole = Image.open(io.BytesIO(body)).convert("RGBA")
        alpha = Image.open(io.BytesIO(mask)).convert("RGBA").resize(whole.size).getchannel("A")
        whole.putalpha(alpha)
        out = io.BytesIO()
        whole.save(out, "PNG")
        return out.getvalue()


def split(path: str) -> tuple[str, str]:
    """Return subfolder and name of a path inside a folder.

    Raises:
        Escape: it leads out.

    """
    clean = posixpath.normpath(path)
    if clean.startswith(("/", "..")) or path.startswith("/"):
        raise Escape(path)
    subfolder, name = posixpath.split(clean)
    return subfolder, name


def _recoded(body: bytes, preview: str | None, channel: str | None, name: str) -> Response:
    """Answer a picture as a still of another form, or one of its channels."""
    picture = Image.open(io.BytesIO(body))
    out = io.BytesIO()
    if preview is not None:
        form, _, quality = preview.partition(";")
        form = form if form in ("webp", "jpeg") and "a" not in (channel or "") else "webp"
        kept = picture.convert("RGB") if form == "jpeg" or channel == "rgb" else picture
        kept.save(out, form.upper(), quality=int(quality) if quality.isdigit() else 90)
        kind = f"image/{form}"
    else:
        made = picture.convert("RGB")
        if channel == "a":
            made = Image.new("RGBA", picture.size)
            made.putalpha(picture.convert("RGBA").getchannel("A"))
        made.save(out, "PNG")
        kind = "image/png"
    return Response(out.getvalue(), media_type=kind, headers={"content-disposition": f'filename="{name}"'})


def _served(request: Request, body: bytes, name: str) -> Response:
    """Answer a file with what the real server says of it; a range gives a part."""
    extension = posixpath.splitext(name)[1].lower()
    kind = TYPES.get(extension) or mimetypes.guess_type(name)[0] or "application/octet-stream"
    headers = {
        "content-type": "application/octet-stream" if kind in DOWNLOADED else kind,
        "content-disposition": f'filename="{name}"',
        "etag": f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"',
        "last-modified": "Fri, 20 Nov 2026 12:00:00 GMT",
        "accept-ranges": "bytes",
    }
    span = re.fullmatch(r"bytes=(\d+)-(\d*)", request.headers.get("range", ""))
    if span is None:
        return Response(body, headers=headers)
    first, last = int(span[1]), min(int(span[2] or len(body) - 1), len(body) - 1)
    if first > last:
        return Response(status_code=416, headers={"content-range": f"bytes */{len(body)}"})
    headers["content-range"] = f"bytes {first}-{last}/{len(body)}"
    return Response(body[first : last + 1], 206, headers)
