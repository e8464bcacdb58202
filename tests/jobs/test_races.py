"""What happens at the wrong moment: a second cancel, one at the very end, a full house, a clock put back."""

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from msgspec.structs import replace

from calotype.db import Sql
from calotype.jobs import reconcile
from calotype.jobs.answers import MarkAnswered
from calotype.jobs.settle import Settle
from calotype.kernel.errors import Problem
from calotype.kernel.outcome import Failed, FailedKind
from calotype.media.inputs import StoredInput
from calotype.media.store import Ready
from calotype.providers.base import MediaInputs
from calotype.sandbox.upstream import picture_of
from jobs.kit import CARD, DONE, GRANT_MICRO, PRICE_MICRO, ROUTE, Fake, in_turn, pending, until

TAKEN_OVER = Sql("UPDATE job SET lease_n = lease_n + 1, lease_by = 'another'")


def forever(_: Any) -> Any:
    return asyncio.Event().wait()


class HeldAnswers:
    """Settlements are committed at once; whoever waits for one hears of it when told to."""

    def __init__(self, home: Any, monkeypatch: pytest.MonkeyPatch) -> None:
        self.committed: list[Settle] = []
        self.told = asyncio.Event()
        self._submit: Callable[[Any], Any] = home.app.db.submit
        self._tasks: list[asyncio.Task[Any]] = []
        monkeypatch.setattr(home.app.db, "submit", self._held)

    def _held(self, command: Any) -> Any:
        answer = self._submit(command)
        if not isinstance(command, Settle):
            return answer

        async def later() -> Any:
            verdict = await answer
            self.committed.append(command)
            await self.told.wait()
            return verdict

        task = asyncio.create_task(later())
        self._tasks.append(task)  # it goes on when its waiter is cancelled, as a write does
        return asyncio.shield(task)


async def test_a_result_that_is_being_settled_reaches_its_caller_although_somebody_cancels(home, monkeypatch) -> None:
    fake = Fake(cancellable=True)
    async with home(fake, phi=("a",)) as h:
        held = HeldAnswers(h, monkeypatch)
        call = asyncio.create_task(h.app.engine.run(h.ask(phi=True, at_once=True, inline=True)))
        await until(lambda: held.committed)
        h.app.runner.cancel_here(held.committed[0].job_id)
        held.told.set()
        view, _ = await call
        assert (view.state.value, [one.data for one in view.inline]) == ("succeeded", [picture_of("fern")])
        assert await h.balance() == (GRANT_MICRO - PRICE_MICRO, 0)
        await h.check()


async def test_a_second_cancel_does_not_break_the_first(home, monkeypatch) -> None:
    fake = Fake(submit=forever, cancellable=True)
    async with home(fake) as h:
        ends: list[str] = []
        monkeypatch.setattr(h.app.stepper._rows, "_on_end", lambda view, _: ends.append(view.state.value))
        held = HeldAnswers(h, monkeypatch)
        ticket = await h.app.engine.accept(h.ask(at_once=True))
        await until(lambda: fake.submits)
        assert h.app.runner.cancel_here(ticket.job.id)
        assert h.app.runner.cancel_here(ticket.job.id)
        await until(lambda: held.committed)
        assert h.app.runner.cancel_here(ticket.job.id)
        held.told.set()
        view = await ticket.task
        assert (view.state.value, ends) == ("canceled", ["canceled"])
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()


async def test_nothing_of_a_canceled_phi_request_stays_in_memory(home) -> None:
    busy = Failed(FailedKind.RETRY, "Busy.", retry_after_s=1)
    async with home(Fake(submit=lambda call: busy), phi=("a",)) as h:
        ticket = await h.app.engine.accept(h.ask("a secret", phi=True, at_once=True, inline=True))

        async def waits() -> bool:
            return await h.rows("SELECT state FROM submission") == [("rejected",)]

        await until(waits)
        assert (await h.app.engine.cancel(ticket.job.id, h.org.id)).word == "canceled"
        await until(lambda: not h.app.runner.active)
        assert h.app.stepper.payloads == {}
        await h.check()


async def test_nothing_of_a_phi_request_whose_lease_was_lost_stays_in_memory(home) -> None:
    fake = Fake(submit=forever)
    async with home(fake, phi=("a",)) as h:
        ticket = await h.app.engine.accept(h.ask("a secret", phi=True, at_once=True, inline=True))
        await until(lambda: fake.submits)
        await h.app.db.write(lambda tx: tx.execute(TAKEN_OVER))
        await until(ticket.task.done)
        assert h.app.stepper.payloads == {}


async def test_a_runner_with_its_hands_full_waits_for_room_and_does_not_spin(home, monkeypatch) -> None:
    gate = asyncio.Event()

    async def work(call):
        await gate.wait()
        return DONE

    fake = Fake(submit=work)
    async with home(fake, engine={"steps_in_progress": 1}) as h:
        first = await h.send("first")
        await until(lambda: fake.submits)
        looks = []
        real = h.app.runner._claim

        async def counted():
            looks.append(1)
            return await real()

        monkeypatch.setattr(h.app.runner, "_claim", counted)
        others = [await h.send(f"{n}") for n in range(3)]
        await asyncio.sleep(0.5)
        assert len(looks) < 10
        gate.set()
        for job_id in (first, *others):
            assert (await h.ended(job_id)).state.value == "succeeded"


async def test_a_job_ends_at_its_deadline_although_its_provider_breaks_when_asked_to_stop(home) -> None:
    fake = Fake(
        submit=lambda call: pending(), poll=lambda handle: pending(), cancel=lambda handle: ValueError("broken")
    )
    async with home(fake) as h:
        job_id = await h.send()
        await until(lambda: fake.polls)
        assert (await h.app.engine.cancel(job_id, h.org.id)).word == "requested"
        await until(lambda: fake.cancels)
        h.clock.ahead_ms += 4_000_000
        assert (await h.ended(job_id)).problem.code.value == "timeout"
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()


async def test_a_clock_that_is_put_back_lets_no_job_wait_until_it_has_come_round_again(home) -> None:
    done = asyncio.Event()
    fake = Fake(submit=lambda call: pending(), poll=lambda handle: DONE if done.is_set() else pending())
    async with home(fake) as h:
        job_id = await h.send()
        await until(lambda: fake.polls)
        h.clock.ahead_ms -= 3_600_000
        done.set()
        assert (await h.ended(job_id)).state.value == "succeeded"
        await h.check()


async def test_copies_of_inputs_are_gone_when_a_provider_that_takes_them_as_text_was_asked(home, monkeypatch) -> None:
    fake = Fake()
    fake.media_inputs = MediaInputs.DATA
    card = CARD.format(id="m", routes=ROUTE.format(name="a", kind="fake", micro=10_000)).replace(
        "properties = {", 'properties = { image_url = { "$ref" = "_shared.toml#/image_url" },'
    )
    async with home(fake, cards=card) as h:
        inputs, keys = h.app.stepper._inputs, []

        async def take(value: str, *, org_id: str, key_base: str, field: str) -> StoredInput:
            kept, _ = await h.app.store.put_prepared(lambda: Ready(f"{key_base}.png", picture_of("fern")))
            keys.append(kept.key)
            return StoredInput(kept.key, "image/png", kept.size_bytes)

        monkeypatch.setattr(inputs._inputs, "take", take)
        ask = h.ask()
        ask.generation.input["image_url"] = "https://example.org/fern.png"
        ticket = await h.app.engine.accept(ask)
        assert (await h.ended(ticket.job.id)).state.value == "succeeded"
        assert fake.submits[0].input["image_url"].startswith("data:image/png;base64,")
        assert [await h.app.store.stat(key) for key in keys] == [None]
        assert inputs._copies == {}


async def test_whoever_asked_for_pieces_and_never_listens_is_forgotten_at_the_end(home) -> None:
    fake = Fake(submit=in_turn(DONE, forever(None)), cancellable=True)
    async with home(fake) as h:
        done = await h.app.engine.accept(replace(h.ask(at_once=True), listen=True))
        await done.task
        stopped = await h.app.engine.accept(replace(h.ask(at_once=True), listen=True))
        await until(lambda: len(fake.submits) == 2)
        h.app.runner.cancel_here(stopped.job.id)
        assert (await stopped.task).state.value == "canceled"
        assert stopped.listener.end.state.value == "canceled"
        assert h.app.engine._feed._listeners == {}


async def test_a_phi_request_that_finds_too_many_writes_waiting_leaves_nothing_in_memory(home, monkeypatch) -> None:
    async with home(Fake(), phi=("a",)) as h:
        monkeypatch.setattr(h.app.db.writer, "_max_waiting", 0)
        with pytest.raises(Problem):
            await h.app.engine.accept(h.ask("a secret", phi=True, at_once=True, inline=True))
        monkeypatch.undo()
        assert h.app.stepper.payloads == {}


async def test_marks_are_written_on_after_one_that_broke(home, monkeypatch) -> None:
    async with home(Fake()) as h:
        real, broken = h.app.db.submit, []

        def submit(command: Any) -> Any:
            if isinstance(command, MarkAnswered) and not broken:
                broken.append(command)
                raise AssertionError("broken")
            return real(command)

        monkeypatch.setattr(h.app.db, "submit", submit)
        monkeypatch.setattr(reconcile, "BEAT_S", 3600)
        for prompt in ("first", "second"):
            _, ticket = await h.app.engine.run(h.ask(prompt, at_once=True, fingerprint=prompt))
            h.app.engine.answered(ticket, delivered=True)
            await until(lambda: broken)

        async def marked() -> bool:
            return await h.rows("SELECT answer FROM idempotency ORDER BY answer") == [("delivered",), ("open",)]

        await until(marked)
        assert not any(task.done() for task in h.app.reconciler._tasks)
