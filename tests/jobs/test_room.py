"""How much the runner takes in hand: what is due has room of its own beside the calls that callers wait for."""

import asyncio

from jobs.kit import DONE, Fake, pending, until


async def test_calls_that_callers_wait_for_leave_room_for_what_is_due(home) -> None:
    gate = asyncio.Event()

    async def work(call):
        if call.input["prompt"] != "queued":
            await gate.wait()
        return DONE

    async with home(Fake(submit=work), engine={"steps_in_progress": 2}) as h:
        tickets = [await h.app.engine.accept(h.ask(f"call {n}", at_once=True)) for n in range(3)]
        assert all(ticket.task is not None for ticket in tickets)
        assert (await h.ended(await h.send("queued"), 5)).state.value == "succeeded"
        gate.set()
        for ticket in tickets:
            assert (await h.ended(ticket.job.id)).state.value == "succeeded"


async def test_what_is_due_is_taken_in_hand_only_as_far_as_there_is_room(home) -> None:
    now = {"busy": 0, "most": 0}

    async def work(call):
        now["busy"] += 1
        now["most"] = max(now["most"], now["busy"])
        await asyncio.sleep(0.02)
        now["busy"] -= 1
        return DONE

    async with home(Fake(submit=work), engine={"steps_in_progress": 2}) as h:
        for job_id in [await h.send(f"{n}") for n in range(8)]:
            assert (await h.ended(job_id)).state.value == "succeeded"
        assert now["most"] == 2
        await h.check()


async def test_calls_that_callers_wait_for_begin_no_more_than_their_provider_takes_at_once(home) -> None:
    done = asyncio.Event()
    fake = Fake(submit=lambda call: pending(), poll=lambda handle: DONE if done.is_set() else pending())
    fake.max_in_progress = 2
    async with home(fake) as h:
        calls = []
        for n in range(6):
            calls.append(asyncio.create_task(h.app.engine.run(h.ask(f"{n}", at_once=True))))
            await until(lambda n=n: len(h.app.runner.active) == 0 and len(fake.submits) >= min(2, n + 1))
        await until(lambda: len(fake.polls) > 20)
        assert len(fake.submits) == 2
        done.set()
        for view, _ in await asyncio.gather(*calls):
            assert view.state.value == "succeeded"
        assert len(fake.submits) == 6
        await h.check()


async def test_calls_that_end_at_once_make_room_for_the_next_without_a_look_at_the_queue(home, monkeypatch) -> None:
    fake = Fake()
    fake.max_in_progress = 2
    async with home(fake) as h:
        await until(lambda: h.app.runner.healthy_at_ms)
        for n in range(20):
            ticket = await h.app.engine.accept(h.ask(f"{n}", at_once=True))
            assert ticket.task is not None, n
            await ticket.task
