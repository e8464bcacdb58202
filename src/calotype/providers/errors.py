"""Error tables: what an upstream's refusal means, as rows that each adapter lists once."""

from collections.abc import Iterable
from typing import Any

from msgspec import Struct

from calotype.kernel.outcome import FailedKind
from calotype.kernel.steps import HttpResponse

MAX_BODY_BYTES = 1 << 20

ANY = frozenset[str]()


class ErrorBody(Struct, frozen=True):
    """An error as most upstreams write it; what is missing is empty."""

    code: str = ""
    type: str = ""
    message: str = ""
    param: str = ""


class Meaning(Struct, frozen=True):
    """A row of an error table.

    `statuses` lists statuses such as `401 403`, where `x` stands for any digit. `codes` and `types` narrow the row to
    error bodies with one of these (empty: any). `late` is the kind when the answer took so long that the work may have
    been done, `silent` the kind when there was no error body.
    """

    statuses: str
    kind: FailedKind
    message: str
    codes: frozenset[str] = ANY
    types: frozenset[str] = ANY
    late: FailedKind | None = None
    silent: FailedKind | None = None

    def fits(self, status: int, error: ErrorBody) -> bool:
        """Say whether this row is about such an answer."""
        if (self.codes and error.code not in self.codes) or (self.types and error.type not in self.types):
            return False
        digits = f"{status:03d}"
        return any(
            all(wanted in ("x", digit) for wanted, digit in zip(pattern, digits, strict=True))
            for pattern in self.statuses.split()
        )


def meaning_of(table: Iterable[Meaning], status: int, error: ErrorBody | None, *, late: bool) -> tuple[FailedKind, str]:
    """Return kind and message of the first row that fits; the last row of a table fits everything."""
    row = next(row for row in table if row.fits(status, error or ErrorBody()))
    if error is None and row.silent is not None:
        return row.silent, row.message
    return row.late if late and row.late is not None else row.kind, row.message


def error_body(answer: HttpResponse) -> ErrorBody | None:
    """Return the error of a JSON body, with or without its `error` wrapper; None when the body is none."""
    body = answer.json() if len(answer.body) <= MAX_BODY_BYTES else None
    if not isinstance(body, dict):
        return None
    error = body.get("error", body)
    if isinstance(error, str):
        return ErrorBody(message=error)
    if not isinstance(error, dict) or not error:
        return None
    text = error.get("message", error.get("detail"))
    return ErrorBody(_word(error.get("code")), _word(error.get("type")), _word(text), _word(error.get("param")))


def _word(value: Any) -> str:
    return str(value) if isinstance(value, str | int) else ""
