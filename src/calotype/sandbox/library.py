"""A host of sample files: whatever is asked for is made after its name, `/film.mp4` a film, `/speech.mp3` a tone."""

import asyncio
import io
import json
import struct
import zipfile
from collections.abc import Mapping
from functools import lru_cache
from mimetypes import guess_type

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calotype.sandbox import media
from calotype.sandbox.base import Emulator, reply
from calotype.sandbox.comfyui_media import film, moving_picture, recording

SIDE = 512
SECONDS = 4.0
FILM = (256, 144)
PICTURES_IN_ARCHIVE = 4
STILLS = {"png": "PNG", "jpg": "JPEG", "jpeg": "JPEG", "webp": "WEBP"}


class Library(Emulator):
    """Serves samples, for inputs that are named by an address; `known` holds the files that are given by name."""

    name = "library"

    def __init__(self, known: Mapping[str, bytes] | None = None) -> None:
        self._known = dict(known or {})
        super().__init__()

    def routes(self) -> list[Route]:
        """Return the one address."""
        return [self.route("/{name}", "file", self._file, "GET", "HEAD")]

    async def _file(self, request: Request) -> Response:
        name = request.path_params["name"]
        body = self._known.get(name) or await asyncio.to_thread(sample, name)
        if body is None:
            return reply({"error": "not found"}, 404)
        return Response(body, media_type=guess_type(name)[0] or "application/octet-stream")


@lru_cache(maxsize=64)
def sample(name: str) -> bytes | None:
    """Return a file of the kind its name's ending says, None for an ending that is not known."""
    stem, _, kind = name.lower().rpartition(".")
    if kind in STILLS:
        out = io.BytesIO()
        Image.open(io.BytesIO(media.png(SIDE, SIDE, stem))).save(out, STILLS[kind])
        return out.getvalue()
    match kind:
        case "gif":
            return moving_picture(4, 8, (64, 64), stem, kind)
        case "mp4" | "mov" | "webm":
            return film(int(SECONDS * 8), 8, FILM, stem, sound=kind != "webm", kind="webm" if kind == "webm" else "mp4")
        case "mp3" | "flac":
            return recording(SECONDS, stem, kind)
        case "wav":
            return media.wav(SECONDS, stem)
        case "zip":
            return _archive(stem)
        case "pdf":
            return _document(stem)
        case "safetensors":
            header = json.dumps({"w": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4]}}).encode()
            return struct.pack("<Q", len(header)) + header + bytes(4)
    return None


def _archive(stem: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as file:
        for n in range(PICTURES_IN_ARCHIVE):
            file.writestr(f"{n}.png", media.png(64, 64, f"{stem}{n}"))
    return packed.getvalue()


def _document(title: str) -> bytes:
    """Return a page with a line of text as a PDF."""
    line = f"BT /F1 24 Tf 72 720 Td ({title}) Tj ET".encode("ascii", "replace")
    fonts = b"<< /Font << /F1 5 0 R >> >>"
    parts = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R /Resources %s >>" % fonts,
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(line), line),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    body, places = b"%PDF-1.4\n", []
    for number, part in enumerate(parts, start=1):
        places.append(len(body))
        body += b"%d 0 obj\n%s\nendobj\n" % (number, part)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    end = b"trailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF\n" % (len(parts) + 1, len(body))
    return body + b"xref\n0 %d\n0000000000 65535 f \n%s%s" % (len(parts) + 1, table, end)
