"""Holds an answer against a template: the same fields, the same words, and placeholders where the answer is its own.

`<uuid>`, `<int>` and the like (`KINDS`) stand for a value of a kind, `<url|null>` for one of two, `<uuid:JOB>` for one
that later commands know as `$JOB`; in a longer text they stand for a part of it. The key `"..."` in an object allows
further fields, in a list it repeats what stands before it, and a line of it in plain text stands for any lines. A key
that ends in `?` may be missing.
"""

import json
import re
from collections.abc import Callable
from datetime import datetime
from typing import Any

Found = dict[str, str]
_PLACE = re.compile(r"<([a-z0-9-]+(?:\|[a-z0-9-]+)*)(?::([A-Z_]+))?>")
_VARIABLE = re.compile(r"\$([A-Z][A-Z_]*)")
_REST = "..."
_BASE64 = r"[A-Za-z0-9+/]+={0,2}"
_WORDS: dict[str, str] = {
    "uuid": r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}",
    "hex": r"[0-9a-f]{32}",
    "int": r"\d+",
    "decimal": r"\d+(?:\.\d+)?",
    "url": r"https?://[^\s\"]+",
    "media": r"https?://[^\s\"]+/v1/media/[^\s\"]+",
    "text": r"[^\n]*\S[^\n]*",
    "word": r"[\w.+-]+",
    "base64": _BASE64,
    "data-uri": rf"data:[a-z]+/[a-z0-9.+-]+;base64,{_BASE64}",
    "handle": r"[A-Za-z0-9_-]+\.[A-Za-z0-9_-]+",
}
"""Kinds that also stand inside a longer text."""


def _time(value: Any) -> bool:
    if not isinstance(value, str):
        return False
    try:
        return datetime.fromisoformat(value).tzinfo is not None
    except ValueError:
        return False


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _of(words: str) -> Callable[[Any], bool]:
    rule = re.compile(words)
    return lambda value: isinstance(value, str) and rule.fullmatch(value) is not None


KINDS: dict[str, Callable[[Any], bool]] = {
    **{name: _of(words) for name, words in _WORDS.items()},
    "string": lambda value: isinstance(value, str),
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool),
    "number": _number,
    "money": lambda value: _number(value) and value > 0,
    "unix": lambda value: isinstance(value, int) and 1_600_000_000 < value < 10_000_000_000,
    "bool": lambda value: isinstance(value, bool),
    "null": lambda value: value is None,
    "time": _time,
    "any": lambda _: True,
}  # fmt: skip
"""What a JSON value of a kind is."""
FILES: dict[str, tuple[bytes, ...]] = {
    "png": (b"\x89PNG",), "jpeg": (b"\xff\xd8\xff",), "webp": (b"RIFF",), "wav": (b"RIFF",), "mp4": (b"\x00\x00\x00",),
    "mp3": (b"ID3", b"\xff\xfb", b"\xff\xf3"), "html": (b"<!doctype html", b"<!DOCTYPE html"), "ogg": (b"OggS",),
}  # fmt: skip
"""How a file begins; `<png>` alone is a body of that kind."""


class MismatchError(AssertionError):
    """Says where an answer and its template part."""


class Matcher:
    """Compares, knowing the variables of a page and adding those that templates name."""

    def __init__(self, known: Found) -> None:
        self.known = known

    def body(self, template: str, body: bytes) -> None:
        """Hold a body against its template: JSON, a kind of file, nothing, or lines of text."""
        if template.startswith("<") and template.strip("<>") in FILES:
            if not body.startswith(FILES[template.strip("<>")]):
                raise MismatchError(f"{template} is expected, not {body[:40]!r}")
        elif not template:
            if body:
                raise MismatchError(f"no body is expected, not {body[:400]!r}")
        elif template[0] in "{[":
            try:
                value = json.loads(body)
            except ValueError:
                raise MismatchError(f"JSON is expected, not {body[:400]!r}") from None
            self.value(json.loads(template), value, "$")
        else:
            self.lines(template.splitlines(), body.decode().splitlines())

    def value(self, template: Any, value: Any, path: str) -> None:
        """Hold one JSON value against its template."""
        if isinstance(template, dict):
            self._object(template, value, path)
        elif isinstance(template, list):
            self._list(template, value, path)
        elif isinstance(template, str):
            self.text(template, value, path)
        elif (value, isinstance(value, bool)) != (template, isinstance(template, bool)):
            raise MismatchError(f"{path}: {_told(template)} is expected, not {_told(value)}")

    def text(self, template: str, value: Any, path: str) -> None:
        """Hold one value against a text with placeholders."""
        whole = _PLACE.fullmatch(template)
        if whole is not None:
            if not any(KINDS[kind](value) for kind in whole[1].split("|")):
                raise MismatchError(f"{path}: {template} is expected, not {_told(value)}")
            if whole[2]:
                self.known[whole[2]] = value if isinstance(value, str) else json.dumps(value)
            return
        found = re.fullmatch(self._pattern(template), value) if isinstance(value, str) else None
        if found is None:
            raise MismatchError(f"{path}: {_told(self._filled(template))} is expected, not {_told(value)}")
        self.known |= found.groupdict()

    def lines(self, template: list[str], lines: list[str]) -> None:
        """Hold plain text against lines of it; `data:` lines of events are JSON."""
        at = 0
        skipping = False
        for one in template:
            if one == _REST:
                skipping = True
                continue
            while True:
                if at >= len(lines):
                    raise MismatchError(f"the line {one!r} is missing in {lines!r}")
                try:
                    self._line(one, lines[at], f"line {at + 1}")
                except MismatchError:
                    if not skipping:
                        raise
                    at += 1
                    continue
                at += 1
                break
            skipping = False
        if not skipping and at != len(lines):
            raise MismatchError(f"nothing is expected after line {at}, not {lines[at:]!r}")

    def _line(self, template: str, line: str, path: str) -> None:
        head = "data: {"
        if template.startswith(head):
            if not line.startswith(head):
                raise MismatchError(f"{path}: {template!r} is expected, not {line!r}")
            self.value(json.loads(template[6:]), json.loads(line[6:]), path)
        else:
            self.text(template, line, path)

    def _object(self, template: dict[str, Any], value: Any, path: str) -> None:
        if not isinstance(value, dict):
            raise MismatchError(f"{path}: an object is expected, not {_told(value)}")
        wanted = {name.removesuffix("?"): one for name, one in template.items() if name != _REST}
        needed = {name for name in template if name != _REST and not name.endswith("?")}
        if missing := needed - set(value):
            raise MismatchError(f"{path}: {sorted(missing)} missing in {_told(value)}")
        if _REST not in template and (more := set(value) - set(wanted)):
            raise MismatchError(f"{path}: {sorted(more)} not expected in {_told(value)}")
        for name, one in wanted.items():
            if name in value:
                self.value(one, value[name], f"{path}.{name}")

    def _list(self, template: list[Any], value: Any, path: str) -> None:
        if not isinstance(value, list):
            raise MismatchError(f"{path}: a list is expected, not {_told(value)}")
        wanted = template
        if template and template[-1] == _REST:
            wanted = template[:-1]
            if wanted:
                wanted = [*wanted, *[wanted[-1]] * (len(value) - len(wanted))]
            elif len(template) == 1:
                return
        if len(wanted) != len(value):
            raise MismatchError(f"{path}: {len(wanted)} items are expected, not {_told(value)}")
        for at, (one, item) in enumerate(zip(wanted, value, strict=True)):
            self.value(one, item, f"{path}[{at}]")

    def _filled(self, template: str) -> str:
        return _VARIABLE.sub(lambda name: self.known.get(name[1], name[0]), template)

    def _pattern(self, template: str) -> str:
        filled = self._filled(template)
        parts, at = [], 0
        for place in _PLACE.finditer(filled):
            words = "|".join(_WORDS[kind] for kind in place[1].split("|"))
            parts += [re.escape(filled[at : place.start()]), f"(?P<{place[2]}>{words})" if place[2] else f"(?:{words})"]
            at = place.end()
        return "".join((*parts, re.escape(filled[at:])))


def _told(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) < 1500 else f"{text[:1500]}…"
