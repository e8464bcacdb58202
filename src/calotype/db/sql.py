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


class Sql:
    """One statement in the words of both stores."""

    __slots__ = ("lists", "postgres", "sqlite", "text")

    def __init__(self, text: str) -> None:
        self.text = " ".join(text.split())
        self.lists = tuple(_IN.findall(self.text))
        lite = _IN.sub(r"IN (SELECT value FROM json_each(:\1))", self.text)
        self.sqlite = lite.replace("{for_update}", "").replace("{skip_locked}", "").strip()
        full = _IN.sub(r"= ANY(:\1)", self.text.replace("%", "%%"))
        full = full.replace("{for_update}", "FOR UPDATE").replace("{skip_locked}", "FOR UPDATE SKIP LOCKED")
        self.postgres = _NAME.sub(r"%(\1)s", full).strip()

    def encode(self, params: dict[str, object]) -> dict[str, object]:
        """Return the parameters as SQLite takes them: lists become JSON text."""
        if not self.lists:
            return params
        return params | {name: msgspec.json.encode(params[name]).decode() for name in self.lists}

    def __repr__(self) -> str:
        return f"Sql({self.text!r})"
