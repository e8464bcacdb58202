"""What an organisation used: figures of ended jobs over a span of time, read from `ix_job_org_ended`.

Sums are made by the store in grains of time; whoever asks folds them into days or months of a time zone. Every zone's
offset is a multiple of a quarter of an hour, so that grain fits them all.
"""

from collections.abc import Collection
from typing import Any

from msgspec import Struct

from calotype.db import Sql, Tx
from calotype.jobs.store import JOB_COLUMNS, JOB_FROM
from calotype.jobs.types import JobRow, job_from
from calotype.kernel.job import TERMINAL, JobState

MOST_TIMES = 300_000
"""Durations that are read at once."""
MOST_FAILURES = 20_000

_WITHIN = (
    "FROM job j WHERE j.org_id = :org_id AND j.finished_at_ms >= :start_ms AND j.finished_at_ms < :end_ms"
    " AND (:any_model = 1 OR j.model {in:models}) AND (:any_key = 1 OR j.key_id {in:key_ids})"
)
_JOINED = _WITHIN.replace("FROM job j", JOB_FROM, 1)
_USED = Sql(
    "SELECT j.finished_at_ms / :grain_ms AS grain, j.model, COALESCE(j.unit, 'request') AS what, j.key_id,"
    " CAST(SUM(COALESCE(j.units, 1)) AS BIGINT), CAST(SUM(COALESCE(j.charged_micro, 0)) AS BIGINT), COUNT(*)"
    f" {_WITHIN} AND j.state = 'succeeded' GROUP BY grain, j.model, what, j.key_id"
    " ORDER BY grain, j.model, what, j.key_id"
)
_TIMES = Sql(
    "SELECT j.finished_at_ms, j.model, j.created_at_ms, j.started_at_ms"
    f" {_WITHIN} AND j.state = 'succeeded' LIMIT :most"
)
_FAILURES = Sql(
    f"SELECT {JOB_COLUMNS} {_JOINED} AND j.state IN ('failed', 'canceled') ORDER BY j.finished_at_ms DESC LIMIT :most"
)
_BEFORE = " AND (j.finished_at_ms < :at_ms OR (j.finished_at_ms = :at_ms AND j.id < :before))"
_NEWEST = "ORDER BY j.finished_at_ms DESC, j.id DESC LIMIT :most"
_CHARGE = (
    "SELECT j.id, j.model, j.finished_at_ms, COALESCE(j.unit, 'request'), COALESCE(j.units, 1),"
    f" COALESCE(j.charged_micro, 0), j.key_id {_WITHIN}{_BEFORE} AND j.state = 'succeeded'"
)
_CHARGES = Sql(f"{_CHARGE} {_NEWEST}")
_NAMED = _CHARGE.replace("j.org_id =", "COALESCE(j.org_id, '') =", 1)  # so that the store looks by the ids
_CHARGES_OF = Sql(f"{_NAMED} AND j.id {{in:ids}} {_NEWEST}")
_ENDED = Sql(f"SELECT {JOB_COLUMNS} {_JOINED}{_BEFORE} AND j.state {{in:states}} {_NEWEST}")
_SLOWEST = Sql(
    f"SELECT {JOB_COLUMNS} {_JOINED} AND j.state {{in:states}}"
    " ORDER BY j.finished_at_ms - COALESCE(j.started_at_ms, j.finished_at_ms) DESC, j.id DESC"
    " LIMIT :most OFFSET :passed"
)


class Span(Struct, frozen=True):
    """Which ended jobs are meant; `end_ms` is exclusive, None stands for every model or key."""

    org_id: str
    start_ms: int
    end_ms: int
    models: tuple[str, ...] | None = None
    key_ids: tuple[str, ...] | None = None

    def params(self) -> dict[str, Any]:
        """Return the parameters of the statements here."""
        return {
            "org_id": self.org_id, "start_ms": self.start_ms, "end_ms": self.end_ms,
            "any_model": int(self.models is None), "models": list(self.models or ()),
            "any_key": int(self.key_ids is None), "key_ids": list(self.key_ids or ()),
        }  # fmt: skip


class Used(Struct, frozen=True):
    """What was delivered in one grain of time with one key, in units of the price, and what it cost."""

    at_ms: int
    model: str
    unit: str
    key_id: str
    quantity: int
    charged_micro: int
    jobs: int


class Times(Struct, frozen=True):
    """When a job that succeeded was accepted, begun and done."""

    finished_at_ms: int
    model: str
    created_at_ms: int
    started_at_ms: int | None


class Charge(Struct, frozen=True):
    """One job that succeeded and what it cost."""

    id: str
    model: str
    finished_at_ms: int
    unit: str
    units: int
    charged_micro: int
    key_id: str


class Place(Struct, frozen=True):
    """Behind which job a page begins, newest first."""

    at_ms: int = 2**62
    before: str = "g"


def used(tx: Tx, span: Span, grain_ms: int) -> list[Used]:
    """Return the sums of a span, oldest first."""
    rows = tx.rows(_USED, span.params() | {"grain_ms": grain_ms})
    return [Used(row[0] * grain_ms, *row[1:]) for row in rows]


def times(tx: Tx, span: Span) -> list[Times]:
    """Return when the jobs of a span began and ended, at most `MOST_TIMES` and one."""
    return [Times(*row) for row in tx.rows(_TIMES, span.params() | {"most": MOST_TIMES + 1})]


def failures(tx: Tx, span: Span) -> list[JobRow]:
    """Return the jobs of a span that did not succeed, at most `MOST_FAILURES` and one."""
    return [job_from(row) for row in tx.rows(_FAILURES, span.params() | {"most": MOST_FAILURES + 1})]


def charges(tx: Tx, span: Span, *, most: int, place: Place, ids: Collection[str] | None = None) -> list[Charge]:
    """Return a page of what was charged, newest first."""
    params = _behind(span, place) | {"most": most}
    rows = tx.rows(_CHARGES, params) if ids is None else tx.rows(_CHARGES_OF, params | {"ids": list(ids)})
    return [Charge(*row) for row in rows]


def ended(tx: Tx, span: Span, *, most: int, place: Place, states: Collection[JobState] = TERMINAL) -> list[JobRow]:
    """Return a page of ended jobs, newest first."""
    params = _behind(span, place) | {"states": [state.value for state in states], "most": most}
    return [job_from(row) for row in tx.rows(_ENDED, params)]


def slowest(tx: Tx, span: Span, *, most: int, passed: int, states: Collection[JobState] = TERMINAL) -> list[JobRow]:
    """Return a page of ended jobs, the longest first; the whole span is sorted for it."""
    params = span.params() | {"states": [state.value for state in states], "most": most, "passed": passed}
    return [job_from(row) for row in tx.rows(_SLOWEST, params)]


def _behind(span: Span, place: Place) -> dict[str, Any]:
    return span.params() | {
        "at_ms": place.at_ms, "before": place.before, "end_ms": min(span.end_ms, place.at_ms + 1)
    }  # fmt: skip
