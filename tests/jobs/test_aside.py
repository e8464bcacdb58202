"""A result that is too large for its row lies beside it, and whoever looks finds it whole."""

import json
from typing import Any

from msgspec.structs import replace

from calotype.jobs.aside import MOST_ROW_BYTES
from calotype.jobs.forget import forget, forget_due
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Retention
from calotype.kernel.outcome import Succeeded
from calotype.media.sweep import sweep
from jobs.kit import GRANT_MICRO, PICTURE, PRICE_MICRO, Fake

RAW = {"pages": [{"image_base64": "A" * (2 * MOST_ROW_BYTES)}], "words": "ünïcode"}
LARGE = Succeeded((PICTURE,), data={"raw": RAW}, usage={"pages": 3}, warnings=("mind the gap",))
SMALL = Succeeded((PICTURE,), data={"raw": "A" * 1000})


def large() -> Fake:
    return Fake(submit=lambda call: LARGE)


async def rows(h: Any) -> list[tuple[str, int]]:
    """Return each job's result without its data, and how long it is in the row."""
    return [(row[0], len(row[0])) for row in await h.rows("SELECT result FROM job")]


async def files(h: Any) -> list[tuple[Any, ...]]:
    return await h.rows("SELECT purpose, filename FROM upload")


async def test_the_row_stays_small_and_everybody_who_looks_gets_the_whole_result(home) -> None:
    async with home(large()) as h:
        told = await h.app.engine.run(h.ask(at_once=True))
        assert told[0].job.result.data == {"raw": RAW}
        ((result, size),) = await rows(h)
        assert size < 1000
        assert json.loads(result)["usage"] == {"pages": 3}
        queued = await h.ended(await h.send())
        for view in (queued, await h.app.engine.get(told[0].id, h.org.id)):
            assert view.job.result == replace(told[0].job.result, texts=view.job.result.texts)
            assert view.warnings == ("mind the gap",)
            standing = await h.app.engine.get(view.id, h.org.id, whole=False)
            assert (standing.state.value, standing.job.result.data) == ("succeeded", {})
        assert await h.app.uploads.list(h.org.id) == []
        assert await h.balance() == (GRANT_MICRO - 2 * PRICE_MICRO, 0)
        await h.check()


async def test_it_is_still_there_after_a_restart(home) -> None:
    async with home(large()) as h:
        job_id = await h.send()
        await h.ended(job_id)
    async with home(large()) as h:
        assert (await h.app.engine.get(job_id, h.org.id)).job.result.data == {"raw": RAW}


async def test_a_result_that_fits_stays_in_its_row(home) -> None:
    async with home(Fake(submit=lambda call: SMALL)) as h:
        view = await h.ended(await h.send())
        assert view.job.result.data == SMALL.data
        assert await files(h) == []


async def test_nothing_of_a_large_phi_result_is_written_anywhere(home) -> None:
    async with home(large(), phi=("a",)) as h:
        view, _ = await h.app.engine.run(h.ask(phi=True, at_once=True, inline=True))
        assert view.job.result.data == {"raw": RAW}
        assert await files(h) == []
        assert json.loads((await rows(h))[0][0]).get("data", {}) == {}


async def test_what_is_forgotten_is_forgotten_with_its_file(home) -> None:
    async with home(large()) as h:
        job_id = await h.send()
        view = await h.ended(job_id)
        await forget(h.app.db, [job_id], h.clock.now_ms())
        assert (await h.app.engine.get(job_id, h.org.id)).job.result.forgotten
        await sweep(h.app.db, h.app.store, clock=h.clock)
        assert await files(h) == []
        assert [page async for page in h.app.store.scan()] == [[await h.app.store.stat(view.artifacts[0].key)]]


async def test_what_shall_not_be_kept_goes_within_the_hour(home) -> None:
    async with home(large()) as h:
        ask = h.ask()
        context = replace(ask.context, retention=Retention(store_payload=False))
        ticket = await h.app.engine.accept(replace(ask, context=context))
        assert (await h.ended(ticket.job.id)).job.result.data == {"raw": RAW}
        h.clock.ahead_ms += 3_700_000
        assert await forget_due(h.app.db, h.clock) == 1
        assert (await sweep(h.app.db, h.app.store, clock=h.clock)).uploads == 1
        assert (await h.app.engine.get(ticket.job.id, h.org.id)).job.result.forgotten


async def test_a_file_whose_time_is_over_is_a_result_that_is_forgotten(home) -> None:
    async with home(large()) as h:
        job_id = await h.send()
        await h.ended(job_id)
        h.clock.ahead_ms += (h.app.settings.media.retention_s + 1) * 1000
        result = (await h.app.engine.get(job_id, h.org.id)).job.result
        assert (result.forgotten, result.usage) == (True, {"pages": 3})


async def test_a_store_that_is_full_for_a_moment_costs_nothing_but_the_moment(home, monkeypatch) -> None:
    async with home(large()) as h:
        create, tried = h.app.aside._files.create, []

        async def full_once(*args: Any, **kwargs: Any) -> Any:
            tried.append(kwargs["filename"])
            if len(tried) == 1:
                raise Problem(Code.UNAVAILABLE, "The media store is full.", retry_after_s=0.05)
            return await create(*args, **kwargs)

        monkeypatch.setattr(h.app.aside._files, "create", full_once)
        view = await h.ended(await h.send())
        assert (view.state.value, view.job.result.data) == ("succeeded", {"raw": RAW})
        assert len(tried) == 2
        assert await h.balance() == (GRANT_MICRO - PRICE_MICRO, 0)
        await h.check()
