"""Portable SQL text, translated once per store.

Hot statements are plain text with named parameters (`:name`) and three macros for what the stores spell differently:

* `{in:ids}`: membership in a list parameter,
* `{for_update}`: row locks, which SQLite's single writer does not need,
* `{skip_locked}`: row locks that step over rows somebody else holds.
"""

import re
from enum import StrEnum

import msgspec


class Store(StrEnum):
    """The databases the code runs on."""

    SQLITE = "sqlite"
    POSTGRES = "postgresql"


_NAME = re.compile(r"(?<![:\w]):([a-z_][a-z0-9_]*)")
_IN = re.compile(r"\{in:([a-z_][a-z0-9_]*)\}")
_QUOTED = re.compile(r"""('(?:[^']|'')*'|"(?:[^"]|"")*")""")


class Sql:
    """One statement in the words of both stores; what stands in quotes stays as it is. Comments are not understood."""

    __slots__ = ("lists", "postgres", "sqlite", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        parts = _QUOTED.split(text)  # code and quoted text take turns
        code = [re.sub(r"\s+", " ", part) for part in parts[::2]]
        quoted = [*parts[1::2], ""]
        self.lists = tuple(name for part in code for name in _IN.findall(part))
        self.sqlite = "".join(_lite(part) + text for part, text in zip(code, quoted, strict=True)).strip()
        self.postgres = "".join(
            _full(part) + text.replace("%", "%%") for part, text in zip(code, quoted, strict=True)
        ).strip()

    def encode(self, params: dict[str, object]) -> dict[str, object]:
        """Return the parameters as SQLite takes them: lists become JSON text."""
        if not self.lists:
            return params
        return params | {name: msgspec.json.encode(params[name]).decode() for name in self.lists}

    def __repr__(self) -> str:
        return f"Sql({self.text!r})"


def _lite(code: str) -> str:
    code = _IN.sub(r"IN (SELECT value FROM json_each(:\1))", code)
    return code.replace("{for_update}", "").replace("{skip_locked}", "")


def _full(code: str) -> str:
    code = _IN.sub(r"= ANY(:\1)", code.replace("%", "%%"))
    code = code.replace("{for_update}", "FOR UPDATE").replace("{skip_locked}", "FOR UPDATE SKIP LOCKED")
    return _NAME.sub(r"%(\1)s", code)
