"""Many jobs through every provider while everything goes wrong: the rules hold of the whole at its end.

Everything random comes from one seed. Every accepted job has ended, the ledger verifies, nothing is held, no upstream
was asked again for work that it had not plainly refused unless it does the same call once, what was charged is what was
delivered, and no credential, no prompt of PHI and no callback address was written down anywhere.
"""

import contextlib
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from soak.judge import judge
from soak.leaks import leaks
from soak.soak_house import SoakHouse, SoakNursery, Upstreams, upstreams
from soak.storm import Storm, furnish

pytestmark = pytest.mark.crash


@pytest.fixture
def soak_nursery() -> Iterator[SoakNursery]:
    nursery = SoakNursery()
    yield nursery
    nursery.close()


@pytest.fixture
def everyone() -> Iterator[Upstreams]:
    with upstreams() as found:
        yield found


@pytest.fixture
def bare(tmp_path: Path, soak_nursery: SoakNursery, everyone: Upstreams) -> Iterator[SoakHouse]:
    """Return an installation on SQLite with nothing in it."""
    url = f"sqlite:///{tmp_path / 'calotype.db'}"
    with contextlib.closing(SoakHouse(url, tmp_path, soak_nursery, everyone)) as house:
        yield house


@pytest.fixture
def bare_on_either(
    empty_url: str, tmp_path: Path, soak_nursery: SoakNursery, everyone: Upstreams
) -> Iterator[SoakHouse]:
    """Return an installation on the store of this run with nothing in it."""
    with contextlib.closing(SoakHouse(empty_url, tmp_path, soak_nursery, everyone)) as house:
        yield house


async def weathered(house: SoakHouse, *, jobs: int, seed: int, callers: int, kills: int, restarts: int) -> Counter[str]:
    """Go through a storm and check everything at its end."""
    tenants = await furnish(house.url)
    began_s = time.monotonic()
    storm = Storm(house, tenants, jobs=jobs, seed=seed, kills=kills, restarts=restarts)
    sent = await storm.run(callers)
    await house.settled()
    counts = judge(house, sent, tenants)
    assert leaks(house, sent, tenants) == []
    assert counts["came to nothing by a surprise"] <= storm.surprises
    counts |= Counter({"surprises": storm.surprises, "seconds": round(time.monotonic() - began_s)})
    return counts


def shown(counts: Counter[str]) -> str:
    return "\n".join(f"{name:42} {count:>12,}" for name, count in sorted(counts.items()))


async def test_jobs_of_every_provider_survive_faults_and_a_death(bare: SoakHouse) -> None:
    counts = await weathered(bare, jobs=120, seed=7, callers=16, kills=1, restarts=1)
    assert counts["job succeeded"] > counts["job failed"] > 0


@pytest.mark.full
async def test_two_thousand_jobs_of_every_provider_survive_faults_and_three_deaths(
    bare_on_either: SoakHouse, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = await weathered(bare_on_either, jobs=2000, seed=20_261_120, callers=32, kills=3, restarts=2)
    assert counts["job succeeded"] + counts["job failed"] >= 1700
    assert counts["answer 402"] + counts["answer 403"] > 20
    assert counts["submission ambiguous"] > 20
    with capsys.disabled():
        print(f"\n{shown(counts)}")  # noqa: T201  (a long run says what it did)
