"""Whether the upstream took a request is not known: never again blindly, and with a key or a look-up, ten minutes."""

import pytest

from calotype.db import Sql
from calotype.kernel.outcome import Failed, FailedKind
from calotype.kernel.steps import MaybeSent
from calotype.providers.base import Idempotency
from jobs.kit import DONE, GRANT_MICRO, PRICE_MICRO, Fake, in_turn, pending

LOST = Failed(FailedKind.UNKNOWN, "No answer.")
KEY, LOOKUP, NONE = Idempotency.KEY, Idempotency.LOOKUP, Idempotency.NONE


async def test_without_key_or_look_up_it_fails_at_once_and_the_submission_stays_to_be_billed(home) -> None:
    fake = Fake(submit=lambda call: LOST)
    async with home(fake) as h:
        assert (await h.ended(await h.send())).state.value == "failed"
        assert len(fake.submits) == 1
        assert await h.balance() == (GRANT_MICRO, 0)
        assert await h.rows("SELECT state FROM submission") == [("ambiguous",)]
        await h.check()


async def test_with_a_key_the_same_request_is_sent_again_under_the_same_key(home) -> None:
    fake = Fake(submit=in_turn(LOST, LOST, DONE), idempotency=KEY)
    async with home(fake) as h:
        assert (await h.ended(await h.send())).state.value == "succeeded"
        assert len(fake.submits) == 3
        assert len({call.token for call in fake.submits}) == 1
        assert await h.balance() == (GRANT_MICRO - PRICE_MICRO, 0)
        await h.check()


@pytest.mark.parametrize("kind", [FailedKind.RETRY, FailedKind.AUTH, FailedKind.QUOTA, FailedKind.GONE])
async def test_that_a_second_sending_was_not_taken_says_nothing_of_the_first(home, kind) -> None:
    first = Fake("a", submit=in_turn(LOST, Failed(kind, "Busy."), DONE), idempotency=KEY)
    second = Fake("b")
    async with home(first, second) as h:
        view = await h.ended(await h.send())
        assert (view.state.value, view.job.provider) == ("succeeded", "a")
        assert second.submits == []
        assert len({call.token for call in first.submits}) == 1
        await h.check()


async def test_with_a_look_up_it_is_found_and_never_sent_again(home) -> None:
    fake = Fake(submit=lambda call: LOST, lookup=in_turn(None, MaybeSent("away"), None, pending()), idempotency=LOOKUP)
    async with home(fake) as h:
        assert (await h.ended(await h.send())).state.value == "succeeded"
        assert (len(fake.submits), len(fake.lookups)) == (1, 4)
        assert {call.token for call in fake.lookups} == {fake.submits[0].token}
        await h.check()


@pytest.mark.parametrize("idempotency", [KEY, LOOKUP])
async def test_after_its_grace_it_fails_and_is_refunded(home, idempotency) -> None:
    fake = Fake(submit=lambda call: LOST, idempotency=idempotency)
    async with home(fake) as h:
        job_id = await h.send()
        await until_asked_again(fake)
        assert await h.state(job_id) == "submitting"
        h.clock.ahead_ms += 601_000
        assert (await h.ended(job_id)).state.value == "failed"
        assert await h.balance() == (GRANT_MICRO, 0)
        assert await h.rows("SELECT state FROM submission") == [("ambiguous",)]
        await h.check()


@pytest.mark.parametrize(
    ("idempotency", "end", "submits"), [(NONE, "failed", 0), (KEY, "succeeded", 1), (LOOKUP, "succeeded", 0)]
)
async def test_a_submission_whose_owner_is_gone_is_treated_alike(home, idempotency, end, submits) -> None:
    fake = Fake(idempotency=idempotency, lookup=lambda call: pending())
    async with home(fake, works=False) as h:
        job_id = await h.send()
        await h.app.db.write(lambda tx: _as_left_by_a_dead_process(tx, job_id, h.clock.now_ms()))
        await h.app.runner.start(alone=False)
        try:
            assert (await h.ended(job_id)).state.value == end
        finally:
            await h.app.runner.stop(1)
        assert len(fake.submits) == submits


def _as_left_by_a_dead_process(tx, job_id, now_ms) -> None:
    row = {"id": job_id, "now_ms": now_ms}
    tx.execute(
        Sql(
            "UPDATE job SET state = 'submitting', attempt = 1, lease_by = 'dead', lease_n = 1, started_at_ms = :now_ms,"
            " next_at_ms = :now_ms WHERE id = :id"
        ),
        row,
    )
    tx.execute(
        Sql(
            "INSERT INTO submission (job_id, attempt, provider, upstream_model, state, cost_posted, created_at_ms)"
            " VALUES (:id, 1, 'a', 'fern-a', 'intent', 0, :now_ms)"
        ),
        row,
    )


async def until_asked_again(fake) -> None:
    from jobs.kit import until

    await until(lambda: len(fake.lookups) + len(fake.submits) > 1)
