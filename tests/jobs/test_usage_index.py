"""Figures of an organisation are read from their index alone, whatever else is in the table, on both stores."""

from typing import Any

import pytest

from calotype.db import Database, Sql
from calotype.db.sql import Store
from calotype.jobs import usage
from calotype.jobs.usage import Place, Span

JOBS = 3000
START_MS = 1_795_000_000_000
_INSERT = Sql(
    "INSERT INTO job (id, org_id, key_id, state, dialect, operation, model, data_class, region, priority, plan,"
    " provider, route, attempt, progress, cancel_requested, events, lease_n, next_at_ms, deadline_at_ms, quote_micro,"
    " charged_micro, created_at_ms, started_at_ms, finished_at_ms, unit, units) VALUES (:id, :org, 'k', :state, 'fal',"
    " 'text-to-image', :model, 'general', 'WORLD', 0, :plan, 'p', 0, 1, 100, 0, 3, 1, 0, 0, 5, :micro, :at, :at, :at,"
    " 'image', :units)"
)


def _job(n: int) -> dict[str, Any]:
    return {
        "id": f"{n:08x}-0000-7000-8000-000000000000", "org": f"org{n % 3}", "model": f"m{n % 2}",
        "state": "failed" if n % 50 == 0 else "succeeded", "plan": "x" * 500, "micro": n, "units": n % 4 + 1,
        "at": START_MS + n * 60_000,
    }  # fmt: skip


@pytest.fixture
async def filled(db: Database) -> list[dict[str, Any]]:
    jobs = [_job(n) for n in range(JOBS)]
    await db.write(lambda tx: tx.executemany(_INSERT, jobs))
    if db.store is Store.POSTGRES:
        await db.write(lambda tx: tx.execute(Sql("ANALYZE job")))
    return jobs


async def test_sums_are_those_of_the_rows(db: Database, filled: list[dict[str, Any]]) -> None:
    span = Span("org1", START_MS + 500 * 60_000, START_MS + 2000 * 60_000, ("m0",))
    mine = [
        job
        for job in filled
        if job["org"] == "org1" and job["model"] == "m0" and job["state"] == "succeeded"
        and span.start_ms <= job["at"] < span.end_ms
    ]  # fmt: skip
    for grain_ms in (60_000, 900_000, 86_400_000):
        sums = await db.read(lambda tx, grain_ms=grain_ms: usage.used(tx, span, grain_ms))  # type: ignore[misc]
        assert sum(one.jobs for one in sums) == len(mine)
        assert sum(one.quantity for one in sums) == sum(job["units"] for job in mine)
        assert sum(one.charged_micro for one in sums) == sum(job["micro"] for job in mine)
        assert len({one.at_ms for one in sums}) == len({job["at"] // grain_ms for job in mine})


async def test_pages_of_charges_are_in_order_and_complete(db: Database, filled: list[dict[str, Any]]) -> None:
    span, place, seen = Span("org2", 0, 2**45), Place(), []
    while True:
        page = await db.read(lambda tx, place=place: usage.charges(tx, span, most=150, place=place))  # type: ignore[misc]
        seen += [one.id for one in page]
        if len(page) < 150:
            break
        place = Place(page[-1].finished_at_ms, page[-1].id)
    wanted = [job["id"] for job in filled if job["org"] == "org2" and job["state"] == "succeeded"]
    assert seen == wanted[::-1]
    some = await db.read(lambda tx: usage.charges(tx, span, most=9, place=Place(), ids=[wanted[5], filled[0]["id"]]))
    assert [one.id for one in some] == [wanted[5]]


@pytest.mark.parametrize("statement", ["_USED", "_TIMES"])
async def test_the_table_itself_is_not_looked_at(db: Database, filled: list[dict[str, Any]], statement: str) -> None:
    sql: Sql = getattr(usage, statement)
    explain = "EXPLAIN" if db.store is Store.POSTGRES else "EXPLAIN QUERY PLAN"
    params = Span("org1", START_MS, START_MS + 3_600_000).params() | {"grain_ms": 900_000, "most": 10}
    plan = " ".join(str(row[-1]) for row in await db.read(lambda tx: tx.rows(Sql(f"{explain} {sql.text}"), params)))
    found = "ix_job_org_ended" if db.store is Store.POSTGRES else "COVERING INDEX ix_job_org_ended"
    assert found in plan and "Seq Scan" not in plan
