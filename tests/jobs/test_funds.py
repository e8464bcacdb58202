"""Money at accept: no race takes more than there is, and one refusal leaves its neighbours alone."""

import asyncio
import threading

from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import KeyClass
from jobs.kit import GRANT_MICRO, PRICE_MICRO, Fake


def refusals(answers) -> list[Code]:
    return [answer.code for answer in answers if isinstance(answer, Problem)]


async def test_a_spend_cap_is_never_passed_by_requests_at_the_same_moment(home) -> None:
    async with home(Fake()) as h:
        key, _ = await h.app.accounts.create_key(
            name="capped", key_class=KeyClass.PAID, spend_cap_micro=5 * PRICE_MICRO + 1
        )
        answers = await asyncio.gather(*(h.send(key=key) for _ in range(40)), return_exceptions=True)
        accepted = [answer for answer in answers if isinstance(answer, str)]
        assert len(accepted) == 5
        assert refusals(answers) == [Code.SPEND_CAP_REACHED] * 35
        for job_id in accepted:
            await h.ended(job_id)
        assert refusals([await _refusal(h.send(key=key))]) == [Code.SPEND_CAP_REACHED]
        await h.check()


async def test_a_key_never_has_more_jobs_in_progress_than_its_limit(home) -> None:
    async with home(Fake(), works=False) as h:
        key, _ = await h.app.accounts.create_key(name="narrow", key_class=KeyClass.PAID, max_in_progress=3)
        answers = await asyncio.gather(*(h.send(key=key) for _ in range(20)), return_exceptions=True)
        assert refusals(answers) == [Code.RATE_LIMITED] * 17
        done = next(answer for answer in answers if isinstance(answer, str))
        await h.app.engine.cancel(done, h.org.id)
        assert isinstance(await h.send(key=key), str)
        await h.check()


async def test_an_account_is_never_overdrawn_by_requests_at_the_same_moment(home) -> None:
    async with home(Fake(), works=False) as h:
        org, key = await h.tenant("poor", 3 * PRICE_MICRO)
        answers = await asyncio.gather(*(h.send(org=org, key=key) for _ in range(30)), return_exceptions=True)
        assert refusals(answers) == [Code.INSUFFICIENT_CREDITS] * 27
        await h.check()


async def test_one_unfunded_request_does_not_sink_the_funded_ones_of_its_batch(home) -> None:
    async with home(Fake(), works=False) as h:
        org, key = await h.tenant("broke", 0)
        gate = threading.Event()
        blocker = h.app.db.write(lambda tx: gate.wait(10))
        sends = [asyncio.ensure_future(h.send(f"{n}")) for n in range(4)]
        sends.insert(2, asyncio.ensure_future(h.send(org=org, key=key)))
        while h.app.db.writer.waiting < 5:
            await asyncio.sleep(0.01)
        batches = h.app.db.writer.batches
        gate.set()
        await blocker
        answers = await asyncio.gather(*sends, return_exceptions=True)
        assert h.app.db.writer.batches == batches + 2  # the blocker, and all five together
        assert [isinstance(answer, str) for answer in answers] == [True, True, False, True, True]
        assert refusals(answers) == [Code.INSUFFICIENT_CREDITS]
        assert await h.balance() == (GRANT_MICRO, 4 * PRICE_MICRO)
        await h.check()


async def _refusal(sending):
    try:
        return await sending
    except Problem as problem:
        return problem
