"""A stormy hour in small: callers, trouble of every kind, deaths of the server and of its workers, from one seed."""

import asyncio
import contextlib
import random
from functools import partial
from typing import Any

import aiohttp
from msgspec import Struct

from calotype.accounts import Accounts
from calotype.db import Database
from calotype.db.migrate import upgrade
from calotype.kernel.clock import SystemClock
from calotype.kernel.generation import KeyClass
from calotype.ledger.ledger import Ledger
from crash.house import Server, until
from soak.lineup import LINES, Line
from soak.soak_house import SoakHouse

RICH_MICRO, POOR_MICRO = 1_000_000_000, 300_000
REFUSED = (
    "@status=429 @times=1 @retry_after=0", "@status=503 @times=1", "@status=429 @times=2 @retry_after=0",
    "@status=429 @times=1 @retry_after=0.3",
)  # fmt: skip
"""Plain refusals of a submit."""
TROUBLE = (
    "@cut=before @times=1", "@cut=read @times=1", "@cut=after @times=1", "@cut=body @times=1", "@garbage @times=1",
    "@drip=0.3 @times=1", "@status=400", "@status=422", "@status=500 @times=1", "@status=502 @times=1",
    "@status=504 @times=1", "@hang @times=1", "@latency=0.3 @times=1",
    "@on=status @status=502 @times=2", "@on=status @status=429 @times=1 @retry_after=0",
    "@on=status @garbage @times=1", "@on=status @cut=after @times=2", "@on=status @drip=0.2 @times=1",
    "@on=result @status=429 @times=1", "@on=result @cut=body @times=1", "@on=result @status=503 @times=1",
    "@on=file @status=503 @times=1 @retry_after=0", "@on=file @cut=body @times=1", "@on=file @latency=0.4 @times=1",
    "@on=file @garbage @times=1", "@on=upload @status=503 @times=1", "@expired", "@moderated", "@fails",
    "@fails=failed", "@type=runner_server_error", "@polls=6", "@work=0.3",
)  # fmt: skip
PASSES = {
    "", "@drip=0.3 @times=1", "@latency=0.3 @times=1", "@on=status @status=502 @times=2",
    "@on=status @status=429 @times=1 @retry_after=0", "@on=status @garbage @times=1", "@on=status @cut=after @times=2",
    "@on=status @drip=0.2 @times=1", "@on=result @status=429 @times=1", "@on=result @cut=body @times=1",
    "@on=result @status=503 @times=1", "@on=file @status=503 @times=1 @retry_after=0", "@on=file @cut=body @times=1",
    "@on=file @latency=0.4 @times=1", "@polls=6", "@work=0.3",
}  # fmt: skip
"""Words that a job outlives: it comes to nothing only by a death during its submit, or by a surprise."""
KEYED_PASSES = PASSES | {"@cut=read @times=1", "@cut=after @times=1", "@cut=body @times=1", "@hang @times=1"}
"""Of upstreams that do the same call once: a lost answer is asked for again."""
SURPRISES = ("submit", "status", "result", "file", "upload")
"""Stages at which whichever job comes next meets trouble it did not ask for."""
SECRET = "zq"
"""A prompt of PHI begins with it and a number: nobody but the upstream may ever write it down."""


class Tenant(Struct):
    """An organisation: what it was given and its keys."""

    org: str
    micro: int
    keys: list[str]


class Sent(Struct):
    """A request and what came of it for its caller."""

    n: int
    line: Line
    words: str
    key: str
    status: int = 0
    job: str | None = None
    tries: int = 0
    refusal: str = ""

    @property
    def prompt(self) -> str:
        return f"{SECRET}{self.n:05d}:" if self.line.phi else f"job {self.n:05d}:"

    @property
    def passes(self) -> bool:
        """Whether its words alone cannot keep it from its end."""
        return self.words in (KEYED_PASSES if self.line.keyed else PASSES)


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


class Storm:
    """One run: callers, surprises and deaths, all drawn from the seed."""

    def __init__(
        self, house: SoakHouse, tenants: list[Tenant], *, jobs: int, seed: int, kills: int, restarts: int
    ) -> None:
        self._house = house
        self._random = random.Random(seed)
        self._sent = [self._draw(n, tenants) for n in range(jobs)]
        self._server: Server | None = None
        self._left = iter(self._sent)
        span = range(jobs // 10, jobs * 9 // 10)
        self._deaths = sorted(self._random.sample(span, kills + restarts))
        self._which = self._random.sample([True] * kills + [False] * restarts, kills + restarts)
        self.done = 0
        self.surprises = 0

    def _draw(self, n: int, tenants: list[Tenant]) -> Sent:
        pick = self._random
        words = pick.choice(REFUSED) if pick.random() < 0.12 else pick.choice(TROUBLE) if pick.random() < 0.45 else ""
        (tenant,) = pick.choices(tenants, (4, 4, 4, 1, 1))
        (line,) = pick.choices(LINES, [line.weight for line in LINES])
        return Sent(n, line if n >= len(LINES) else LINES[n], words, pick.choice(tenant.keys))

    async def run(self, callers: int) -> list[Sent]:
        """Send everything, kill the server and workers in between, and wait until all is over."""
        self._server = await self._house.serve()
        surprises = asyncio.create_task(self._surprise())
        calling = [asyncio.create_task(self._call()) for _ in range(callers)]
        for threshold, server in zip(self._deaths, self._which, strict=True):
            await until(partial(self._past, threshold), f"{threshold} requests", 600)
            await asyncio.sleep(self._random.random() * 0.5)
            if server:
                await self._kill()
            else:
                await asyncio.to_thread(self._house.restart, self._random.choice(self._house.upstreams.workers))
        await asyncio.gather(*calling)
        surprises.cancel()
        await until(self._at_rest, "every job to end", 120)
        return self._sent

    async def _kill(self) -> None:
        server = self._server
        assert server is not None
        self._server = None
        server.kill()
        await until(lambda: not server.alive, "the server to be dead")
        self._server = await self._house.serve()

    async def _call(self) -> None:
        """Send one request after the other; ask again with the same key until there is an answer."""
        for one in self._left:
            path, body, headers = one.line.ask(f"{one.prompt} {one.words}")
            headers |= {"Authorization": f"Bearer {one.key}", "Idempotency-Key": f"soak-{one.n}"}
            while True:
                server = self._server
                if server is None:
                    await asyncio.sleep(0.05)
                    continue
                one.tries += 1
                with contextlib.suppress(aiohttp.ClientError):
                    one.status, answer = await server.post(path, body, headers)
                    if one.status:
                        one.job = answer["job"] or answer["body"].get("request_id")
                        one.refusal = "" if one.status == 200 else str(answer["body"])
                        break
                await asyncio.sleep(0.1)
            self.done += 1

    async def _surprise(self) -> None:
        """Now and then the next exchange of some stage goes wrong, whoever's it is."""
        async with aiohttp.ClientSession() as session:
            while True:
                await asyncio.sleep(self._random.random() * 0.5)
                fault: dict[str, Any] = {"on": self._random.choice(SURPRISES), "times": self._random.randint(1, 3)}
                fault |= self._random.choice(({"status": 503}, {"cut": "after"}, {"cut": "before"}, {"latency": 0.2}))
                upstream = self._random.choice(self._house.upstreams.all)
                async with session.post(f"{upstream.url}/__control__", json={"faults": [fault]}) as answer:
                    assert answer.status == 200
                self.surprises += fault["times"]

    def _past(self, threshold: int) -> bool:
        return self.done >= threshold

    def _at_rest(self) -> bool:
        return not self._house.read("SELECT 1 FROM job WHERE finished_at_ms IS NULL LIMIT 1")
