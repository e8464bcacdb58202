"""Finds embedded prompts in MP4 and Matroska files and answers with patches of equal length.

Only the headers of boxes are read, never the samples. A text is overwritten where it stands: an MP4 item becomes a
`free` box, a Matroska `Tags` element becomes `Void`, so every offset in the file stays true.
"""

import struct
from collections.abc import Iterator
from typing import IO

from calotype.media.prompts import is_own_label, looks_like_prompt

Patch = tuple[int, bytes, str]
"""Offset, the bytes that go there, and the name of what they cover."""

MAX_BOXES = 10_000
MAX_TEXT_BYTES = 4 << 20
_FOLDERS = frozenset({b"moov", b"udta", b"meta", b"trak"})
_TEXTS = {b"\xa9cmt": "comment", b"desc": "description", b"ldes": "description", b"\xa9des": "description",
          b"\xa9inf": "information", b"\xa9nam": "title", b"\xa9lyr": "lyrics"}  # fmt: skip
_KEYS = frozenset({"prompt", "workflow", "parameters", "comment", "description", "synopsis", "extra_pnginfo"})
_EBML, _SEGMENT, _TAGS, _CLUSTER = 0x1A45DFA3, 0x18538067, 0x1254C367, 0x1F43B675


def find_mp4_texts(file: IO[bytes], size: int) -> list[Patch]:
    """Return the patches for an ISO base media file; raises ValueError when its boxes do not fit."""
    walk = _Walk(file)
    walk.folder(0, size, ())
    return walk.patches


class _Walk:
    """One way through the boxes of a file, with a bound on their number."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._left = MAX_BOXES
        self.patches: list[Patch] = []

    def folder(self, start: int, end: int, path: tuple[bytes, ...]) -> None:
        """Look at the boxes between two offsets; `path` names the boxes around them."""
        if len(path) > 8:
            raise ValueError("boxes too deep")
        keys: list[str] = []
        for kind, at, content, after in self._boxes(start, end):
            if kind in _FOLDERS:
                inside = content
                if kind == b"meta":
                    self._file.seek(content + 4)
                    inside = content if self._file.read(4) == b"hdlr" else content + 4  # QuickTime's has no version
                self.folder(inside, after, (*path, kind))
            elif kind == b"keys" and path[-1:] == (b"meta",):
                keys = _key_names(_read(self._file, content, after))
            elif kind == b"ilst":
                self._items(content, after, keys)
            elif kind in _TEXTS and path[-1:] == (b"udta",):
                self._judge((at, content, after), _TEXTS[kind], skip=4)

    def _boxes(self, start: int, end: int) -> Iterator[tuple[bytes, int, int, int]]:
        """Yield (type, start of the box, start of its content, end) of the boxes between two offsets."""
        at = start
        while at + 8 <= end:
            self._left -= 1
            if self._left < 0:
                raise ValueError("too many boxes")
            self._file.seek(at)
            length, kind = struct.unpack(">I4s", self._file.read(8))
            content = at + 8
            if length == 1:
                (length,) = struct.unpack(">Q", self._file.read(8))
                content += 8
            elif length == 0:
                length = end - at
            if length < content - at or at + length > end:
                raise ValueError("a box lies outside")
            yield kind, at, content, at + length
            at += length

    def _items(self, start: int, end: int, keys: list[str]) -> None:
        for kind, at, content, after in self._boxes(start, end):
            index = int.from_bytes(kind, "big")
            if kind == b"----":
                name = ""
                for part, _, inner, stop in self._boxes(content, after):
                    if part == b"name":
                        name = _read(self._file, inner + 4, stop).decode("utf-8", "replace")
                self._judge((at, content, after), name, skip=0)
            elif kind in _TEXTS:
                self._judge((at, content, after), _TEXTS[kind], skip=16)
            elif 1 <= index <= len(keys):
                self._judge((at, content, after), keys[index - 1], skip=16)

    def _judge(self, box: tuple[int, int, int], name: str, *, skip: int) -> None:
        """Turn the box into `free` when its text is a prompt; `skip` bytes of its content come before the text."""
        at, content, after = box
        text = _read(self._file, content + skip, after).decode("utf-8", "replace").strip("\x00 ")
        low = name.lower().rpartition(".")[2]
        if not text or is_own_label(low, text) or low in ("aigc", "software", "encoder"):
            return
        if low in _KEYS or looks_like_prompt(text):
            self.patches.append((at + 4, b"free", name))
            self.patches.append((content, bytes(after - content), name))


def _read(file: IO[bytes], start: int, end: int) -> bytes:
    file.seek(start)
    return file.read(max(0, min(end - start, MAX_TEXT_BYTES)))


def _key_names(content: bytes) -> list[str]:
    names = []
    (entries,) = struct.unpack_from(">I", content, 4)
    at = 8
    for _ in range(min(entries, MAX_BOXES)):
        (length,) = struct.unpack_from(">I", content, at)
        if length < 8:
            raise ValueError("a key lies outside")
        names.append(content[at + 8 : at + length].decode("utf-8", "replace"))
        at += length
    return names


def find_webm_texts(file: IO[bytes], size: int) -> list[Patch]:
    """Return the patches for a Matroska file: each `Tags` element that reads like a prompt becomes `Void`."""
    patches: list[Patch] = []
    at, end = 0, size
    for _ in range(MAX_BOXES):
        if at + 2 > end:
            break
        file.seek(at)
        head = file.read(12)
        ident, id_size = _vint(head, keep_marker=True)
        length, length_size = _vint(head[id_size:], keep_marker=False)
        content = at + id_size + length_size
        unknown = length == (1 << 7 * length_size) - 1
        if ident == _SEGMENT:
            end = size if unknown else min(size, content + length)
            at = content
            continue
        if unknown:
            break  # a live recording: what follows has no size of its own
        after = content + length
        if after > end:
            raise ValueError("an element lies outside")
        if ident == _TAGS:
            text = _read(file, content, after).decode("utf-8", "ignore")
            if looks_like_prompt(text) or any(key in text.lower() for key in ("prompt", "workflow", "comment")):
                patches.append((at, _void(after - at), "Tags"))
        at = after
    return patches


def _vint(head: bytes, *, keep_marker: bool) -> tuple[int, int]:
    first = head[0]
    if first == 0:
        raise ValueError("a number of more than eight bytes")
    size = 9 - first.bit_length()
    value = int.from_bytes(head[:size], "big")
    return (value if keep_marker else value & ((1 << 7 * size) - 1)), size


def _void(size: int) -> bytes:
    """Return a Void element of exactly that many bytes in all, at least nine."""
    if size < 9:
        raise ValueError("too short to void")
    content = size - 9
    return b"\xec" + (content | 1 << 56).to_bytes(8, "big") + bytes(content)
