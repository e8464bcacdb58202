"""Takes embedded prompts and graphs out of produced files without touching a pixel or a sample.

Chunk surgery only: what stays is copied byte for byte, and a file that has nothing to lose is returned as it is.
Removing chunks changes the bytes a C2PA manifest was computed over; the manifest itself is always kept.
"""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import IO

from msgspec import Struct

from calotype.media.atoms import Patch, find_mp4_texts, find_webm_texts
from calotype.media.ogg import find_ogg_texts
from calotype.media.prompts import clean_exif, clean_xmp, keeps, looks_like_prompt
from calotype.media.sound import find_flac_texts, find_id3_texts

MAX_PICTURE_BYTES = 64 << 20
MAX_TEXT_BYTES = 4 << 20

_XMP_JPEG = b"http://ns.adobe.com/xap/1.0/\x00"
_XMP_JPEG_MORE = b"http://ns.adobe.com/xmp/extension/\x00"
_EXIF_JPEG = b"Exif\x00\x00"


class Stripped(Struct, frozen=True):
    """The body to keep (the very same object when nothing was removed), what was removed, and whether it is sound.

    A `malformed` file is left as it came.
    """

    body: bytes | Path
    removed: tuple[str, ...] = ()
    malformed: bool = False


def strip(body: bytes | Path, content_type: str) -> Stripped:
    """Strip a file of the given (probed) content type; call it in a thread.

    A path must be a private temporary file: it is rewritten in place.
    """
    try:
        if rebuild := _REBUILDERS.get(content_type):
            return _strip_picture(body, rebuild)
        if find := _PATCHERS.get(content_type):
            return _strip_in_place(body, find)
    except (ValueError, struct.error, IndexError):
        return Stripped(body, malformed=True)
    return Stripped(body)


def _strip_picture(body: bytes | Path, rebuild: Callable[[bytes, list[str]], bytes]) -> Stripped:
    if isinstance(body, Path):
        if body.stat().st_size > MAX_PICTURE_BYTES:
            return Stripped(body, malformed=True)
        whole = body.read_bytes()
    else:
        whole = body
    removed: list[str] = []
    clean = rebuild(whole, removed)
    if not removed:
        return Stripped(body)
    if isinstance(body, Path):
        body.write_bytes(clean)
        return Stripped(body, tuple(removed))
    return Stripped(clean, tuple(removed))


def _strip_in_place(body: bytes | Path, find: Callable[[IO[bytes], int], list[Patch]]) -> Stripped:
    """Overwrite texts with padding of the same length, so that no offset in the file moves."""
    if isinstance(body, bytes):
        patches = find(io.BytesIO(body), len(body))
        if not patches:
            return Stripped(body)
        out = bytearray(body)
        for at, block, _ in patches:
            out[at : at + len(block)] = block
        return Stripped(bytes(out), _names(patches))
    with body.open("r+b") as file:
        patches = find(file, body.stat().st_size)
        for at, block, _ in patches:
            file.seek(at)
            file.write(block)
    return Stripped(body, _names(patches))


def _names(patches: list[Patch]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, _, name in patches))


def _png(data: bytes, removed: list[str]) -> bytes:
    kept: list[tuple[int, int]] = []
    replaced: dict[int, bytes] = {}
    at, ended = 8, False
    while at < len(data) and not ended:
        (length,) = struct.unpack_from(">I", data, at)
        kind = data[at + 4 : at + 8]
        end = at + 12 + length
        if end > len(data) or (at == 8 and kind != b"IHDR"):
            raise ValueError("a chunk lies outside")
        if kind in (b"tEXt", b"zTXt", b"iTXt"):
            chunk = _png_text(kind, data[at + 8 : at + 8 + length])
            if chunk is None:
                removed.append(data[at + 8 : at + 8 + min(length, 80)].partition(b"\x00")[0].decode("latin-1"))
            else:
                kept.append((at, end))
                if chunk:
                    removed.append("XMP")
                    replaced[at] = _png_chunk(kind, chunk)
        else:
            kept.append((at, end))
            if kind == b"eXIf":
                block = data[at + 8 : at + 8 + length]
                if (clean := clean_exif(block)) is not block:
                    removed.append("EXIF")
                    replaced[at] = _png_chunk(kind, clean)
        ended = kind == b"IEND"
        at = end
    if not ended:
        raise ValueError("no end")
    if not removed:
        return data
    return b"".join([data[:8], *(replaced.get(start) or data[start:end] for start, end in kept), data[at:]])


def _png_text(kind: bytes, chunk: bytes) -> bytes | None:
    """Return b"" to keep a text chunk as it is, None to drop it, or the new content."""
    key, _, rest = chunk.partition(b"\x00")
    name = key.decode("latin-1")
    head = b""
    if kind == b"tEXt":
        text = rest
    elif kind == b"zTXt":
        text = _inflate(rest[1:])
    else:
        packed, after = rest[0], rest[2:]
        language, _, after = after.partition(b"\x00")
        translated, _, text = after.partition(b"\x00")
        if packed:
            text = _inflate(text)
        head = key + b"\x00\x00\x00" + language + b"\x00" + translated + b"\x00"
    if name == "XML:com.adobe.xmp":
        clean = clean_xmp(text)
        return None if clean is None else b"" if clean is text else head + clean
    return b"" if keeps(name, text.decode("utf-8", "replace")) else None


def _inflate(block: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(block, MAX_TEXT_BYTES)
    except zlib.error as error:
        raise ValueError("bad compressed text") from error


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _jpeg(data: bytes, removed: list[str]) -> bytes:
    out: list[bytes] = [data[:2]]
    at = 2
    while True:
        if data[at] != 0xFF:
            raise ValueError("no marker")
        while data[at + 1] == 0xFF:
            at += 1
        marker = data[at + 1]
        if marker in (0xDA, 0xD9):
            break
        (length,) = struct.unpack_from(">H", data, at + 2)
        end = at + 2 + length
        if end > len(data) or length < 2:
            raise ValueError("a segment lies outside")
        segment = data[at:end]
        name, clean = _jpeg_segment(marker, segment[4:])
        if name is None:
            out.append(segment)
        else:
            removed.append(name)
            if clean is not None:
                out.append(segment[:2] + struct.pack(">H", len(clean) + 2) + clean)
        at = end
    return b"".join([*out, data[at:]]) if removed else data


def _jpeg_segment(marker: int, body: bytes) -> tuple[str | None, bytes | None]:
    """Return (None, None) to keep a segment, or the name of what goes and what is left of the segment."""
    if marker == 0xFE:
        return (None, None) if keeps("comment", body.decode("utf-8", "replace")) else ("COM", None)
    if marker == 0xE1 and body.startswith(_EXIF_JPEG):
        block = body[len(_EXIF_JPEG) :]
        clean = clean_exif(block)
        return (None, None) if clean is block else ("EXIF", _EXIF_JPEG + clean)
    if marker == 0xE1 and body.startswith(_XMP_JPEG):
        packet = body[len(_XMP_JPEG) :]
        left = clean_xmp(packet)
        return (None, None) if left is packet else ("XMP", None if left is None else _XMP_JPEG + left)
    if marker == 0xE1 and body.startswith(_XMP_JPEG_MORE):
        return ("XMP", None) if clean_xmp(body) is not body else (None, None)
    if marker == 0xED and looks_like_prompt(_printable(body)):
        return "IPTC", None
    return None, None


def _printable(block: bytes) -> str:
    """Return the text of a binary block, short enough that its mere size does not make it a prompt."""
    text = block.decode("utf-8", "replace")
    return next((part for part in (text[i : i + 500] for i in range(0, len(text), 400)) if looks_like_prompt(part)), "")


def _webp(data: bytes, removed: list[str]) -> bytes:
    (size,) = struct.unpack_from("<I", data, 4)
    end = 8 + size
    if end > len(data):
        raise ValueError("cut short")
    chunks: list[bytes] = []
    dropped = 0
    at = 12
    while at + 8 <= end:
        kind = data[at : at + 4]
        (length,) = struct.unpack_from("<I", data, at + 4)
        after = at + 8 + length + (length & 1)
        if at + 8 + length > end:
            raise ValueError("a chunk lies outside")
        chunk = data[at:after]
        body = data[at + 8 : at + 8 + length]
        if kind == b"EXIF":
            prefix = _EXIF_JPEG if body.startswith(_EXIF_JPEG) else b""
            block = body[len(prefix) :]
            if (clean := clean_exif(block)) is not block:
                removed.append("EXIF")
                chunk = kind + data[at + 4 : at + 8] + prefix + clean + data[at + 8 + length : after]
        elif kind == b"XMP ":
            left = clean_xmp(body)
            if left is not body:
                removed.append("XMP")
                dropped |= 0x04 if left is None else 0
                chunk = b"" if left is None else kind + struct.pack("<I", len(left)) + left + bytes(len(left) & 1)
        chunks.append(chunk)
        at = after
    if not removed:
        return data
    body = b"".join(chunks)
    if dropped and body[:4] == b"VP8X":
        body = body[:8] + bytes([body[8] & ~dropped]) + body[9:]
    return b"RIFF" + struct.pack("<I", 4 + len(body)) + b"WEBP" + body + data[end:]


_REBUILDERS: dict[str, Callable[[bytes, list[str]], bytes]] = {
    "image/png": _png,
    "image/jpeg": _jpeg,
    "image/webp": _webp,
}
_PATCHERS = {
    "video/mp4": find_mp4_texts,
    "video/quicktime": find_mp4_texts,
    "audio/mp4": find_mp4_texts,
    "video/webm": find_webm_texts,
    "audio/webm": find_webm_texts,
    "video/x-matroska": find_webm_texts,
    "audio/flac": find_flac_texts,
    "audio/ogg": find_ogg_texts,
    "audio/mpeg": find_id3_texts,
}
