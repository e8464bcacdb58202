"""What a stored file really is: read from its own bytes, never from what somebody claims.

Pictures are measured from their headers without decoding a pixel; sound and film through PyAV, which is told the
container by name and reads from a file object, so that no playlist can make it open anything else.
"""

import io
import struct
from pathlib import Path
from typing import IO

from msgspec import Struct
from PIL import Image

HEAD_BYTES = 4096
MAX_DURATION_S = 7 * 24 * 3600

EXTENSIONS: dict[str, str] = {
    "image/png": "png", "image/jpeg": "jpg", "image/webp": "webp", "image/gif": "gif", "image/bmp": "bmp",
    "image/tiff": "tiff", "image/avif": "avif", "image/heic": "heic", "image/svg+xml": "svg",
    "video/mp4": "mp4", "video/quicktime": "mov", "video/webm": "webm", "video/x-matroska": "mkv",
    "video/x-msvideo": "avi", "video/ogg": "ogv", "audio/mpeg": "mp3", "audio/wav": "wav", "audio/ogg": "ogg",
    "audio/flac": "flac", "audio/aac": "aac", "audio/mp4": "m4a", "audio/webm": "weba", "application/pdf": "pdf",
    "application/zip": "zip", "application/json": "json", "text/html": "html", "text/plain": "txt",
    "model/gltf-binary": "glb", "application/octet-stream": "bin",
}  # fmt: skip
"""Content type → file name extension, for everything `sniff` can answer."""

_CONTAINERS: dict[str, str] = {
    "video/mp4": "mov", "video/quicktime": "mov", "audio/mp4": "mov", "video/webm": "matroska",
    "video/x-matroska": "matroska", "video/x-msvideo": "avi", "audio/ogg": "ogg", "audio/mpeg": "mp3",
    "audio/wav": "wav", "audio/flac": "flac", "audio/aac": "aac",
}  # fmt: skip
_SOUND_OF: dict[str, str] = {
    "video/mp4": "audio/mp4", "video/quicktime": "audio/mp4", "video/webm": "audio/webm", "audio/ogg": "audio/ogg",
}  # fmt: skip
_PILLOW = {"image/tiff": "TIFF", "image/avif": "AVIF", "image/bmp": "BMP"}


class Facts(Struct, frozen=True):
    """What a file is; sizes in pixels, None where the kind has no such fact or it cannot be read."""

    content_type: str
    width: int | None = None
    height: int | None = None
    duration_s: float | None = None
    video_codec: str | None = None
    audio_codec: str | None = None

    @property
    def extension(self) -> str:
        """The usual file name extension, without the dot."""
        return EXTENSIONS.get(self.content_type, "bin")


def probe(source: bytes | Path) -> Facts:
    """Look into the file; call it in a thread. A broken file keeps its type and has no further facts."""
    if isinstance(source, bytes):
        return _probe(source[:HEAD_BYTES], io.BytesIO(source))
    with source.open("rb") as file:
        head = file.read(HEAD_BYTES)
        file.seek(0)
        return _probe(head, file)


def is_quick(head: bytes) -> bool:
    """Say whether probing costs microseconds (pictures, text) and not a look through a container."""
    return sniff(head) not in _CONTAINERS


def sniff(head: bytes) -> str:
    """Return the content type by magic bytes; `application/octet-stream` when nothing fits."""
    for magic, kind in _MAGIC:
        if head.startswith(magic):
            return kind
    if head[:4] == b"RIFF":
        return _RIFF.get(head[8:12], "application/octet-stream")
    if head[4:8] == b"ftyp":
        return _brand(head)
    if head[:4] == b"\x1a\x45\xdf\xa3":
        return "video/webm" if b"webm" in head[:64] else "video/x-matroska"
    if len(head) > 1 and head[0] == 0xFF and head[1] & 0xE0 == 0xE0:
        return "audio/aac" if head[1] & 0xF6 == 0xF0 else "audio/mpeg"
    return _text(head)


def container_of(head: bytes) -> str | None:
    """Return FFmpeg's name of the container of a sound or film, so that nothing else is opened; None for others."""
    return _CONTAINERS.get(sniff(head))


_MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF87a", "image/gif"),
    (b"GIF89a", "image/gif"), (b"BM", "image/bmp"), (b"II*\x00", "image/tiff"), (b"MM\x00*", "image/tiff"),
    (b"OggS", "audio/ogg"), (b"ID3", "audio/mpeg"), (b"fLaC", "audio/flac"), (b"%PDF-", "application/pdf"),
    (b"PK\x03\x04", "application/zip"), (b"glTF", "model/gltf-binary"),
)  # fmt: skip
_RIFF = {b"WEBP": "image/webp", b"WAVE": "audio/wav", b"AVI ": "video/x-msvideo"}


def _brand(head: bytes) -> str:
    brand = head[8:12]
    if brand in (b"avif", b"avis"):
        return "image/avif"
    if brand in (b"heic", b"heix", b"mif1", b"msf1", b"hevc"):
        return "image/heic"
    if brand in (b"M4A ", b"M4B "):
        return "audio/mp4"
    return "video/quicktime" if brand == b"qt  " else "video/mp4"


def _text(head: bytes) -> str:
    try:
        # an incomplete last character is the cut, not an error
        text = head.decode() if len(head) < HEAD_BYTES else head[:-3].decode(errors="ignore")
    except UnicodeDecodeError:
        return "application/octet-stream"
    if not text or "\x00" in text:
        return "application/octet-stream"
    start = text.lstrip("\ufeff \t\r\n").lower()
    if "<svg" in start and start.startswith(("<?xml", "<svg", "<!--", "<!doctype svg")):
        return "image/svg+xml"
    if start.startswith(("<!doctype html", "<html", "<head", "<body", "<script")):
        return "text/html"
    return "application/json" if start.startswith(("{", "[")) else "text/plain"


def _probe(head: bytes, file: IO[bytes]) -> Facts:
    kind = sniff(head)
    if kind in _CONTAINERS:
        return _time_based(kind, file)
    size = None
    try:
        if kind == "image/jpeg":
            size = _jpeg_size(file)
        elif measure := _MEASURES.get(kind):
            size = measure(head)
        elif kind in _PILLOW:
            with Image.open(file, formats=(_PILLOW[kind],)) as picture:
                size = picture.size
    except (OSError, ValueError, SyntaxError, struct.error, IndexError, Image.DecompressionBombError):
        size = None
    if size is None or not (0 < size[0] < 1 << 31 and 0 < size[1] < 1 << 31):
        return Facts(kind)
    return Facts(kind, width=size[0], height=size[1])


def _png_size(head: bytes) -> tuple[int, int] | None:
    return struct.unpack(">II", head[16:24]) if head[12:16] == b"IHDR" else None


def _gif_size(head: bytes) -> tuple[int, int] | None:
    return struct.unpack("<HH", head[6:10])


def _webp_size(head: bytes) -> tuple[int, int] | None:
    form = head[12:16]
    if form == b"VP8X":
        return 1 + int.from_bytes(head[24:27], "little"), 1 + int.from_bytes(head[27:30], "little")
    if form == b"VP8L" and head[20] == 0x2F:
        bits = int.from_bytes(head[21:25], "little")
        return 1 + (bits & 0x3FFF), 1 + (bits >> 14 & 0x3FFF)
    if form == b"VP8 " and head[23:26] == b"\x9d\x01\x2a":
        width, height = struct.unpack("<HH", head[26:30])
        return width & 0x3FFF, height & 0x3FFF
    return None


_MEASURES = {"image/png": _png_size, "image/gif": _gif_size, "image/webp": _webp_size}


def _jpeg_size(file: IO[bytes]) -> tuple[int, int] | None:
    """Walk the segments to the first frame header (T.81 B.2.2); at most 4,096 of them."""
    file.seek(2)
    for _ in range(4096):
        marker = file.read(2)
        while marker == b"\xff\xff":
            marker = b"\xff" + file.read(1)
        if len(marker) < 2 or marker[0] != 0xFF or marker[1] in (0xDA, 0xD9):
            return None
        (length,) = struct.unpack(">H", file.read(2))
        if 0xC0 <= marker[1] <= 0xCF and marker[1] not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack(">xHH", file.read(5))
            return width, height
        file.seek(length - 2, io.SEEK_CUR)
    return None


def _time_based(kind: str, file: IO[bytes]) -> Facts:
    import av  # noqa: PLC0415  (16 MiB that a server of pictures never needs)

    try:
        with av.open(file, mode="r", format=_CONTAINERS[kind], metadata_errors="ignore") as container:
            # a cover picture is a video stream by name only
            films = [one for one in container.streams.video if not one.disposition & av.stream.Disposition.attached_pic]
            sounds = container.streams.audio
            durations = [float(container.duration) / av.time_base] if container.duration else []
            durations += [
                float(one.duration * one.time_base) for one in (*films, *sounds) if one.duration and one.time_base
            ]
            if sounds and not films:
                kind = _SOUND_OF.get(kind, kind)
            elif films and kind == "audio/ogg":
                kind = "video/ogg"
            longest = durations[0] if durations else None
            return Facts(
                kind,
                width=films[0].width if films else None,
                height=films[0].height if films else None,
                duration_s=round(longest, 3) if longest is not None and 0 < longest < MAX_DURATION_S else None,
                video_codec=films[0].codec_context.name if films else None,
                audio_codec=sounds[0].codec_context.name if sounds else None,
            )
    except (av.FFmpegError, ValueError, OSError, OverflowError, IndexError, AttributeError):
        return Facts(kind)
