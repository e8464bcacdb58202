"""A caller who hangs up at any moment: its job ends once, is charged once, and leaves nothing behind."""

import asyncio
from typing import Any

import pytest
from msgspec.structs import replace

from calotype.kernel.outcome import Delta, Succeeded
from jobs.kit import GRANT_MICRO, PICTURE, PRICE_MICRO, Fake

MOMENTS = (0, 1, 2, 3, 4, 5, 6, 8, 10, 13, 17, 22, 30, 60, 120, 250)


class Showing(Fake):
    """A provider that shows a few pieces and gives up the loop between them."""

    async def submit(self, call: Any, on_commit: Any, on_progress: Any, on_delta: Any = None) -> Any:
        for n in range(3):
            on_progress(n / 3)
            if on_delta is not None:
                on_delta(Delta("chat", {"content": f"{n} "}))
            await asyncio.sleep(0)
        return await super().submit(call, on_commit, on_progress, on_delta)


async def answered(h: Any, ask: Any) -> None:
    await h.app.engine.run(ask)


async def followed(h: Any, ask: Any) -> None:
    ticket = await h.app.engine.accept(replace(ask, listen=True))
    async for _ in h.app.engine.follow(ticket):
        pass


def plain(h: Any, n: int) -> Any:
    return h.ask(f"{n}", at_once=True)


def queued(h: Any, n: int) -> Any:
    return h.ask(f"{n}")


def phi(h: Any, n: int) -> Any:
    return h.ask(f"{n}", phi=True, at_once=True, inline=True)


def fleeting(h: Any, n: int) -> Any:
    return replace(h.ask(f"{n}", at_once=True), wants={"fleeting": True, "inline": True})


@pytest.mark.parametrize("caller", [answered, followed])
@pytest.mark.parametrize("kind", [plain, queued, phi, fleeting])
async def test_hanging_up_at_any_moment_leaves_one_end_and_nothing_else(home, caller, kind) -> None:
    fake = Showing(submit=lambda call: Succeeded((replace(PICTURE),), data={"seen": call.input["prompt"]}))
    async with home(fake, phi=("a",)) as h:
        for n, turns in enumerate(MOMENTS):
            call = asyncio.create_task(caller(h, kind(h, n)))
            for _ in range(turns):
                await asyncio.sleep(0)
            call.cancel()
            await asyncio.gather(call, return_exceptions=True)
        await h.app.db.write(lambda tx: None)  # behind all that was accepted meanwhile
        for (job_id,) in await h.rows("SELECT id FROM job"):
            assert (await h.ended(job_id)).state.value == "succeeded"
        while h.app.runner.active:
            await asyncio.gather(*(one.task for one in h.app.runner.active.values()))
        ((jobs,),) = await h.rows("SELECT COUNT(*) FROM job")
        assert jobs == len(fake.submits) <= len(MOMENTS)
        assert await h.balance() == (GRANT_MICRO - jobs * PRICE_MICRO, 0)
        assert h.app.stepper.payloads == {} == h.app.stepper.progress
        assert h.app.engine._feed._listeners == {} == h.app.bus._waiting
        await h.check()
