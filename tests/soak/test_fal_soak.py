"""Many jobs at fal through a stormy hour in small: faults of every kind, and a server that is killed three times.

Everything random comes from one seed. At the end every accepted job has ended, the ledger verifies, nothing is held,
fal was never asked again for work it had not plainly refused, and what was charged is what was delivered.
"""

import asyncio
import contextlib
import random
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from msgspec import Struct

from calotype.accounts import Accounts
from calotype.db import Database
from calotype.db.migrate import upgrade
from calotype.kernel.clock import SystemClock
from calotype.kernel.generation import KeyClass
from calotype.ledger.ledger import Ledger
from calotype.sandbox.fal import Fal
from calotype.sandbox.serve import on_a_thread
from crash.fal_house import FalHouse, FalNursery, asked
from crash.house import Server, until

pytestmark = pytest.mark.crash

RICH_MICRO, POOR_MICRO = 1_000_000_000, 300_000
KILLS = 3
MODELS = ("krea-2",) * 6 + ("wan",) * 3 + ("avatar",)
REFUSED = ("@status=429 @times=1 @retry_after=0", "@status=503 @times=1", "@status=429 @times=2 @retry_after=0")
"""Plain refusals of a submit: only after these may a job be sent again."""
TROUBLE = (
    "@cut=before @times=1", "@cut=read @times=1", "@cut=after @times=1", "@cut=body @times=1", "@garbage @times=1",
    "@status=502 @times=1", "@status=504 @times=1", "@status=422", "@hang @times=1", "@latency=0.3 @times=1",
    "@on=status @status=502 @times=2", "@on=status @garbage @times=1", "@on=status @cut=after @times=2",
    "@on=result @status=429 @times=1", "@on=result @cut=body @times=1", "@on=result @status=503 @times=1",
    "@on=file @status=503 @times=1 @retry_after=0", "@on=file @cut=body @times=1", "@on=file @latency=0.4 @times=1",
    "@expired", "@moderated", "@type=runner_server_error", "@type=no_media_generated", "@polls=6",
)  # fmt: skip
PASSES = {
    "", *REFUSED[:2], "@latency=0.3 @times=1", "@on=status @status=502 @times=2", "@on=status @garbage @times=1",
    "@on=status @cut=after @times=2", "@on=result @status=429 @times=1", "@on=result @cut=body @times=1",
    "@on=file @status=503 @times=1 @retry_after=0", "@on=file @cut=body @times=1", "@on=file @latency=0.4 @times=1",
    "@polls=6",
}  # fmt: skip
"""Words that a job outlives: it comes to nothing only by a death during its submit, or by a surprise."""
SURPRISES = ("status", "result", "file", "upload")
"""Stages at which whichever job comes next meets trouble it did not ask for."""


class Tenant(Struct):
    """An organisation: what it was given and its keys."""

    org: str
    micro: int
    keys: list[str]


class Sent(Struct):
    """A request and what came of it for its caller."""

    n: int
    model: str
    words: str
    key: str
    status: int = 0
    job: str | None = None
    tries: int = 0

    @property
    def prompt(self) -> str:
        return f"job {self.n:05d}:"

    @property
    def refusals(self) -> int:
        """How many times its submit is refused in so many words."""
        return int(self.words.partition("@times=")[2].partition(" ")[0]) if self.words in REFUSED else 0


async def furnish(url: str) -> list[Tenant]:
    """Make three organisations with money and two with little, each with two keys."""
    await asyncio.to_thread(upgrade, url)
    db = Database(url)
    db.start()
    accounts, ledger = Accounts(db, SystemClock()), Ledger(db, SystemClock())
    await accounts.start()
    tenants = []
    for n, micro in enumerate((RICH_MICRO, RICH_MICRO, RICH_MICRO, POOR_MICRO, POOR_MICRO)):
        org = await accounts.create_org(f"tenant {n}")
        await ledger.credit(org.id, micro)
        made = [await accounts.create_key(org.id, name=f"key {k}", key_class=KeyClass.PAID) for k in range(2)]
        tenants.append(Tenant(org.id, micro, [text for _, text in made]))
    await asyncio.to_thread(db.close)
    return tenants


@pytest.fixture
def fal() -> Iterator[Fal]:
    fal = Fal()
    with on_a_thread(fal):
        yield fal


@pytest.fixture
def fal_nursery() -> Iterator[FalNursery]:
    nursery = FalNursery()
    yield nursery
    nursery.close()


class Storm:
    """One run: callers, surprises and deaths, all drawn from the seed."""

    def __init__(self, house: FalHouse, tenants: list[Tenant], jobs: int, seed: int) -> None:
        self._house = house
        self._random = random.Random(seed)
        self._sent = [self._draw(n, tenants) for n in range(jobs)]
        self._server: Server | None = None
        self._left = iter(self._sent)
        self.done = 0
        self.kills = 0
        self.surprises = 0

    def _draw(self, n: int, tenants: list[Tenant]) -> Sent:
        pick = self._random
        words = pick.choice(REFUSED) if pick.random() < 0.12 else pick.choice(TROUBLE) if pick.random() < 0.45 else ""
        (tenant,) = pick.choices(tenants, (4, 4, 4, 1, 1))
        return Sent(n, pick.choice(MODELS), words, pick.choice(tenant.keys))

    async def run(self, callers: int) -> list[Sent]:
        """Send everything, kill the server in between, and wait until all is over."""
        self._server = await self._house.serve()
        jobs = len(self._sent)
        at = sorted(self._random.sample(range(jobs // 10, jobs * 9 // 10), KILLS))
        surprises = asyncio.create_task(self._surprise())
        calling = [asyncio.create_task(self._call()) for _ in range(callers)]
        for threshold in at:
            await until(lambda after=threshold: self.done >= after, f"{threshold} of {jobs} requests", 400)
            await asyncio.sleep(self._random.random() * 0.5)
            await self._kill()
        await asyncio.gather(*calling)
        surprises.cancel()
        await until(self._at_rest, "every job to end", 120)
        return self._sent

    async def _kill(self) -> None:
        server = self._server
        assert server is not None
        self._server = None
        server.kill()
        self.kills += 1
        await until(lambda: not server.alive, "the server to be dead")
        self._server = await self._house.serve()

    async def _call(self) -> None:
        """Send one request after the other; ask again with the same key until there is an answer."""
        for one in self._left:
            path, body = asked(one.model, f"{one.prompt} {one.words}")
            headers = {"Authorization": f"Bearer {one.key}", "Idempotency-Key": f"soak-{one.n}"}
            while True:
                server = self._server
                if server is None:
                    await asyncio.sleep(0.05)
                    continue
                one.tries += 1
                with contextlib.suppress(aiohttp.ClientError):
                    one.status, answer = await server.post(path, body, headers)
                    if one.status:
                        one.job = answer["job"]
                        break
                await asyncio.sleep(0.1)
            self.done += 1

    async def _surprise(self) -> None:
        """Now and then the next exchange of some stage goes wrong, whoever's it is."""
        async with aiohttp.ClientSession() as session:
            while True:
                await asyncio.sleep(self._random.random() * 0.8)
                fault: dict[str, Any] = {"on": self._random.choice(SURPRISES), "times": self._random.randint(1, 3)}
                fault |= self._random.choice(({"status": 503}, {"cut": "after"}, {"cut": "before"}, {"latency": 0.2}))
                async with session.post(f"{self._house.fal.url}/__control__", json={"faults": [fault]}) as answer:
                    assert answer.status == 200
                self.surprises += fault["times"]

    def _at_rest(self) -> bool:
        return not self._house.read("SELECT 1 FROM job WHERE finished_at_ms IS NULL LIMIT 1")


def judge(house: FalHouse, sent: list[Sent], tenants: list[Tenant]) -> Counter[str]:
    """Check what the callers were told, what fal was asked and what was charged against each other; count."""
    house.settled()
    jobs = {row[0]: row[1:] for row in house.read("SELECT id, state, model, org_id, charged_micro FROM job")}
    counts = Counter(f"job {row[0]}" for row in jobs.values())
    owned = Counter(one.job for one in sent if one.job)
    assert set(owned.values()) == {1}, "two requests were answered with one job"
    assert set(jobs) == set(owned), "a job nobody was told of"
    submits, works = _by_prompt(house)
    ambiguous = {job for (job,) in house.read("SELECT job_id FROM submission WHERE state = 'ambiguous'")}
    for one in sent:
        counts[f"answer {one.status}"] += 1
        state = jobs[one.job][0] if one.job else None
        assert (state is None) == (one.status == 402), one
        assert (one.status == 200) <= (state == "succeeded"), one
        if one.model == "krea-2" and state is not None:
            assert (one.status == 200) == (state == "succeeded"), one
        assert submits[one.prompt] <= 1 + one.refusals, (one, "sent again although it was not refused")
        assert works[one.prompt] <= 1, (one, "fal did it twice")
        assert works[one.prompt] == 1 or state != "succeeded", (one, "delivered what fal never made")
        assert state is not None or submits[one.prompt] == 0, (one, "sent without money")
        again = one.model == "avatar" and one.words in REFUSED  # uploaded anew it is another request, refused anew
        if state == "failed" and one.words in PASSES and not again:
            counts[f"came to nothing by a {'death' if one.job in ambiguous else 'surprise'}"] += 1
        counts["works not delivered"] += works[one.prompt] == 1 and state != "succeeded"
        counts["requests repeated after a broken answer"] += one.tries > 1
    assert sum(submits.values()) == len(house.fal.submits)
    for tenant in tenants:
        spent = sum(row[3] or 0 for row in jobs.values() if row[2] == tenant.org)
        ((posted,),) = house.read(f"SELECT posted_micro FROM account WHERE id = 'org/{tenant.org}'")
        assert posted == tenant.micro - spent >= 0, tenant
        counts["charged micro"] += spent
    for state, rows in house.read("SELECT state, COUNT(*) FROM submission GROUP BY state"):
        counts[f"submission {state}"] = rows
    counts |= Counter({"submits at fal": len(house.fal.submits), "works at fal": len(house.fal.works)})
    return counts


def _by_prompt(house: FalHouse) -> tuple[Counter[str], Counter[str]]:
    def head(fields: Any) -> str:
        return str(fields["prompt"]).partition(":")[0] + ":"

    return (
        Counter(head(submit.json()) for submit in house.fal.submits),
        Counter(head(work.fields) for work in house.fal.works.values()),
    )


@pytest.fixture
def bare(tmp_path: Path, fal_nursery: FalNursery, fal: Fal) -> Iterator[FalHouse]:
    """Return an installation on SQLite with nothing in it."""
    url = f"sqlite:///{tmp_path / 'calotype.db'}"
    with contextlib.closing(FalHouse(url, tmp_path, "", fal_nursery, fal)) as house:
        yield house


@pytest.fixture
def bare_on_either(empty_url: str, tmp_path: Path, fal_nursery: FalNursery, fal: Fal) -> Iterator[FalHouse]:
    """Return an installation on the store of this run with nothing in it."""
    with contextlib.closing(FalHouse(empty_url, tmp_path, "", fal_nursery, fal)) as house:
        yield house


async def storm(house: FalHouse, *, jobs: int, seed: int, callers: int) -> Counter[str]:
    tenants = await furnish(house.url)
    began = time.monotonic()
    run = Storm(house, tenants, jobs, seed)
    sent = await run.run(callers)
    counts = judge(house, sent, tenants)
    assert counts["came to nothing by a surprise"] <= run.surprises
    counts["surprises"] = run.surprises
    assert run.kills == KILLS
    assert {"job succeeded", "job failed", "answer 200", "answer 202"} <= set(counts)
    counts["seconds"] = round(time.monotonic() - began)
    return counts


def shown(counts: Counter[str]) -> str:
    return "\n".join(f"{name:42} {count:>12,}" for name, count in sorted(counts.items()))


async def test_sixty_jobs_survive_faults_and_three_deaths(bare: FalHouse) -> None:
    await storm(bare, jobs=60, seed=7, callers=12)


@pytest.mark.full
async def test_a_thousand_jobs_survive_faults_and_three_deaths(
    bare_on_either: FalHouse, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = await storm(bare_on_either, jobs=1200, seed=20_261_120, callers=32)
    assert counts["job succeeded"] + counts["job failed"] >= 1000
    assert counts["answer 402"] > 20
    assert counts["submission ambiguous"] > 20
    with capsys.disabled():
        print(f"\n{shown(counts)}")  # noqa: T201  (a long run says what it did)
