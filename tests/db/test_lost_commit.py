"""A connection lost in COMMIT, and a server that crashes: every answer is exact, and nothing is applied twice."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any

import psycopg
import pytest
from commit_proxy import Cut, Proxy, Server, server_of_its_own
from notes import Note, ended, held, make_notes, notes_of, opened, postgres_of_notes

from calotype.db import Database, Sql
from calotype.kernel.errors import Code, Problem

NAMES = [f"n{n}" for n in range(8)]


@pytest.fixture
def url(postgres: str) -> Iterator[str]:
    with postgres_of_notes(postgres) as found:
        yield found


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    with Proxy(url) as found:
        yield found


@pytest.fixture(scope="module")
def crashing() -> Iterator[Server]:
    with server_of_its_own() as server:
        make_notes(server.url)
        yield server


async def reached(happened: Callable[[], Any], what: str) -> None:
    """Wait for something another thread or process does."""
    until = asyncio.get_running_loop().time() + 30
    while not happened():
        assert asyncio.get_running_loop().time() < until, f"{what} did not happen"
        await asyncio.sleep(0.01)


def waiting(db: Database) -> list[Any]:
    with held(db):
        return [db.submit(Note(name)) for name in NAMES]


@pytest.mark.parametrize("cut", Cut)
@pytest.mark.parametrize("first", [True, False], ids=["first-batch", "later-batch"])
async def test_a_commit_without_an_answer_is_found_out_and_applied_once(
    url: str, proxy: Proxy, cut: Cut, first: bool
) -> None:
    async with opened(proxy.url) as db:
        if not first:
            await db.submit(Note("earlier"))
        proxy.arm(cut)
        assert await ended([db.submit(Note("alone"))]) == ["wrote alone"]
        assert proxy.cut.is_set()
        assert await ended(waiting(db)) == [f"wrote {name}" for name in NAMES]
    assert notes_of(url) == dict.fromkeys([*NAMES, "alone", *([] if first else ["earlier"])], 1)


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
async def test_a_whole_batch_whose_commit_got_no_answer_is_applied_once(url: str, proxy: Proxy, cut: Cut) -> None:
    async with opened(proxy.url) as db:
        proxy.arm(cut, skip=1)  # not the commit of what holds the writer
        assert await ended(waiting(db)) == [f"wrote {name}" for name in NAMES]
        assert proxy.cut.is_set()
        assert db.writer.batches == 2
    assert notes_of(url) == dict.fromkeys(NAMES, 1)


@pytest.mark.parametrize("cut", [Cut.BEFORE, Cut.AFTER])
async def test_an_end_that_cannot_be_found_out_is_said_so_and_never_tried_again(
    url: str, proxy: Proxy, cut: Cut
) -> None:
    async with opened(proxy.url, patience_s=0.3) as db:
        await db.submit(Note("earlier"))
        proxy.arm(cut, close=True)
        found = await ended([db.submit(Note(name)) for name in NAMES])
        assert all(isinstance(answer, Problem) and answer.code is Code.UNAVAILABLE for answer in found)
        unknown = {name for name, answer in zip(NAMES, found, strict=True) if answer.data.get("unknown")}
        assert unknown, "the batch in COMMIT"
        assert not any(answer.retryable for answer in found if answer.data.get("unknown"))
        kept = unknown if cut is Cut.AFTER else set()
        assert notes_of(url) == dict.fromkeys(["earlier", *kept], 1)
        proxy.reopen()
        assert await ended([db.submit(Note("later"))]) == ["wrote later"]
    assert notes_of(url) == dict.fromkeys(["earlier", "later", *kept], 1)


async def test_writes_outlast_a_database_that_is_away_for_a_moment(url: str, proxy: Proxy) -> None:
    async with opened(proxy.url) as db:
        await db.submit(Note("earlier"))
        proxy.arm(Cut.BEFORE, close=True)
        answers = [db.submit(Note(name)) for name in NAMES]
        await reached(lambda: proxy.refused > 3, "the writer asking again")
        proxy.reopen()
        assert await ended(answers) == [f"wrote {name}" for name in NAMES]
    assert notes_of(url) == dict.fromkeys(["earlier", *NAMES], 1)


async def test_a_database_that_stays_away_refuses_writes_unchanged(url: str, proxy: Proxy) -> None:
    async with opened(proxy.url, patience_s=0.2) as db:
        await db.submit(Note("earlier"))
        proxy.closed_to_newcomers = True
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        found = await ended([db.submit(Note(name)) for name in NAMES])
        assert all(isinstance(answer, Problem) and answer.retryable for answer in found)
        assert notes_of(url) == {"earlier": 1}
        proxy.reopen()
        assert await ended([db.submit(Note("later"))]) == ["wrote later"]


async def test_a_read_survives_a_lost_connection(url: str) -> None:
    async with opened(url, readers=1) as db:
        await db.submit(Note("a"))
        assert await db.read(lambda tx: tx.store)
        with psycopg.connect(url, autocommit=True) as admin:
            admin.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            )
        assert await db.read(lambda tx: tx.row(Sql("SELECT id FROM note"))) == ("a",)
        assert len(db._open) == 1, "the broken connection is gone"


async def test_an_id_reused_after_a_crash_is_not_taken_for_our_commit(crashing: Server) -> None:
    """The server forgets the transaction, and a stranger commits under the very same transaction id."""
    with Proxy(crashing.url) as proxy:
        async with opened(proxy.url) as db:
            await db.submit(Note("before-crash"))
            proxy.arm(Cut.HALF, close=True)
            answer = db.submit(Note("lost"))
            assert await asyncio.to_thread(proxy.cut.wait, 30)
            await asyncio.to_thread(crashing.crash_and_start)
            with psycopg.connect(crashing.url, autocommit=True) as stranger:
                for _ in range(20):
                    stranger.execute("SELECT pg_current_xact_id()")
            proxy.reopen()
            assert await ended([answer]) == ["wrote lost"]
        found = notes_of(crashing.url)
        assert found["lost"] == 1
        assert found["before-crash"] == 1


async def test_a_restart_in_the_middle_of_many_writes_loses_and_doubles_nothing(crashing: Server) -> None:
    async with opened(crashing.url) as db:
        said: dict[str, Any] = {}
        stop = asyncio.Event()

        async def client(me: int) -> None:
            n = 0
            while not stop.is_set():
                name = f"restart-{me}-{n}"
                (said[name],) = await ended([db.submit(Note(name))])
                n += 1

        clients = [asyncio.create_task(client(me)) for me in range(20)]
        await reached(lambda: len(said) > 200, "writing before the crash")
        await asyncio.to_thread(crashing.crash_and_start)
        count = len(said)
        await reached(lambda: len(said) > count + 200, "writing after the crash")
        stop.set()
        await asyncio.gather(*clients)
        found = {name: times for name, times in notes_of(crashing.url).items() if name.startswith("restart-")}
        assert found == dict.fromkeys(said, 1)
        assert all(answer == f"wrote {name}" for name, answer in said.items())
