"""A few schedules of the fault simulator on each store; the long run is `python -m tests.faults --schedules 1000`."""

import os

import pytest

from calotype.db import Database, Sql
from calotype.ledger.verify import verify
from faults.invariants import broken_rules
from faults.simulator import simulate

pytestmark = pytest.mark.faults


async def test_crashes_and_lies_lose_nothing_and_charge_nothing_twice(store: str, request) -> None:
    server = request.getfixturevalue("postgres") if store == "postgresql" else None
    assert await simulate(4001, list(range(12 if server is None else 5)), server=server) == []


@pytest.mark.full
async def test_a_long_run_of_schedules_breaks_no_rule(store: str, request) -> None:
    seed = int(os.environ.get("CALOTYPE_FAULTS_SEED", "1"))
    server = request.getfixturevalue("postgres") if store == "postgresql" else None
    assert await simulate(seed, list(range(300 if server is None else 100)), server=server) == []


BREAKS = {
    "a job charged twice": "INSERT INTO journal (id, kind, org_id, job_id, created_at_ms) SELECT 'x', kind, org_id,"
    " job_id, 1 FROM journal WHERE kind = 'capture' LIMIT 1",
    "an end without its hold settled": "UPDATE hold SET state = 'open', captured_micro = 0",
    "an end that says another charge": "UPDATE job SET charged_micro = charged_micro + 1",
    "a second submission": "INSERT INTO submission (job_id, attempt, provider, upstream_model, state, cost_posted,"
    " created_at_ms) SELECT id, 7, 'a', 'm', 'done', 0, 1 FROM job",
    "a lost artifact's job": "UPDATE job SET state = 'failed'",
    "a gap in the events": "UPDATE job SET events = events + 1",
    "an announcement nobody asked for": "INSERT INTO outbox (id, org_id, job_id, type, dialect, url, state, attempts,"
    " next_at_ms, created_at_ms) SELECT 'o', org_id, id, 'x', 'openai', 'u', 'pending', 0, 1, 1 FROM job",
}


@pytest.mark.parametrize("what", BREAKS)
async def test_the_rules_notice(what: str, tmp_path) -> None:
    from calotype.db.migrate import upgrade
    from jobs.kit import Fake, at_home

    url = f"sqlite:///{tmp_path / 'calotype.db'}"
    upgrade(url)
    async with at_home(url, tmp_path, Fake()) as h:
        await h.ended(await h.send())
        await h.check()
    db = Database(url)
    db.start()
    try:
        assert (await db.read(verify)).ok
        await db.write(lambda tx: tx.execute(Sql(BREAKS[what])))
        assert await db.read(broken_rules) != []
    finally:
        db.close()
