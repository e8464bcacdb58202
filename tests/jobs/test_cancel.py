"""Cancelling in each state: the money goes back only when the work is really not done or not delivered."""

import asyncio

from calotype.kernel.outcome import Failed, FailedKind
from jobs.kit import DONE, GRANT_MICRO, PRICE_MICRO, Fake, pending, until


async def word(h, job_id) -> str:
    return (await h.app.engine.cancel(job_id, h.org.id)).word


async def test_a_queued_job_is_canceled_at_once(home) -> None:
    fake = Fake()
    async with home(fake, works=False) as h:
        job_id = await h.send()
        assert await word(h, job_id) == "canceled"
        assert await h.balance() == (GRANT_MICRO, 0)
        assert await word(h, job_id) == "ended"
        await h.app.runner.start(alone=False)
        await h.app.runner.stop(1)
        assert fake.submits == []
        await h.check()


async def test_a_job_whose_paid_request_is_on_its_way_goes_on(home) -> None:
    gate = asyncio.Event()

    async def slow(call):
        await gate.wait()
        return DONE

    fake = Fake(submit=slow)
    async with home(fake) as h:
        job_id = await h.send()
        await until(lambda: fake.submits)
        assert await word(h, job_id) == "requested"
        gate.set()
        assert (await h.ended(job_id)).state.value == "succeeded"
        assert await h.balance() == (GRANT_MICRO - PRICE_MICRO, 0)
        await h.check()


async def test_work_that_can_really_be_stopped_is_stopped(home) -> None:
    async def forever(call):
        await asyncio.Event().wait()

    fake = Fake(submit=forever, cancellable=True)
    async with home(fake) as h:
        job_id = await h.send()
        await until(lambda: fake.submits)
        assert await word(h, job_id) == "canceled"
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()


async def test_a_running_job_is_canceled_when_its_upstream_agrees(home) -> None:
    fake = Fake(submit=lambda call: pending(), poll=lambda handle: pending(), cancel=lambda handle: True)
    async with home(fake) as h:
        job_id = await h.send()
        await until(lambda: fake.polls)
        assert await word(h, job_id) in ("requested", "canceled")
        assert (await h.ended(job_id)).state.value == "canceled"
        assert fake.cancels == [{"id": "u1"}]
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()


async def test_a_running_job_goes_on_and_is_charged_when_its_upstream_does_not_stop(home) -> None:
    done = asyncio.Event()
    fake = Fake(submit=lambda call: pending(), poll=lambda handle: DONE if done.is_set() else pending())
    async with home(fake) as h:
        job_id = await h.send()
        await until(lambda: fake.polls)
        assert await word(h, job_id) == "requested"
        await until(lambda: fake.cancels)
        done.set()
        assert (await h.ended(job_id)).state.value == "succeeded"
        assert await h.balance() == (GRANT_MICRO - PRICE_MICRO, 0)
        await h.check()


async def test_a_job_waiting_for_another_try_is_canceled_and_its_refused_submission_stays_refused(home) -> None:
    fake = Fake(submit=lambda call: Failed(FailedKind.RETRY, "Busy.", retry_after_s=30))
    async with home(fake) as h:
        job_id = await h.send()

        async def back() -> bool:
            return await h.rows("SELECT state FROM submission") == [("rejected",)]

        await until(back)
        assert await word(h, job_id) == "canceled"
        assert await h.rows("SELECT state FROM submission") == [("rejected",)]
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()


async def test_many_cancels_beside_the_end_leave_one_end(home) -> None:
    async with home(Fake(submit=lambda call: pending(), cancel=lambda handle: True)) as h:
        ids = [await h.send(f"{n}") for n in range(20)]

        async def hammer(job_id) -> None:
            for _ in range(5):
                await h.app.engine.cancel(job_id, h.org.id)

        await asyncio.gather(*(hammer(job_id) for job_id in ids))
        ends = [(await h.ended(job_id)).state.value for job_id in ids]
        posted, held = await h.balance()
        assert held == 0
        assert posted == GRANT_MICRO - PRICE_MICRO * ends.count("succeeded")
        await h.check()
