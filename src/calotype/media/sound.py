"""Finds embedded prompts in FLAC and MP3 files and answers with patches of equal length."""

from typing import IO

from calotype.media.atoms import Patch
from calotype.media.prompts import is_own_label, looks_like_prompt

MAX_TAG_BYTES = 16 << 20
_COMMENTS = frozenset({b"COMM", b"TXXX", b"USLT"})


def find_flac_texts(file: IO[bytes], size: int) -> list[Patch]:
    """Return the patches for a FLAC file: a comment block that reads like a prompt becomes padding (RFC 9639 §8)."""
    patches: list[Patch] = []
    at = 4
    for _ in range(128):
        file.seek(at)
        head = file.read(4)
        length = int.from_bytes(head[1:4], "big")
        if len(head) < 4 or at + 4 + length > size:
            raise ValueError("a block lies outside")
        if head[0] & 0x7F == 4:
            text = file.read(length).decode("utf-8", "replace")
            low = text.lower()
            if looks_like_prompt(text) or any(f"{key}=" in low for key in ("prompt", "workflow", "comment")):
                patches.append((at, bytes([head[0] & 0x80 | 1]) + head[1:4] + bytes(length), "comments"))
        if head[0] & 0x80:
            break
        at += 4 + length
    return patches


def find_id3_texts(file: IO[bytes], size: int) -> list[Patch]:
    """Return the patches for an MP3 file: comment frames of its ID3v2 tag become private frames of zeros."""
    patches: list[Patch] = []
    head = file.read(10)
    if head[:3] != b"ID3" or head[3] not in (3, 4):
        return patches
    end = 10 + _syncsafe(head[6:10])
    if end > min(size, MAX_TAG_BYTES):
        raise ValueError("the tag lies outside")
    at = 10
    if head[5] & 0x40:
        return patches  # an extended header: rare, and never written by the tools that embed prompts
    while at + 10 <= end:
        file.seek(at)
        frame = file.read(10)
        if frame[0] == 0:
            break
        length = _syncsafe(frame[4:8]) if head[3] == 4 else int.from_bytes(frame[4:8], "big")
        if at + 10 + length > end:
            raise ValueError("a frame lies outside")
        if frame[:4] in _COMMENTS:
            text = file.read(length)[1:].replace(b"\x00", b" ").decode("utf-8", "replace").strip()
            name, _, value = text.partition(" ")
            if not is_own_label("comment", value) and name.lower() not in ("aigc", "software", "encoder"):
                patches.append((at, b"PRIV" + frame[4:8] + bytes(2 + length), frame[:4].decode()))
        at += 10 + length
    return patches


def _syncsafe(four: bytes) -> int:
    return four[0] << 21 | four[1] << 14 | four[2] << 7 | four[3]
