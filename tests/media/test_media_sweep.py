import os

import pytest

from calotype.kernel.clock import ManualClock
from calotype.media import sweep as sweep_module
from calotype.media.artifacts import Artifact, as_params, from_row
from calotype.media.statements import ARTIFACTS_OF_JOBS, INSERT_ARTIFACT
from calotype.media.sweep import TEMP_AGE_MS, sweep

NOW = 1_800_000_000_000


@pytest.fixture
def record(db, files):
    async def run(job_id: str, n: int, expires_at_ms: int, *, stored: bool = True) -> Artifact:
        key = f"org/{job_id}/{n}.png" if stored else ""
        if stored:
            await files.put(key, b"x")
        made = Artifact(n, key, stored, "image/png", f"{n}.png", expires_at_ms, url=None if stored else "https://x/")
        params = as_params(made, job_id=job_id, org_id="org", created_at_ms=0)
        await db.write(lambda tx: tx.executemany(INSERT_ARTIFACT, [params, params]))
        return made

    return run


async def rows(db, *job_ids):
    found = await db.read(lambda tx: tx.rows(ARTIFACTS_OF_JOBS, {"job_ids": list(job_ids)}))
    return {(job_id, artifact.n): (artifact, deleted) for job_id, artifact, deleted in map(from_row, found)}


async def test_expired_artifacts_lose_their_files_and_keep_their_rows(db, files, record):
    old, passed_on = await record("a", 0, NOW), await record("a", 1, NOW, stored=False)
    young = await record("b", 0, NOW + 1)
    swept = await sweep(db, files, clock=ManualClock(NOW))
    assert (swept.artifacts, swept.more) == (2, False)
    assert (await files.exists(old.key), await files.exists(young.key)) == (False, True)
    found = await rows(db, "a", "b")
    assert found["a", 0] == (old, NOW)
    assert found["a", 1][0].url is None
    assert passed_on.url is not None
    assert found["b", 0] == (young, None)
    assert (await sweep(db, files, clock=ManualClock(NOW))).artifacts == 0


async def test_a_sweep_is_bounded_and_the_next_one_goes_on(db, files, record, monkeypatch):
    monkeypatch.setattr(sweep_module, "BATCH", 2)
    monkeypatch.setattr(sweep_module, "MAX_BATCHES", 2)
    for n in range(5):
        await record("a", n, NOW)
    first, second = [await sweep(db, files, clock=ManualClock(NOW)) for _ in range(2)]
    assert (first.artifacts, first.more) == (4, True)
    assert (second.artifacts, second.more) == (1, False)


async def test_a_sweep_that_died_between_file_and_row_is_finished_by_the_next(db, files, record):
    old = await record("a", 0, NOW)
    await files.delete([old.key])
    assert (await sweep(db, files, clock=ManualClock(NOW))).artifacts == 1


async def test_temporary_files_go_after_an_hour(db, files):
    left = files.temp_path()
    left.write_bytes(b"x")
    os.utime(left, (NOW / 1000, NOW / 1000))
    assert (await sweep(db, files, clock=ManualClock(NOW + TEMP_AGE_MS))).temporary == 0
    assert (await sweep(db, files, clock=ManualClock(NOW + TEMP_AGE_MS + 1000))).temporary == 1
