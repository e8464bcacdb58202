"""A request sent again is joined to its job, not repeated (the surface contract, §6)."""

import asyncio

import pytest

from calotype.jobs.answers import Answered, MarkAnswered
from calotype.kernel.errors import Code, Problem
from calotype.kernel.outcome import Failed, FailedKind
from jobs.kit import DONE, Fake

MINUTE_MS = 60_000
REFUSES = Failed(FailedKind.INVALID, "No.")


async def mark(home, fingerprint, job_id, delivered) -> None:
    memory = f"{home.org.id}/fp/{fingerprint}"
    await home.app.db.submit(MarkAnswered((Answered(memory, job_id, delivered),), home.clock.now_ms()))


@pytest.mark.parametrize("refused", [False, True], ids=["succeeded", "failed"])
async def test_the_same_key_and_body_join_however_the_job_ended(home, refused) -> None:
    async with home(Fake(submit=lambda call: REFUSES if refused else DONE)) as h:
        first = await h.send(idempotency_key="k", fingerprint="f")
        await h.ended(first)
        assert await h.send(idempotency_key="k", fingerprint="f") == first
        assert len(await h.rows("SELECT id FROM job")) == 1
        await h.check()


async def test_the_same_key_with_another_body_is_refused(home) -> None:
    async with home(Fake(), works=False) as h:
        await h.send(idempotency_key="k", fingerprint="f")
        with pytest.raises(Problem) as refusal:
            await h.send("another", idempotency_key="k", fingerprint="g")
        assert refusal.value.code is Code.IDEMPOTENCY_MISMATCH
        assert len(await h.rows("SELECT id FROM hold")) == 1
        await h.check()


async def test_a_key_is_forgotten_after_a_day(home) -> None:
    async with home(Fake(), works=False) as h:
        first = await h.send(idempotency_key="k", fingerprint="f")
        h.clock.ahead_ms += 24 * 60 * MINUTE_MS
        assert await h.send(idempotency_key="k", fingerprint="g") != first
        await h.check()


async def test_another_organisation_has_keys_of_its_own(home) -> None:
    async with home(Fake(), works=False) as h:
        org, key = await h.tenant("other")
        first = await h.send(idempotency_key="k", fingerprint="f")
        assert await h.send(idempotency_key="k", fingerprint="f", org=org, key=key) != first


async def test_many_senders_of_one_key_get_one_job(home) -> None:
    fake = Fake()
    async with home(fake) as h:
        ids = await asyncio.gather(*(h.send(idempotency_key="k", fingerprint="f") for _ in range(40)))
        assert len(set(ids)) == 1
        await h.ended(ids[0])
        assert len(fake.submits) == 1
        await h.check()


async def test_a_retry_joins_while_the_job_runs_and_after_it_succeeded(home) -> None:
    async with home(Fake()) as h:
        first = await h.send(fingerprint="f")
        assert await h.send(fingerprint="f", retry=True) == first
        await h.ended(first)
        await mark(h, "f", first, delivered=True)
        assert await h.send(fingerprint="f", retry=True) == first


async def test_a_retry_does_not_join_what_came_to_nothing(home) -> None:
    async with home(Fake(submit=lambda call: REFUSES)) as h:
        first = await h.send(fingerprint="f")
        await h.ended(first)
        assert await h.send(fingerprint="f", retry=True) != first


async def test_a_retry_does_not_join_what_was_canceled(home) -> None:
    async with home(Fake(), works=False) as h:
        first = await h.send(fingerprint="f")
        assert (await h.app.engine.cancel(first, h.org.id)).word == "canceled"
        assert await h.send(fingerprint="f", retry=True) != first


async def test_a_retry_of_more_than_ten_minutes_later_is_a_new_request(home) -> None:
    async with home(Fake(), works=False) as h:
        first = await h.send(fingerprint="f")
        h.clock.ahead_ms += 10 * MINUTE_MS
        assert await h.send(fingerprint="f", retry=True) != first


@pytest.mark.parametrize(
    ("answer", "later_ms", "joins"),
    [("broken", 0, True), ("broken", 59_000, True), ("broken", 61_000, False), ("delivered", 0, False)],
)
async def test_without_a_word_only_an_answer_cut_off_a_minute_ago_at_most_is_joined(
    home, answer, later_ms, joins
) -> None:
    async with home(Fake(), works=False) as h:
        first = await h.send(fingerprint="f")
        await mark(h, "f", first, delivered=answer == "delivered")
        h.clock.ahead_ms += later_ms
        assert (await h.send(fingerprint="f") == first) is joins
        await h.check()


async def test_the_same_request_beside_one_that_is_being_answered_is_another_job(home) -> None:
    async with home(Fake(), works=False) as h:
        assert await h.send(fingerprint="f") != await h.send(fingerprint="f")


async def test_a_key_wins_over_the_fingerprint(home) -> None:
    async with home(Fake(), works=False) as h:
        plain = await h.send(fingerprint="f")
        keyed = await h.send(fingerprint="f", idempotency_key="k", retry=True)
        assert keyed != plain
        assert await h.send(fingerprint="f", idempotency_key="k") == keyed
