"""Failover: along the frozen list only, and only while the upstream has not taken the job."""

import pytest

from calotype.kernel.outcome import Failed, FailedKind
from jobs.kit import DONE, GRANT_MICRO, PRICE_MICRO, Fake, at_home, card, in_turn, pending, until


def no(kind: FailedKind) -> Failed:
    return Failed(kind, "No.")


@pytest.mark.parametrize("kind", [FailedKind.RETRY, FailedKind.AUTH, FailedKind.QUOTA, FailedKind.GONE])
async def test_the_next_route_is_tried_while_nobody_took_the_job(home, kind) -> None:
    first, second = Fake("a", submit=lambda call: no(kind)), Fake("b")
    async with home(first, second) as h:
        view = await h.ended(await h.send())
        assert (view.state.value, view.job.provider) == ("succeeded", "b")
        assert [call.upstream_model for call in second.submits] == ["fern-b"]
        rows = await h.rows("SELECT attempt, provider, state FROM submission ORDER BY attempt")
        assert rows == [(1, "a", "rejected"), (2, "b", "done")]
        await h.check()


async def test_the_price_stays_that_of_the_first_route(home) -> None:
    first, second = Fake("a", submit=lambda call: no(FailedKind.RETRY)), Fake("b")
    async with home(first, second) as h:
        view = await h.ended(await h.send())
        assert view.job.charged_micro == PRICE_MICRO
        assert await h.balance() == (GRANT_MICRO - PRICE_MICRO, 0)


@pytest.mark.parametrize("kind", [FailedKind.UPSTREAM, FailedKind.INVALID, FailedKind.MODERATED, FailedKind.UNKNOWN])
async def test_no_other_route_is_tried_once_the_upstream_may_have_taken_the_job(home, kind) -> None:
    first, second = Fake("a", submit=lambda call: no(kind)), Fake("b")
    async with home(first, second) as h:
        view = await h.ended(await h.send())
        assert view.state.value == "failed"
        assert (len(first.submits), len(second.submits)) == (1, 0)
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()


async def test_no_other_route_is_tried_after_a_poll_says_that_the_work_failed(home) -> None:
    first = Fake("a", submit=lambda call: pending(), poll=in_turn(pending(), no(FailedKind.UPSTREAM)))
    second = Fake("b")
    async with home(first, second) as h:
        assert (await h.ended(await h.send())).state.value == "failed"
        assert second.submits == []


async def test_a_failover_never_leaves_the_routes_that_the_policy_allowed(home) -> None:
    allowed, other = Fake("a", submit=lambda call: no(FailedKind.RETRY)), Fake("b")
    async with home(allowed, other, phi=("a",)) as h:
        ticket = await h.app.engine.accept(h.ask(phi=True, at_once=True, inline=True))
        view = await h.ended(ticket.job.id)
        assert view.state.value == "failed"
        assert len(allowed.submits) == 2
        assert other.submits == []


async def test_a_job_nobody_takes_goes_round_twice_and_fails_while_its_caller_waits(home) -> None:
    fakes = [Fake(name, submit=lambda call: Failed(FailedKind.RETRY, "Busy.", retry_after_s=0.2)) for name in "ab"]
    async with home(*fakes) as h:
        view = await h.ended(await h.send(at_once=True))
        assert view.problem.code.value == "unavailable"
        assert [len(fake.submits) for fake in fakes] == [2, 2]
        assert len({call.token for fake in fakes for call in fake.submits}) == 4
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()


async def test_a_queued_job_is_offered_again_where_a_waiting_caller_would_have_been_told(home) -> None:
    fake = Fake("a", submit=in_turn(no(FailedKind.RETRY), no(FailedKind.RETRY), DONE))
    async with home(fake) as h:
        view = await h.ended(await h.send(at_once=False))
        assert view.state.value == "succeeded"
        assert len(fake.submits) == 3
        await h.check()


async def test_a_busy_upstream_is_asked_again_after_the_time_it_named(home) -> None:
    fake = Fake(submit=in_turn(Failed(FailedKind.RETRY, "Busy.", retry_after_s=0.3), DONE))
    async with home(fake) as h:
        view = await h.ended(await h.send())
        assert view.state.value == "succeeded"
        assert view.job.finished_at_ms - view.job.created_at_ms >= 300
        await h.check()


async def test_errors_of_a_poll_never_end_a_job(home) -> None:
    kinds = [FailedKind.RETRY, FailedKind.AUTH, FailedKind.QUOTA, FailedKind.UNKNOWN, FailedKind.GONE]
    fake = Fake(submit=lambda call: pending(), poll=in_turn(*(no(kind) for kind in kinds), RuntimeError("x"), DONE))
    async with home(fake) as h:
        assert (await h.ended(await h.send())).state.value == "succeeded"
        assert len(fake.submits) == 1
        await h.check()


async def test_a_job_ends_at_its_deadline_and_its_upstream_is_told(home) -> None:
    fake = Fake(submit=lambda call: pending(), poll=lambda handle: pending())
    async with home(fake, engine={"job_deadline_s": 60}) as h:
        job_id = await h.send()
        await until(lambda: fake.polls)
        h.clock.ahead_ms += 61_000
        view = await h.ended(job_id)
        assert view.problem.code.value == "timeout"
        assert fake.cancels == [{"id": "u1"}]
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()


async def test_a_deadline_leaves_a_refused_submission_refused(home) -> None:
    fake = Fake(submit=lambda call: Failed(FailedKind.RETRY, "Busy.", retry_after_s=30))
    async with home(fake, engine={"job_deadline_s": 60}) as h:
        job_id = await h.send()

        async def refused() -> bool:
            return await h.rows("SELECT state FROM submission") == [("rejected",)]

        await until(refused)
        h.clock.ahead_ms += 61_000
        assert (await h.ended(job_id)).problem.code.value == "timeout"
        assert await h.rows("SELECT state FROM submission") == [("rejected",)]
        await h.check()


async def test_a_provider_that_is_not_set_up_any_more_is_stepped_over(url, tmp_path) -> None:
    cards = card("m", "a", "b")
    async with at_home(url, tmp_path, Fake("a"), Fake("b"), cards=cards, works=False) as h:
        job_id = await h.send()
    async with at_home(url, tmp_path, Fake("b"), cards=cards) as h:
        assert (await h.ended(job_id)).job.provider == "b"
        await h.check()
