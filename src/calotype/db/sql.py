"""Portable SQL text, translated once per store.

Hot statements are plain text with named parameters (`:name`) and three macros for what the stores spell differently:

* `{in:ids}`: membership in a list parameter,
* `{for_update}`: row locks, which SQLite's single writer does not need,
* `{skip_locked}`: row locks that step over rows somebody else holds.
"""

import re
from collections.abc import Sequence
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


class ManySql(Sql):
    """An INSERT or UPDATE that is run for many rows at once.

    SQLite gives up the interpreter lock at every call, and a busy event loop does not give it back at once; so there
    the rows travel as one JSON array and the whole batch is one call. An UPDATE must not name the same row twice in
    one batch.
    """

    __slots__ = ("names", "sqlite_many")

    def __init__(self, text: str) -> None:
        super().__init__(text)
        names = list(dict.fromkeys(_NAME.findall(text)))
        if self.lists or not names:
            raise ValueError("a statement for many rows takes plain named parameters")
        self.names = tuple(names)

        def column(match: re.Match[str]) -> str:
            return f"(r.v ->> '$[{names.index(match[1])}]')"

        rows = "(SELECT value AS v FROM json_each(:rows)) AS r"
        code = _NAME.sub(column, self.sqlite)
        if insert := _INSERT.match(code):
            parts = (insert[1], "SELECT", insert[2], "FROM", rows, "WHERE true", insert[3] or "")
            self.sqlite_many = " ".join(parts).strip()
        elif update := _UPDATE.match(code):
            self.sqlite_many = f"{update[1]} FROM {rows} WHERE {update[2]}"
        else:
            raise ValueError("a statement for many rows is INSERT … VALUES or UPDATE … WHERE")

    def pack(self, params: Sequence[dict[str, object]]) -> dict[str, object]:
        """Return all sets of parameters as the one JSON array SQLite takes."""
        names = self.names
        return {"rows": _json([[row[name] for name in names] for row in params]).decode()}


_INSERT = re.compile(r"(INSERT INTO .*?\)) VALUES \((.*?)\)( ON CONFLICT .*)?\Z")
_UPDATE = re.compile(r"(UPDATE .*) WHERE (.*)\Z")
_json = msgspec.json.Encoder().encode


def _lite(code: str) -> str:
    code = _IN.sub(r"IN (SELECT value FROM json_each(:\1))", code)
    return code.replace("{for_update}", "").replace("{skip_locked}", "")


def _full(code: str) -> str:
    code = _IN.sub(r"= ANY(:\1)", code.replace("%", "%%"))
    code = code.replace("{for_update}", "FOR UPDATE").replace("{skip_locked}", "FOR UPDATE SKIP LOCKED")
    return _NAME.sub(r"%(\1)s", code)
