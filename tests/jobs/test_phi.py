"""PHI jobs keep no payload: not in a table, a log or a file, and nobody else can take them over."""

import asyncio
import base64

import pytest
from msgspec.structs import replace

from calotype.db import Sql, Store
from calotype.kernel.errors import Code, Problem
from calotype.kernel.outcome import Failed, FailedKind, Output, Pending, Succeeded
from calotype.sandbox.upstream import picture_of
from jobs.kit import GRANT_MICRO, PRICE_MICRO, Fake, at_home, until

SECRET = "Mrs Fernworthy's left lung"
PICTURE = picture_of("lung")
ANSWER = Succeeded(
    (Output(base64=base64.b64encode(PICTURE), content_type="image/png", text=f"revised: {SECRET}"),),
    data={"seen": SECRET}, warnings=(f"about {SECRET}",),
)  # fmt: skip


async def everything(h) -> str:
    """Return every value of every table, and the content of every file of the installation, as one text."""

    def dump(tx) -> str:
        names = Sql(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
            if tx.store is Store.SQLITE
            else "SELECT table_name FROM information_schema.tables WHERE table_schema = 'public'"
        )
        return "".join(str(tx.rows(Sql(f"SELECT * FROM {name}"))) for (name,) in tx.rows(names))

    text = await h.app.db.read(dump)
    for path in h.app.settings.data_dir.parent.rglob("*"):
        if path.is_file():
            text += path.read_bytes().decode("latin-1")
    return text


async def send_phi(h, **how):
    return await h.app.engine.accept(h.ask(SECRET, phi=True, at_once=True, inline=True, fingerprint="f", **how))


def is_clean(text: str, logs) -> bool:
    traces = (SECRET, SECRET.partition(" ")[2], base64.b64encode(PICTURE).decode(), PICTURE.decode("latin-1"))
    return not any(trace in text or trace in str(logs) for trace in traces)


async def test_nothing_of_a_phi_request_or_its_result_is_left_anywhere(home, logs) -> None:
    async with home(Fake(submit=lambda call: ANSWER), phi=("a",)) as h:
        ticket = await send_phi(h)
        view = await ticket.task
        assert view.inline[0].base64 == base64.b64encode(PICTURE)
        assert view.job.result.texts == (f"revised: {SECRET}",)
        assert await h.balance() == (GRANT_MICRO - PRICE_MICRO, 0)
        assert is_clean(await everything(h), logs)
        assert h.app.stepper.payloads == {}
        await h.check()


async def test_warnings_that_name_a_callers_own_field_are_told_and_not_kept(home, logs) -> None:
    async with home(Fake(submit=lambda call: ANSWER), phi=("a",)) as h:
        ask = h.ask("x", phi=True, at_once=True, inline=True, fingerprint="f")
        told = replace(ask.context, warnings=(f"{SECRET} has no effect on this model",))
        view = await (await h.app.engine.accept(replace(ask, context=told))).task
        assert SECRET in view.warnings[0]
        assert is_clean(await everything(h), logs)


async def test_a_failure_that_quotes_the_request_is_kept_by_its_kind_alone(home, logs) -> None:
    refused = Failed(FailedKind.INVALID, "No.", detail=f"bad prompt: {SECRET}")
    async with home(Fake(submit=lambda call: refused), phi=("a",)) as h:
        view = await (await send_phi(h)).task
        assert view.state.value == "failed"
        assert is_clean(await everything(h), logs)


async def test_an_adapter_that_breaks_leaves_nothing_in_the_log_and_the_job_ends(home, logs) -> None:
    def broken(call):
        raise ValueError(f"cannot encode {call.input}")

    async with home(Fake(submit=broken), phi=("a",)) as h:
        ticket = await send_phi(h)
        assert (await h.ended(ticket.job.id)).state.value == "failed"
        assert is_clean(await everything(h), logs)
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()


async def test_a_polled_phi_job_stays_with_its_process_while_another_looks_for_work(url, tmp_path, logs, store) -> None:
    if store == "sqlite":
        pytest.skip("SQLite has one process")
    left = [6]

    async def poll(handle):
        left[0] -= 1
        await asyncio.sleep(0.15)  # a poll takes its time, and the row must not be due meanwhile
        return Pending(handle={"note": SECRET}, poll_after_s=0.2) if left[0] else ANSWER

    fake = Fake(submit=lambda call: Pending(handle={"note": SECRET}, poll_after_s=0.2), poll=poll)
    async with (
        at_home(url, tmp_path, fake, phi=("a",)) as h,
        at_home(url, tmp_path, Fake(), phi=("a",), name="other") as other,
    ):
        ticket = await send_phi(h)
        while not ticket.task.done():
            await other.app.runner._claim()
            await asyncio.sleep(0.01)
        assert ticket.task.result().state.value == "succeeded"
        await h.check()


async def test_a_phi_job_whose_process_died_fails_and_is_refunded(url, tmp_path) -> None:
    async def forever(call):
        await asyncio.Event().wait()

    fake = Fake(submit=forever)
    async with at_home(url, tmp_path, fake, phi=("a",)) as h:
        ticket = await send_phi(h)
        await until(lambda: fake.submits)
        h.app.stepper.payloads.clear()
        ticket.task.cancel()
    async with at_home(url, tmp_path, Fake(), phi=("a",)) as h:
        view = await h.ended(ticket.job.id)
        assert (view.state.value, view.problem.code) == ("failed", Code.UNAVAILABLE)
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()


async def test_a_phi_job_ends_although_the_database_was_away_in_the_middle_of_it(home, monkeypatch) -> None:
    away = Problem(Code.UNAVAILABLE, "The database is not reachable right now; nothing was changed.")
    fake = Fake(submit=lambda call: Failed(FailedKind.RETRY, "Busy.", retry_after_s=0.2))
    async with home(fake, phi=("a",)) as h:
        real, refused = h.app.db.submit, []

        def submit(command):
            if type(command).__name__ == "Begin" and len(refused) < 2:
                refused.append(command)
                future = asyncio.get_running_loop().create_future()
                future.set_exception(away)
                return future
            return real(command)

        monkeypatch.setattr(h.app.db, "submit", submit)
        ticket = await send_phi(h)
        assert (await h.ended(ticket.job.id)).state.value == "failed"
        assert len(refused) == 2
        assert await h.balance() == (GRANT_MICRO, 0)
        await h.check()
