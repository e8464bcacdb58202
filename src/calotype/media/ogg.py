"""Finds embedded prompts in Ogg files (Opus, Vorbis) and answers with patches of equal length.

The comments are the stream's second packet (RFC 7845 §5.2). A comment that reads like a prompt is taken out and a
filler of the same length put in; the pages that hold it get new checksums (RFC 3533 §6).
"""

import struct
from typing import IO

from calotype.media.atoms import Patch
from calotype.media.prompts import is_own_label, looks_like_prompt

MAX_COMMENT_BYTES = 4 << 20
MAX_PAGES = 256
_HEADS = (b"OpusTags", b"\x03vorbis")
_NAMES = frozenset({"prompt", "workflow", "parameters", "comment", "description", "lyrics"})
_FILLER = b"PADDING="


class _Page:
    """One page: where it is, its bytes, and where in it the parts of packets begin and end."""

    def __init__(self, at: int, raw: bytearray, laces: bytes) -> None:
        self.at = at
        self.raw = raw
        self.laces = laces
        self.body = 27 + len(laces)


def find_ogg_texts(file: IO[bytes], size: int) -> list[Patch]:
    """Return the patches for an Ogg file; raises ValueError when its pages do not fit."""
    pieces = _second_packet(file, size)
    packet = b"".join(bytes(page.raw[start:end]) for page, start, end in pieces)
    head = next((head for head in _HEADS if packet.startswith(head)), None)
    if head is None:
        return []
    clean = _cleaned(packet, len(head))
    if clean is None:
        return []
    at = 0
    for page, start, end in pieces:
        page.raw[start:end] = clean[at : at + end - start]
        at += end - start
    found: list[Patch] = []
    for page in dict.fromkeys(page for page, _, _ in pieces):
        page.raw[22:26] = bytes(4)
        page.raw[22:26] = struct.pack("<I", _checksum(page.raw))
        found.append((page.at, bytes(page.raw), "comments"))
    return found


def _second_packet(file: IO[bytes], size: int) -> list[tuple[_Page, int, int]]:
    """Return the pieces of the first stream's second packet: page, start and end in it."""
    pieces: list[tuple[_Page, int, int]] = []
    at, packet, gathered, serial = 0, 0, 0, b""
    for _ in range(MAX_PAGES):
        page = _read_page(file, at, size)
        at += len(page.raw)
        serial = serial or bytes(page.raw[14:18])
        if bytes(page.raw[14:18]) != serial:
            continue
        start = end = page.body
        for lace in page.laces:
            end += lace
            if lace < 255:
                if packet == 1:
                    return [*pieces, (page, start, end)]
                packet, start = packet + 1, end
        if packet == 1 and end > start:
            pieces.append((page, start, end))
            gathered += end - start
        if packet > 1 or gathered > MAX_COMMENT_BYTES:
            break
    raise ValueError("the comments have no end")


def _read_page(file: IO[bytes], at: int, size: int) -> _Page:
    file.seek(at)
    head = file.read(27)
    if len(head) < 27 or head[:5] != b"OggS\0":
        raise ValueError("no page")
    laces = file.read(head[26])
    length = 27 + len(laces) + sum(laces)
    if at + length > size:
        raise ValueError("a page lies outside")
    file.seek(at)
    return _Page(at, bytearray(file.read(length)), laces)


def _cleaned(packet: bytes, at: int) -> bytes | None:
    """Return the packet without prompts, as long as before; None where it has none."""
    (length,) = struct.unpack_from("<I", packet, at)
    start = at + 4 + length
    (count,) = struct.unpack_from("<I", packet, start)
    at, kept, gone = start + 4, [], 0
    for _ in range(min(count, 10_000)):
        (length,) = struct.unpack_from("<I", packet, at)
        comment = packet[at : at + 4 + length]
        if len(comment) < 4 + length:
            raise ValueError("a comment lies outside")
        if _is_prompt(comment[4:].decode("utf-8", "replace")):
            gone += len(comment)
        else:
            kept.append(comment)
        at += len(comment)
    if not gone:
        return None
    filler = _FILLER.ljust(gone - 4)[: gone - 4]
    comments = [*kept, struct.pack("<I", len(filler)) + filler]
    return packet[:start] + struct.pack("<I", len(comments)) + b"".join(comments) + packet[at:]


def _is_prompt(comment: str) -> bool:
    name, _, value = comment.partition("=")
    if is_own_label(name.lower(), value):
        return False
    return name.lower() in _NAMES or looks_like_prompt(value)


def _table() -> tuple[int, ...]:
    rows = []
    for number in range(256):
        value = number << 24
        for _ in range(8):
            value = (value << 1 ^ 0x04C11DB7 if value & 0x80000000 else value << 1) & 0xFFFFFFFF
        rows.append(value)
    return tuple(rows)


_TABLE = _table()


def _checksum(page: bytes | bytearray) -> int:
    value = 0
    for byte in page:
        value = (value << 8 & 0xFFFFFFFF) ^ _TABLE[value >> 24 ^ byte]
    return value
