"""Takes pictures in base64 out of a JSON answer before it is decoded: a decoder looks at every byte of a text."""

import os

LONG_BYTES = 4096
"""Shorter texts are left to the decoder."""
_MARK = os.urandom(12).hex()
"""Begins what stands in the place of a text; no answer can hold it by chance."""
_SPACES = frozenset((b" ", b"\t", b"\r", b"\n"))


def lift(body: bytes, name: str) -> tuple[bytes, dict[str, bytes]]:
    """Return a JSON text with a mark in place of each long text under a name, and the texts by their marks.

    A text with escapes or line breaks stays where it is, for the decoder to read or refuse. A key can be found without
    parsing: inside a text its quotes would be escaped, and nothing but a key is followed by a colon.
    """
    key = f'"{name}"'.encode()
    parts: list[bytes] = []
    lifted: dict[str, bytes] = {}
    rest = at = 0
    while len(body) - at > LONG_BYTES and (found := body.find(key, at)) >= 0:
        at = found + len(key)
        begin = _text_after(body, at)
        end = body.find(b'"', begin) if begin else -1
        if end - begin <= LONG_BYTES:
            continue
        text = body[begin:end]
        if b"\\" not in text and b"\n" not in text and b"\r" not in text:
            mark = f"{_MARK}{len(lifted)}"
            lifted[mark] = text
            parts += [body[rest:begin], mark.encode()]
            rest = at = end
    return (b"".join([*parts, body[rest:]]), lifted) if lifted else (body, lifted)


def _text_after(body: bytes, at: int) -> int:
    """Return where the text begins that is the value of a key; 0 where the value is none."""
    for sign in (b":", b'"'):
        while body[at : at + 1] in _SPACES:
            at += 1
        if body[at : at + 1] != sign:
            return 0
        at += 1
    return at
