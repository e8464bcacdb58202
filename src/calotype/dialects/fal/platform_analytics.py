"""Analytics: how many requests of a model went well, and how long they waited and took."""

import math
from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from calotype.accounts.types import Organisation
from calotype.db import Tx
from calotype.dialects.fal.answers import tell
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.errors import failure_of, refused
from calotype.dialects.fal.platform_queries import Period, Query, iso, period, seal, wrong
from calotype.jobs.types import JobRow, JobView
from calotype.jobs.usage import MOST_FAILURES, MOST_TIMES, Span, Times, failures, times

USUAL_BUCKETS = 1000
PREPARE = tuple(f"p{n}_prepare_duration" for n in (50, 75, 90, 95, 99))
DURATION = tuple(f"p{n}_duration" for n in (25, 50, 75, 90, 95, 99))
KINDS: dict[str, tuple[str, ...]] = {
    "startup_error_count": ("startup_timeout", "runner_scheduling_failure"),
    "connection_error_count": ("runner_connection_timeout", "runner_disconnected", "runner_connection_refused"),
    "timeout_error_count": ("request_timeout",),
    "runtime_error_count": ("internal_error", "runner_server_error"),
}
"""A count of errors and which of fal's error types are in it (`wire/fal.md §8`)."""
COUNTS = ("request_count", "success_count", "user_error_count", "error_count", *KINDS, "total_billable_duration")
METRICS = (*COUNTS, *PREPARE, *DURATION)
COLD = ("cold_boot_count", "p50_cold_boot_duration", "p75_cold_boot_duration", "p90_cold_boot_duration")
"""Known by name and never answered: this server does not see how others start their machines."""


class Failure(Struct, frozen=True):
    """A request that ended badly: when, the status and the type of the error it answered."""

    at_ms: int
    model: str
    status: int
    kind: str


class Group(Struct):
    """What ended in one bucket with one model."""

    done: list[Times]
    failed: list[Failure]


async def analytics(desk: Desk, x: FalExchange, org: Organisation) -> None:
    """Answer the metrics that `expand` names, in buckets of time, as a summary, or both."""
    query = Query(x)
    expand = query.expand("time_series", "summary", *METRICS, *COLD, default=("time_series", "request_count"))
    metrics = [name for name in expand if name in METRICS]
    if not {"time_series", "summary"} & set(expand) or not (metrics or set(expand) & set(COLD)):
        raise wrong("expand", "must name time_series or summary, and at least one metric.")
    when = period(query, desk.now_ms())
    models = query.models(desk.catalog, required=True)
    span = Span(org.id, when.start_ms, when.end_ms, models)
    after = query.cursor(int)
    most = query.limit(USUAL_BUCKETS, USUAL_BUCKETS)

    def read(tx: Tx) -> dict[str, Any] | None:
        done, failed = times(tx, span), failures(tx, span)
        if len(done) > MOST_TIMES or len(failed) > MOST_FAILURES:
            return None
        return _body(done, [_failure(row) for row in failed], when, expand, metrics, after, most)

    body = await desk.office.db.read(read)
    if body is None:
        raise wrong("start", f"names too long a span: at most {MOST_TIMES} requests are looked at; take a shorter one.")
    await tell(x, 200, body)


def _body(
    done: list[Times],
    failed: list[Failure],
    when: Period,
    expand: Sequence[str],
    metrics: list[str],
    after: list[Any] | None,
    most: int,
) -> dict[str, Any]:
    series: dict[int, dict[str, Group]] = {}
    whole: dict[str, Group] = {}
    for one in done:
        for groups in (series.setdefault(when.bucket(one.finished_at_ms), {}), whole):
            groups.setdefault(one.model, Group([], [])).done.append(one)
    for fault in failed:
        for groups in (series.setdefault(when.bucket(fault.at_ms), {}), whole):
            groups.setdefault(fault.model, Group([], [])).failed.append(fault)
    buckets = [at_ms for at_ms in sorted(series) if after is None or at_ms > after[0]]
    cursor = seal(buckets[most - 1]) if len(buckets) > most else None
    body: dict[str, Any] = {"next_cursor": cursor, "has_more": cursor is not None}
    if "time_series" in expand:
        body["time_series"] = [
            {"bucket": iso(at_ms), "results": _results(series[at_ms], metrics)} for at_ms in buckets[:most]
        ]
    if "summary" in expand:
        body["summary"] = _results(whole, metrics)
    return body


def _results(groups: dict[str, Group], metrics: list[str]) -> list[dict[str, Any]]:
    return [{"endpoint_id": model, **_metrics(group, metrics)} for model, group in sorted(groups.items())]


def _metrics(group: Group, wanted: list[str]) -> dict[str, Any]:
    """Work out what is asked for; a percentile of nothing is left out."""
    told: dict[str, Any] = {}
    waits = sorted((_began(one) - one.created_at_ms) / 1000 for one in group.done)
    takes = sorted((one.finished_at_ms - _began(one)) / 1000 for one in group.done)
    for name in wanted:
        if name in COUNTS:
            told[name] = _count(name, group, takes)
        elif ordered := waits if name in PREPARE else takes:
            told[name] = percentile(ordered, int(name[1:3]))
    return told


def _count(name: str, group: Group, takes: list[float]) -> int | float:
    if name == "request_count":
        return len(group.done) + len(group.failed)
    if name == "success_count":
        return len(group.done)
    if name == "total_billable_duration":
        return round(sum(takes), 3)
    if name == "user_error_count":
        return sum(one.status < 500 for one in group.failed)
    if name == "error_count":
        return sum(one.status >= 500 for one in group.failed)
    return sum(one.status >= 500 and one.kind in KINDS[name] for one in group.failed)


def percentile(ordered: Sequence[float], percent: int) -> float:
    """Return the nearest-rank percentile of values in order."""
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def _began(one: Times) -> int:
    return one.created_at_ms if one.started_at_ms is None else one.started_at_ms


def _failure(row: JobRow) -> Failure:
    found = refused(failure_of(JobView(row)))
    return Failure(row.finished_at_ms or 0, row.model, found.status, str(found.body.get("error_type", "")))
