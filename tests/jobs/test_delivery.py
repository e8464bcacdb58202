"""From outputs to a charge: what is stored is what is paid for."""

import asyncio

import pytest

from calotype.kernel.errors import Code, Problem
from calotype.kernel.outcome import Cost, Output, Pending, Succeeded
from calotype.sandbox.upstream import Emulator, picture_of
from jobs.kit import DONE, GRANT_MICRO, PICTURE, PRICE_MICRO, Fake, until

BROKEN = Output(base64=b"!!!not base64!!!", content_type="image/png")


@pytest.fixture
async def emulator():
    emulator = Emulator()
    await emulator.start()
    yield emulator
    await emulator.stop()


async def test_a_partial_delivery_is_charged_for_what_was_stored(home) -> None:
    fake = Fake(submit=lambda call: Succeeded((PICTURE, BROKEN, PICTURE)))
    async with home(fake) as h:
        view = await h.ended(await h.send(n=3))
        assert view.state.value == "succeeded"
        assert view.job.charged_micro == 2 * PRICE_MICRO
        assert [one.n for one in view.artifacts] == [0, 2]
        assert "1 of 3" in view.warnings[0]
        assert await h.balance() == (GRANT_MICRO - 2 * PRICE_MICRO, 0)
        await h.check()


async def test_a_delivery_of_nothing_fails_and_is_refunded(home) -> None:
    async with home(Fake(submit=lambda call: Succeeded((BROKEN,)))) as h:
        view = await h.ended(await h.send())
        assert (view.state.value, view.artifacts) == ("failed", ())
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()


async def test_an_answer_without_the_picture_that_was_asked_for_is_no_delivery(home) -> None:
    async with home(Fake(submit=lambda call: Succeeded(data={"images": [], "prompt": "a fox"}))) as h:
        view = await h.ended(await h.send())
        assert (view.state.value, view.problem.code) == ("failed", Code.UPSTREAM_FAILED)
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()


async def test_more_than_was_paid_for_is_never_charged(home) -> None:
    async with home(Fake(submit=lambda call: Succeeded((PICTURE, PICTURE, PICTURE)))) as h:
        view = await h.ended(await h.send(n=1))
        assert view.job.charged_micro == PRICE_MICRO
        await h.check()


async def test_with_rehosting_off_the_upstreams_url_is_passed_on_and_charged(home, emulator) -> None:
    url = f"{emulator.url}/files/fern.png"
    async with home(Fake(submit=lambda call: Succeeded((Output(url=url),))), media={"rehost": "off"}) as h:
        view = await h.ended(await h.send())
        assert (view.artifacts[0].stored, view.artifacts[0].url) == (False, url)
        assert await h.balance() == (GRANT_MICRO - PRICE_MICRO, 0)
        await h.check()


async def test_a_full_store_holds_a_result_up_and_loses_nothing(home, monkeypatch) -> None:
    from calotype.media.store import StoreFull

    async with home(Fake()) as h:
        real, refused = h.app.store.put_prepared, asyncio.Event()

        async def full(prepare, **how):
            if not refused.is_set():
                refused.set()
                raise StoreFull("The media store is full.")
            return await real(prepare, **how)

        monkeypatch.setattr(h.app.store, "put_prepared", full)
        view = await h.ended(await h.send())
        assert refused.is_set()
        assert view.state.value == "succeeded"
        assert h.app.store.path_of(view.artifacts[0].key).read_bytes() == picture_of("fern")
        await h.check()


async def test_a_result_that_could_not_be_stored_at_first_and_turns_out_broken_is_not_a_success(
    home, monkeypatch
) -> None:
    from calotype.media.store import StoreFull

    async with home(Fake(submit=lambda call: Succeeded((BROKEN,)))) as h:
        real, refused = h.app.store.put_prepared, asyncio.Event()

        async def full(prepare, **how):
            if not refused.is_set():
                refused.set()
                raise StoreFull("The media store is full.")
            return await real(prepare, **how)

        monkeypatch.setattr(h.app.store, "put_prepared", full)
        view = await h.ended(await h.send())
        assert (view.state.value, view.artifacts) == ("failed", ())
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()


async def test_a_result_outlives_a_database_that_cannot_write_for_a_moment(home, emulator, monkeypatch) -> None:
    away = Problem(Code.UNAVAILABLE, "The server cannot write to its database right now; nothing was changed.")
    url = f"{emulator.url}/files/fern.png"
    async with home(Fake(submit=lambda call: Succeeded((Output(url=url),)))) as h:
        h.app._guards["a"]._allowed = frozenset({"127.0.0.1"})
        job_id, real, refused = None, h.app.db.submit, []

        def submit(command):
            name = type(command).__name__
            if name in ("Move", "Settle") and refused.count(name) < 2:
                refused.append(name)
                future = asyncio.get_running_loop().create_future()
                future.set_exception(away)
                return future
            return real(command)

        monkeypatch.setattr(h.app.db, "submit", submit)
        job_id = await h.send()
        assert (await h.ended(job_id)).state.value == "succeeded"
        assert sorted(refused) == ["Move", "Move", "Settle", "Settle"]
        assert await h.balance() == (GRANT_MICRO - PRICE_MICRO, 0)
        await h.check()


async def test_what_the_upstream_bills_is_posted_once(home) -> None:
    async with home(Fake(submit=lambda call: Succeeded((PICTURE,), cost=Cost(micro=7_000, source="response")))) as h:
        await h.ended(await h.send("one"))
        await h.ended(await h.send("two"))
        await asyncio.gather(*(h.app.reconciler.tick() for _ in range(4)))
        rows = await h.rows(
            "SELECT e.account_id, SUM(e.amount_micro) FROM entry e JOIN journal j ON j.id = e.journal_id"
            " WHERE j.kind = 'provider-cost' GROUP BY e.account_id ORDER BY e.account_id"
        )
        assert [(name, int(total)) for name, total in rows] == [
            ("house/payable", 14_000), ("house/provider-cost", -14_000),
        ]  # fmt: skip
        await h.check()


async def test_an_end_leaves_one_row_in_the_outbox(home) -> None:
    from calotype.kernel.generation import WebhookTarget

    async with home(Fake()) as h:
        job_id = await h.send(webhook=WebhookTarget("https://example.com/hook"))
        await h.ended(job_id)
        rows = await h.rows("SELECT job_id, type, url FROM outbox")
        assert rows == [(job_id, "job.succeeded", "https://example.com/hook")]
        await h.check()


async def test_progress_is_seen_while_the_work_goes_on(home) -> None:
    gate = asyncio.Event()

    async def slow(call):
        await gate.wait()
        return DONE

    fake = Fake(submit=slow)
    async with home(fake) as h:
        job_id = await h.send()
        await until(lambda: fake.submits)
        fake.on_progress(0.42)
        assert (await h.app.engine.get(job_id, h.org.id)).job.progress == 42

        async def written() -> bool:
            return await h.rows("SELECT progress FROM job") == [(42,)]

        await until(written)
        gate.set()
        assert (await h.ended(job_id)).job.progress == 100


async def test_a_lease_is_kept_while_a_step_takes_longer_than_it_lasts(home) -> None:
    async def slow(call):
        await asyncio.sleep(2.5)
        return DONE

    fake = Fake(submit=slow)
    async with home(fake) as h:
        view = await h.ended(await h.send())
        assert (view.state.value, view.job.lease_n, len(fake.submits)) == ("succeeded", 1, 1)
        await h.check()


async def test_a_process_that_slept_past_its_lease_alone_goes_on_with_its_work(home) -> None:
    gate = asyncio.Event()

    async def slow(call):
        await gate.wait()
        return DONE

    fake = Fake(submit=slow)
    async with home(fake) as h:
        job_id = await h.send()
        await until(lambda: fake.submits)
        h.clock.ahead_ms += 5_000  # as if the machine had slept
        await h.app.runner._claim()
        assert await h.rows("SELECT lease_n FROM job") == [(2,)]
        gate.set()
        assert (await h.ended(job_id)).state.value == "succeeded"
        assert len(fake.submits) == 1
        await h.check()


async def test_counts_that_no_upstream_can_mean_are_bounded(home) -> None:
    said = {"input_tokens": 10**30, "output_tokens": -(10**30)}
    async with home(Fake(submit=lambda call: Succeeded((PICTURE,), usage=said))) as h:
        view = await h.ended(await h.send())
        assert view.job.result.usage == {"input_tokens": 10**12, "output_tokens": 0}
        await h.check()


async def test_a_progress_beyond_all_bounds_ends_no_job(home) -> None:
    looks = iter((Pending({"id": "1"}, progress=1e308), Pending({"id": "1"}, progress=-1e308), DONE))
    fake = Fake(submit=lambda call: Pending({"id": "1"}), poll=lambda handle: next(looks))
    async with home(fake) as h:
        assert (await h.ended(await h.send())).state.value == "succeeded"
        assert len(fake.polls) == 3
