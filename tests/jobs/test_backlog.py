"""The queue is bounded, for each organisation and in all, and who comes beyond leaves nothing behind."""

import asyncio

import pytest

from calotype.kernel.errors import Code, Problem
from jobs.kit import DONE, GRANT_MICRO, PRICE_MICRO, Fake, at_home


async def refused(h, **how) -> Problem:
    with pytest.raises(Problem) as caught:
        await h.send(**how)
    return caught.value


async def test_an_organisation_has_only_so_many_jobs_open_and_others_have_their_own(url, tmp_path) -> None:
    gate = asyncio.Event()

    async def later(call):
        await gate.wait()
        return DONE

    async with at_home(url, tmp_path, Fake(submit=later), limits={"max_open_jobs_per_org": 3}) as h:
        first = [await h.send() for _ in range(3)]
        problem = await refused(h)
        assert (problem.code, problem.data, problem.retryable) == (Code.RATE_LIMITED, {"limit": 3}, True)
        assert await h.balance() == (GRANT_MICRO, 3 * PRICE_MICRO)
        org, key = await h.tenant("other")
        other = await h.send(org=org, key=key)
        gate.set()
        for job_id in (*first, other):
            assert (await h.ended(job_id)).state.value == "succeeded"
        assert (await h.ended(await h.send())).state.value == "succeeded"
        await h.check()


async def test_all_together_have_only_so_many_jobs_open(url, tmp_path) -> None:
    async with at_home(url, tmp_path, Fake(), limits={"max_open_jobs": 2}, works=False) as h:
        org, key = await h.tenant("other")
        for _ in range(2):
            await h.send()
        problem = await refused(h, org=org, key=key)
        assert (problem.code, problem.retryable) == (Code.UNAVAILABLE, True)
        assert await h.rows("SELECT COUNT(*) FROM job") == [(2,)]


async def test_many_at_once_do_not_pass_the_bound(url, tmp_path) -> None:
    async with at_home(url, tmp_path, Fake(), limits={"max_open_jobs_per_org": 5}, works=False) as h:
        answers = await asyncio.gather(*(h.send(fingerprint=str(n)) for n in range(20)), return_exceptions=True)
        assert len([one for one in answers if isinstance(one, str)]) == 5
        assert await h.rows("SELECT COUNT(*) FROM job") == [(5,)]


async def test_what_makes_no_job_takes_no_room(url, tmp_path) -> None:
    async with at_home(url, tmp_path, Fake(), limits={"max_open_jobs_per_org": 2}, works=False) as h:
        org, key = await h.tenant("poor", micro=0)
        for _ in range(4):
            assert (await refused(h, org=org, key=key)).code is Code.INSUFFICIENT_CREDITS
        one = await h.send(idempotency_key="k", fingerprint="f")
        for _ in range(3):
            assert await h.send(idempotency_key="k", fingerprint="f") == one
        await h.send()


async def test_what_was_open_before_a_restart_is_counted_and_what_is_canceled_makes_room(url, tmp_path) -> None:
    limits = {"max_open_jobs_per_org": 3}
    async with at_home(url, tmp_path, Fake(), works=False) as h:
        jobs = [await h.send() for _ in range(3)]
    async with at_home(url, tmp_path, Fake(max_in_progress=1, submit=_for_ever), limits=limits) as h:
        assert (await refused(h)).code is Code.RATE_LIMITED
        for job_id in jobs[1:]:
            await h.app.engine.cancel(job_id, h.org.id)
        await h.send()


async def _for_ever(_call):
    await asyncio.Event().wait()
