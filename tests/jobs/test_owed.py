"""What was charged and is in memory alone is given back when its process ends before the caller has it."""

import asyncio
import base64

import pytest
from msgspec.structs import replace

from calotype.db import Sql
from calotype.jobs.owed import Revoke, lost_alone
from calotype.kernel.errors import Code
from calotype.kernel.generation import Generation, Operation
from calotype.kernel.outcome import Output, Succeeded
from calotype.sandbox.upstream import picture_of
from jobs.kit import DONE, GRANT_MICRO, PRICE_MICRO, Fake, at_home, until

PICTURE = picture_of("lung")
INLINE = Succeeded((Output(base64=base64.b64encode(PICTURE), content_type="image/png"),))
DEBTS = "SELECT COUNT(*) FROM job WHERE owed_by IS NOT NULL"
KINDS = "SELECT kind FROM journal WHERE job_id IS NOT NULL ORDER BY id"
SPENT = "SELECT spent_micro FROM budget"
PAID = (GRANT_MICRO - PRICE_MICRO, 0)


def provider() -> Fake:
    return Fake(submit=lambda call: INLINE)


async def made(h, **how):
    """Send a PHI request, see it made and charged, and do not answer it yet."""
    ticket = await h.app.engine.accept(h.ask(phi=True, at_once=True, inline=True, **{"fingerprint": "f"} | how))
    assert (await h.app.engine.end_of(ticket)).state.value == "succeeded"
    assert await h.balance() == PAID
    assert await h.rows(DEBTS) == [(1,)]
    await h.check()
    return ticket


@pytest.mark.parametrize("again", [{"fingerprint": "f", "retry": True}, {"fingerprint": "f", "idempotency_key": "k"}])
async def test_a_result_that_died_with_its_server_is_given_back_and_made_anew(url, tmp_path, again) -> None:
    async with at_home(url, tmp_path, provider(), phi=("a",)) as h:
        lost = await made(h, **{name: value for name, value in again.items() if name != "retry"})
    async with at_home(url, tmp_path, provider(), phi=("a",)) as h:
        view = await h.app.engine.get(lost.job.id, h.org.id)
        assert (view.state.value, view.job.charged_micro, view.problem.code) == ("failed", 0, Code.UNAVAILABLE)
        assert await h.balance() == (GRANT_MICRO, 0)
        assert await h.rows(KINDS) == [("capture",), ("reversal",)]
        assert await h.rows(SPENT) == [(0,)]
        await h.check()
        ticket = await h.app.engine.accept(h.ask(phi=True, at_once=True, inline=True, **again))
        assert not ticket.joined
        assert (await h.app.engine.end_of(ticket)).inline[0].base64 == base64.b64encode(PICTURE)
        h.app.engine.answered(ticket, delivered=True)
        assert await h.balance() == PAID
        await h.check()


async def test_an_answer_that_went_out_whole_stays_paid(url, tmp_path) -> None:
    async with at_home(url, tmp_path, provider(), phi=("a",)) as h:
        ticket = await made(h)
        h.app.engine.answered(ticket, delivered=True)
        await until(lambda: _none_owed(h))
    async with at_home(url, tmp_path, provider(), phi=("a",)) as h:
        assert await h.state(ticket.job.id) == "succeeded"
        assert await h.balance() == PAID
        await h.check()


async def test_a_caller_who_left_and_came_back_within_the_minute_pays_once(url, tmp_path) -> None:
    async with at_home(url, tmp_path, provider(), phi=("a",)) as h:
        ticket = await made(h)
        h.app.engine.answered(ticket, delivered=False)
        again = await h.app.engine.accept(h.ask(phi=True, at_once=True, inline=True, fingerprint="f", retry=True))
        assert again.joined
        assert (await h.app.engine.end_of(again)).inline[0].base64 == base64.b64encode(PICTURE)
        h.app.engine.answered(again, delivered=True)
        await until(lambda: _none_owed(h))
        assert await h.balance() == PAID
        await h.check()


async def test_a_caller_who_does_not_come_back_has_paid_after_a_minute(url, tmp_path) -> None:
    async with at_home(url, tmp_path, provider(), phi=("a",)) as h:
        ticket = await made(h)
        h.app.engine.answered(ticket, delivered=False)
        await h.app.reconciler.tick()
        assert await h.rows(DEBTS) == [(1,)]
        h.clock.ahead_ms += 61_000
        await h.app.reconciler.tick()
        assert await h.rows(DEBTS) == [(0,)]
    async with at_home(url, tmp_path, provider(), phi=("a",)) as h:
        assert await h.balance() == PAID
        await h.check()


async def test_words_of_phi_wait_a_minute_for_a_caller_who_comes_back_too(url, tmp_path) -> None:
    fake = Fake(submit=lambda call: Succeeded((), data={"text": "the left lung"}))
    cards = (
        '[[cards]]\nid = "m"\ntitle = "Words"\noperation = "chat"\noutput = "text"\nexample = { prompt = "x" }\n'
        'routes = [{ provider = "a", kind = "fake", upstream = "w", cost = { unit = "request", micro = 10000 },'
        ' cost_source = "tests" }]\n[cards.input]\nrequired = ["prompt"]\n'
        'properties = { prompt = { type = "string" }, n = { type = "integer", default = 1 } }\n'
    )
    async with at_home(url, tmp_path, fake, phi=("a",), cards=cards) as h:
        how = {"phi": True, "at_once": True, "inline": True, "fingerprint": "f"}
        ticket = await h.app.engine.accept(_chat(h.ask(**how)))
        assert (await h.app.engine.end_of(ticket)).job.result.data == {"text": "the left lung"}
        assert await h.rows(DEBTS) == [(1,)]
        h.app.engine.answered(ticket, delivered=False)
        again = await h.app.engine.accept(_chat(h.ask(**how, retry=True)))
        assert again.joined
        assert (await h.app.engine.end_of(again)).job.result.data == {"text": "the left lung"}
        await h.check()


async def test_what_is_stored_or_free_is_owed_by_nobody(url, tmp_path) -> None:
    async with at_home(url, tmp_path, Fake(submit=lambda call: DONE)) as h:
        assert (await h.ended(await h.send())).state.value == "succeeded"
        assert await h.rows(DEBTS) == [(0,)]
        await h.check()


async def test_two_servers_that_find_the_same_debt_give_it_back_once(url, tmp_path) -> None:
    async with at_home(url, tmp_path, provider(), phi=("a",)) as h:
        ticket = await made(h)
        now_ms = h.clock.now_ms()
        (found,) = await h.app.db.read(lambda tx: lost_alone(tx, "another", now_ms))
        assert (found.job_id, found.owed_by) == (ticket.job.id, h.app.instance)
        assert sorted(await asyncio.gather(h.app.db.submit(found), h.app.db.submit(found))) == [False, True]
        assert await h.app.db.submit(found) is False
        assert await h.balance() == (GRANT_MICRO, 0)
        h.app.engine.answered(ticket, delivered=True)  # too late: the gift stays a gift
        await h.app.reconciler.tick()
        assert await h.state(ticket.job.id) == "failed"
        await h.check()


async def test_a_row_that_breaks_a_rule_stops_neither_the_start_nor_the_rows_beside_it(url, tmp_path) -> None:
    async with at_home(url, tmp_path, provider(), phi=("a",)) as h:
        good = await made(h)
        bad = await h.send("another")
        assert (await h.ended(bad)).state.value == "succeeded"
        wrong = Sql("UPDATE job SET owed_by = 'gone', charged_micro = 7 WHERE id = :id")
        await h.app.db.write(lambda tx: tx.execute(wrong, {"id": bad}))
    async with at_home(url, tmp_path, provider(), phi=("a",)) as h:
        assert await h.state(good.job.id) == "failed"
        assert await h.state(bad) == "succeeded"


async def test_a_debt_of_somebody_else_is_not_touched(url, tmp_path) -> None:
    async with at_home(url, tmp_path, provider(), phi=("a",)) as h:
        ticket = await made(h)
        wrong = Revoke(ticket.job.id, ticket.job.org_id, ticket.job.key_id, "another", h.clock.now_ms())
        assert await h.app.db.submit(wrong) is False
        assert await h.balance() == PAID
        await h.check()


async def test_a_server_that_has_been_silent_too_long_is_taken_for_dead(url, tmp_path, store) -> None:
    if store == "sqlite":
        pytest.skip("SQLite has one process")
    async with (
        at_home(url, tmp_path, provider(), phi=("a",)) as h,
        at_home(url, tmp_path, provider(), phi=("a",), name="other") as other,
    ):
        ticket = await made(h)
        await other.app.reconciler.tick()
        assert await h.balance() == PAID
        other.clock.ahead_ms += 20_000
        await other.app.reconciler.tick()
        assert await h.balance() == (GRANT_MICRO, 0)
        assert await h.state(ticket.job.id) == "failed"
        await h.check()


async def test_bytes_are_passed_on_also_to_a_caller_whose_job_had_to_queue(url, tmp_path) -> None:
    accepted = asyncio.Event()

    async def made_later(call):
        await accepted.wait()
        return INLINE

    fake = Fake(submit=made_later, max_in_progress=1)
    async with at_home(url, tmp_path, fake, media={"rehost": "off"}) as h:
        asks = [h.ask(at_once=True, inline=True, fingerprint=str(n)) for n in range(3)]
        tickets = [await h.app.engine.accept(ask) for ask in asks]
        assert [ticket.task is None for ticket in tickets] == [False, True, True]
        accepted.set()
        views = await asyncio.gather(*(h.app.engine.end_of(ticket) for ticket in tickets))
        assert [view.inline[0].base64 for view in views] == [base64.b64encode(PICTURE)] * 3
        assert all(view.artifacts == () for view in views)
        await h.check()


async def test_bytes_that_nobody_waits_for_are_stored(url, tmp_path) -> None:
    async with at_home(url, tmp_path, provider(), media={"rehost": "off"}, works=False) as h:
        ticket = await h.app.engine.accept(h.ask(at_once=False, inline=True, fingerprint="f"))
    async with at_home(url, tmp_path, provider(), media={"rehost": "off"}) as h:
        view = await h.ended(ticket.job.id)
        assert (view.state.value, len(view.artifacts)) == ("succeeded", 1)
        assert await h.rows(DEBTS) == [(0,)]
        await h.check()


async def _none_owed(h) -> bool:
    return await h.rows(DEBTS) == [(0,)]


def _chat(ask):
    return replace(ask, operation=Operation.CHAT, generation=Generation(Operation.CHAT, "m", ask.generation.input))
