"""`kill -9` with fal as the upstream: it takes no idempotency key and finds no request again.

So a job whose submit may have been sent is refunded and never sent again; every other job ends as if nothing had been.
"""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec import Struct

from calotype.sandbox.fal import Fal
from calotype.sandbox.serve import on_a_thread
from crash.conftest import postgres_house
from crash.fal_house import FalHouse, FalNursery, asked
from crash.house import until

pytestmark = pytest.mark.crash

LOST, DONE = "failed", "succeeded"


class Case(Struct, frozen=True):
    """A death and what comes of it: the end of the job, the paid requests, the requests that fal took on."""

    model: str
    point: str
    end: str
    submits: int
    works: int


def cases(model: str, *rows: tuple[str, str, int, int]) -> list[Case]:
    return [Case(model, *row) for row in rows]


QUEUED = cases(
    "wan",
    ("accept.committed", DONE, 1, 1),
    ("run.claimed", DONE, 1, 1),
    ("submit.recorded", LOST, 0, 0),
    ("submit.sent", LOST, 1, 1),
    ("submit.answered", LOST, 1, 1),
    ("running.before_commit", LOST, 1, 1),  # the request's id was about to be written down
    ("running.recorded", DONE, 1, 1),
    ("callback.received", DONE, 1, 1),
    ("store.partial", DONE, 1, 1),
    ("store.written", DONE, 1, 1),
    ("finish.before_commit", DONE, 1, 1),
    ("finish.committed", DONE, 1, 1),
)
AT_ONCE = cases(
    "krea-2",
    ("accept.committed", LOST, 0, 0),  # the submission is written with the job: whether it was sent nobody knows
    ("submit.sent", LOST, 1, 1),
    ("running.recorded", DONE, 1, 1),
    ("store.written", DONE, 1, 1),
    ("finish.committed", DONE, 1, 1),
)
WITH_FILES = cases(
    "avatar",
    ("submit.recorded", LOST, 0, 0),  # the files are at fal, nothing was ordered
    ("running.recorded", DONE, 1, 1),
)
ON_POSTGRESQL = cases(
    "wan",
    ("callback.received", DONE, 1, 1),
    ("submit.answered", LOST, 1, 1),
    ("store.written", DONE, 1, 1),
    ("finish.before_commit", DONE, 1, 1),
)


@pytest.fixture(scope="module")
def fal() -> Iterator[Fal]:
    fal = Fal()
    with on_a_thread(fal):
        yield fal


@pytest.fixture(scope="module")
def fal_nursery() -> Iterator[FalNursery]:
    nursery = FalNursery()
    yield nursery
    nursery.close()


@pytest.fixture
def on_sqlite(tmp_path: Path, sqlite_model: tuple[Path, str], fal: Fal, fal_nursery: FalNursery) -> Iterator[FalHouse]:
    model, key = sqlite_model
    shutil.copy(model, tmp_path / "calotype.db")
    with contextlib.closing(FalHouse(f"sqlite:///{tmp_path / 'calotype.db'}", tmp_path, key, fal_nursery, fal)) as one:
        yield one


@pytest.fixture
def on_postgresql(
    tmp_path: Path, request: pytest.FixtureRequest, fal: Fal, fal_nursery: FalNursery
) -> Iterator[FalHouse]:
    with (
        postgres_house(request, tmp_path) as plain,
        contextlib.closing(FalHouse(plain.url, tmp_path, plain.key, fal_nursery, fal)) as one,
    ):
        yield one


def named(case: Case) -> str:
    return f"{case.model}-{case.point}"


@pytest.mark.parametrize("case", [*QUEUED, *AT_ONCE, *WITH_FILES], ids=named)
async def test_a_job_at_fal_ends_once_whenever_its_process_dies(on_sqlite: FalHouse, case: Case) -> None:
    await dies_and_ends(on_sqlite, case)


@pytest.mark.parametrize("case", ON_POSTGRESQL, ids=named)
async def test_a_job_at_fal_ends_once_on_postgresql_too(on_postgresql: FalHouse, case: Case) -> None:
    await dies_and_ends(on_postgresql, case)


async def dies_and_ends(house: FalHouse, case: Case) -> None:
    slowly = " @latency=0.8 @times=1" if case.point == "submit.sent" else ""
    path, body = asked(case.model, f"{house.word}{slowly}")
    headers = {"Idempotency-Key": house.word}
    first = await house.serve(case.point)
    status, _ = await first.post(path, body, headers)
    assert status in (0, 202)
    await until(lambda: not first.alive, f"the server to die at {case.point}")

    second = await house.serve()
    assert await house.ended() == [case.end]
    await until(lambda: len(house.works_of(house.word)) == case.works, "fal to have done what it was asked")
    assert len(house.submits_of(house.word)) == case.submits
    house.settled()
    submission = [state for (state,) in house.read("SELECT state FROM submission")]
    assert submission == ["done" if case.end == DONE else "ambiguous"]

    status, answer = await second.post(path, body, headers)
    assert answer["job"] == house.jobs()[0][0]
    if case.model == "krea-2" and case.end == DONE:
        assert status == 200
        code, picture = await second.get(answer["body"]["data"][0]["url"])
        assert (code, picture[:4]) == (200, b"\x89PNG")
    assert [row[1] for row in house.jobs()] == [case.end]
    assert len(house.submits_of(house.word)) == case.submits
    house.settled()


async def test_trouble_while_it_is_looked_at_and_a_death_are_one_submit_and_one_charge(on_sqlite: FalHouse) -> None:
    words = "@on=status @status=502 @times=3"
    path, body = asked("wan", f"{on_sqlite.word} {words}")
    first = await on_sqlite.serve("store.partial")
    assert (await first.post(path, body))[0] == 202
    await until(lambda: not first.alive, "the server to die")
    await on_sqlite.serve()
    assert await on_sqlite.ended() == [DONE]
    assert (len(on_sqlite.submits_of(on_sqlite.word)), len(on_sqlite.works_of(on_sqlite.word))) == (1, 1)
    on_sqlite.settled()


async def test_a_refusal_by_fal_is_sent_again_after_a_death_that_came_before_the_second_submit(
    on_sqlite: FalHouse,
) -> None:
    path, body = asked("wan", f"{on_sqlite.word} @status=429 @times=1 @retry_after=0")
    first = await on_sqlite.serve("run.claimed#2")
    assert (await first.post(path, body))[0] == 202
    await until(lambda: not first.alive, "the server to die")
    await on_sqlite.serve()
    assert await on_sqlite.ended() == [DONE]
    assert (len(on_sqlite.submits_of(on_sqlite.word)), len(on_sqlite.works_of(on_sqlite.word))) == (2, 1)
    states = on_sqlite.read("SELECT state FROM submission ORDER BY attempt")
    assert states == [("rejected",), ("done",)]
    on_sqlite.settled()
