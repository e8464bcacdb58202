"""How much the runner takes in hand: what is due has room of its own beside the calls that callers wait for."""

import asyncio

from jobs.kit import DONE, Fake


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
