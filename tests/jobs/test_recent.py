"""What is kept in memory for a re-sent request goes by itself."""

import asyncio
from typing import Any

import pytest

from calotype.jobs import recent
from calotype.jobs.recent import Recent
from calotype.jobs.types import InlineOutput, JobView
from calotype.kernel.errors import Problem
from jobs.kit import DONE, GRANT_MICRO, PICTURE, PRICE_MICRO, Fake, until


async def ended(home: Any) -> JobView:
    """Return the view of a job whose picture is nowhere but in it."""
    async with home(Fake(), phi=("a",)) as h:
        view: JobView = await (await h.app.engine.accept(h.ask(phi=True, at_once=True, inline=True))).task
    assert view.inline
    return view


async def test_what_was_answered_is_dropped_when_its_time_is_over_though_nobody_asks(home, monkeypatch) -> None:
    view = await ended(home)
    monkeypatch.setattr(recent, "KEPT_MS", 50)
    kept = Recent()
    kept.put(view)
    assert kept.get(view.id) is view
    await until(lambda: not kept._kept)
    assert (kept.get(view.id), kept._bytes, kept._timer) == (None, 0, None)
    kept.put(view)
    await until(lambda: not kept._kept)


async def test_the_oldest_goes_first_and_the_others_keep_their_time(home, monkeypatch) -> None:
    first, second = await ended(home), await ended(home)
    kept = Recent()
    monkeypatch.setattr(recent, "KEPT_MS", 50)
    kept.put(first)
    monkeypatch.setattr(recent, "KEPT_MS", 600_000)
    kept.put(second)
    await until(lambda: kept.get(first.id) is None)
    assert kept.get(second.id) is second
    assert kept._timer is not None
    kept._timer.cancel()


@pytest.mark.parametrize("bound", ["MOST", "MOST_BYTES"])
async def test_no_more_is_kept_than_the_bounds_say(home, monkeypatch, bound: str) -> None:
    views = [await ended(home) for _ in range(3)]
    for view in views:
        view.inline = (InlineOutput("image/png", data=b"x" * 100_000),)
    monkeypatch.setattr(recent, bound, {"MOST": 2, "MOST_BYTES": 250_000}[bound])
    kept = Recent()
    for view in views:
        kept.put(view)
    assert [kept.get(view.id) is view for view in views] == [False, True, True]
    assert kept._timer is not None
    kept._timer.cancel()


@pytest.mark.parametrize("how", ["hung up", "hung up at once", "out of patience"])
async def test_a_caller_who_left_before_the_end_gets_a_phi_result_when_it_asks_again(home, monkeypatch, how) -> None:
    gate = asyncio.Event()

    async def slow(call):
        await gate.wait()
        return DONE

    async with home(Fake(submit=slow), phi=("a",)) as h:
        ask = h.ask(phi=True, at_once=True, inline=True, fingerprint="f", retry=True)
        if how != "out of patience":
            call = asyncio.create_task(h.app.engine.run(ask))
            await (until(lambda: h.app.runner.active) if how == "hung up" else asyncio.sleep(0))
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        else:
            monkeypatch.setattr(h.app.engine, "_limits", h.app.settings.limits.model_copy(update={"max_wait_s": 0.01}))
            with pytest.raises(Problem):
                await h.app.engine.run(ask)
            monkeypatch.undo()
        await until(lambda: h.app.runner.active)
        gate.set()
        view, ticket = await h.app.engine.run(ask)
        assert ticket.joined
        assert [one.data for one in view.inline] == [PICTURE.data]
        assert await h.balance() == (GRANT_MICRO - PRICE_MICRO, 0)
