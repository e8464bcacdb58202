"""The command writer: batches, refusals, and who is told what, when."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import psycopg
import pytest
from msgspec import Struct
from notes import CREATE, WRITE, Note, ended, held, notes_of, opened

from calotype.db import Database, Sql, Store, Tx
from calotype.kernel.errors import Code, Problem

COUNT = Sql("SELECT COUNT(*) FROM note")
Listen = Callable[[Callable[[str], None]], None]


async def test_what_waits_together_is_one_batch_and_answers_keep_their_order(notes: Database) -> None:
    before = notes.writer.batches
    with held(notes):
        answers = [notes.submit(Note(f"n{n:03}")) for n in range(200)]
    assert await ended(answers) == [f"wrote n{n:03}" for n in range(200)]
    assert notes.writer.batches - before == 2, "the one that held the writer, and one for all the others"


async def test_a_batch_has_a_bound(database_url: str) -> None:
    async with opened(database_url, max_batch=10) as db:
        await db.write(lambda tx: tx.execute(CREATE))
        before = db.writer.batches
        with held(db):
            answers = [db.submit(Note(f"n{n}")) for n in range(25)]
        await ended(answers)
        assert db.writer.batches - before == 1 + 3
        assert len(notes_of(database_url)) == 25


async def test_a_refused_command_leaves_its_neighbours_alone(notes: Database) -> None:
    with held(notes):
        answers = [notes.submit(Note(f"n{n}", "refused" if n == 3 else "")) for n in range(6)]
    found = await ended(answers)
    assert isinstance(found[3], Problem)
    assert found[3].code is Code.CONFLICT
    assert found[:3] + found[4:] == ["wrote n0", "wrote n1", "wrote n2", "wrote n4", "wrote n5"]
    assert notes_of(notes.url) == dict.fromkeys(["n0", "n1", "n2", "n4", "n5"], 1)


@pytest.mark.parametrize(("broken", "expected"), [("broken", ZeroDivisionError), ("stopped", RuntimeError)])
async def test_a_command_that_raises_fails_alone(notes: Database, broken: str, expected: type[Exception]) -> None:
    with held(notes):
        answers = [notes.submit(Note(f"n{n}", broken if n == 3 else "")) for n in range(6)]
    found = await ended(answers)
    assert isinstance(found[3], expected)
    assert [x for x in found if isinstance(x, str)] == [f"wrote n{n}" for n in (0, 1, 2, 4, 5)]
    assert notes_of(notes.url) == dict.fromkeys(["n0", "n1", "n2", "n4", "n5"], 1)


class Careless(Struct, frozen=True):
    """Breaks a rule of the schema, swallows the error and goes on."""

    point: ClassVar[str | None] = None
    id: str
    locks: tuple[str, ...] = ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> Sequence[str]:
        for one in batch:
            try:
                tx.execute(Sql("INSERT INTO note (id, text, times) VALUES (:id, NULL, 1)"), {"id": one.id})
            except (sqlite3.Error, psycopg.Error):
                continue
        return ["fine"] * len(batch)


async def test_a_command_that_swallows_an_sql_error_does_not_sink_its_neighbours(notes: Database) -> None:
    with held(notes):
        answers = [notes.submit(Note("a")), notes.submit(Careless("x")), notes.submit(Note("b"))]
    found = await ended(answers)
    assert [found[0], found[2]] == ["wrote a", "wrote b"]
    if notes.store is Store.POSTGRES:  # the statement ended the transaction there
        assert isinstance(found[1], psycopg.errors.NotNullViolation)
    assert notes_of(notes.url) == {"a": 1, "b": 1}


class Forgetful(Struct, frozen=True):
    """Returns too few answers."""

    point: ClassVar[str | None] = None
    locks: tuple[str, ...] = ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> Sequence[str]:
        return []


async def test_a_command_type_that_forgets_an_answer_fails_alone(notes: Database) -> None:
    with held(notes):
        answers = [notes.submit(Note("a")), notes.submit(Forgetful())]
    found = await ended(answers)
    assert found[0] == "wrote a"
    assert isinstance(found[1], ValueError)
    assert notes_of(notes.url) == {"a": 1}


class Locking(Struct, frozen=True):
    """Answers with the ids its batch locks."""

    point: ClassVar[str | None] = None
    locks: tuple[str, ...]

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> Sequence[tuple[str, ...]]:
        return [tx.locks] * len(batch)


async def test_a_batch_asks_for_all_its_locks_at_once_and_in_order(notes: Database) -> None:
    with held(notes):
        answers = [notes.submit(Locking(locks)) for locks in (("org/c",), ("org/a", "~key/1"), ("org/b", "org/a"))]
    assert await ended(answers) == [("org/a", "org/b", "org/c", "~key/1")] * 3


async def test_nobody_is_answered_before_commit_and_everybody_after(notes: Database, at_point: Listen) -> None:
    reached: dict[str, threading.Event] = {name: threading.Event() for name in ("note.before_commit", "note.committed")}
    gates = {name: threading.Event() for name in reached}

    def listener(name: str) -> None:
        reached[name].set()
        assert gates[name].wait(30)

    at_point(listener)
    answer = notes.submit(Note("a"))

    async def stands(name: str, *, visible: bool) -> None:
        assert await asyncio.to_thread(reached[name].wait, 30)
        for _ in range(20):
            await asyncio.sleep(0)
        assert not answer.done()  # type: ignore[attr-defined]
        assert await asyncio.to_thread(notes_of, notes.url) == ({"a": 1} if visible else {})
        gates[name].set()

    await stands("note.before_commit", visible=False)
    await stands("note.committed", visible=True)
    assert await ended([answer]) == ["wrote a"]


async def test_a_cancelled_caller_does_not_cancel_the_write(notes: Database) -> None:
    async def call() -> str:
        return await notes.submit(Note("a"))

    with held(notes):
        task = asyncio.create_task(call())
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        neighbour = notes.submit(Note("b"))
    assert await ended([neighbour]) == ["wrote b"]
    assert notes_of(notes.url) == {"a": 1, "b": 1}


async def test_a_function_runs_alone_and_its_refusal_reaches_the_caller_with_nothing_written(notes: Database) -> None:
    def refuse(tx: Tx) -> None:
        tx.execute(WRITE, {"id": "x", "text": ""})
        raise Problem(Code.CONFLICT, "no")

    before = notes.writer.batches
    with held(notes):
        answers = [notes.submit(Note("a")), notes.write(refuse), notes.submit(Note("b"))]
    found = await ended(answers)
    assert isinstance(found[1], Problem)
    assert found[1].code is Code.CONFLICT
    assert [found[0], found[2]] == ["wrote a", "wrote b"]
    assert notes_of(notes.url) == {"a": 1, "b": 1}
    assert notes.writer.batches - before == 1 + 2


async def test_a_function_that_fails_leaves_nothing_and_the_writer_works_on(notes: Database) -> None:
    def fail(tx: Tx) -> None:
        tx.execute(WRITE, {"id": "x", "text": ""})
        tx.execute(Sql("INSERT INTO nowhere VALUES (1)"))

    with pytest.raises((sqlite3.OperationalError, psycopg.errors.UndefinedTable)):
        await notes.write(fail)
    assert await notes.submit(Note("a")) == "wrote a"
    assert notes_of(notes.url) == {"a": 1}


@pytest.mark.parametrize("snapshot", [True, False])
async def test_a_long_read_does_not_stop_writes(notes: Database, snapshot: bool) -> None:
    started, release = threading.Event(), threading.Event()

    def slow(tx: Tx) -> tuple[Any, Any]:
        first = tx.row(COUNT)
        started.set()
        assert release.wait(30)
        return first, tx.row(COUNT)

    reading = asyncio.ensure_future(notes.read(slow, snapshot=snapshot))
    assert await asyncio.to_thread(started.wait, 30)
    for n in range(20):
        assert await asyncio.wait_for(notes.submit(Note(f"n{n}")), 30) == f"wrote n{n}"
    assert not reading.done()
    release.set()
    assert await reading == ((0,), (0,) if snapshot else (20,))


async def test_a_reader_cannot_write(notes: Database) -> None:
    with pytest.raises((sqlite3.OperationalError, psycopg.errors.ReadOnlySqlTransaction)):
        await notes.read(lambda tx: tx.execute(WRITE, {"id": "x", "text": ""}))
    assert notes_of(notes.url) == {}


async def test_close_finishes_what_waits_and_refuses_what_comes_later(notes: Database) -> None:
    with held(notes):
        answers = [notes.submit(Note(f"n{n}")) for n in range(50)]
        closing = asyncio.create_task(asyncio.to_thread(notes.close))
        while not notes.writer._closed:
            await asyncio.sleep(0)
        with pytest.raises(Problem) as refused:
            notes.submit(Note("late"))
    await closing
    assert refused.value.code is Code.UNAVAILABLE
    assert await ended(answers) == [f"wrote n{n}" for n in range(50)]
    assert len(notes_of(notes.url)) == 50


async def test_a_writer_that_never_started_ends_what_waits_when_closed(database_url: str) -> None:
    db = Database(database_url)
    answer = db.submit(Note("a"))
    await asyncio.to_thread(db.close)
    (found,) = await ended([answer])
    assert isinstance(found, Problem)
    assert found.code is Code.UNAVAILABLE


async def test_every_write_put_while_the_writer_closes_ends(database_url: str) -> None:
    db = Database(database_url)
    db.start()
    await db.write(lambda tx: tx.execute(CREATE))
    closing = asyncio.create_task(asyncio.to_thread(db.close))
    answers, refused = [], 0
    while not closing.done():
        try:
            answers.append(db.submit(Note(f"n{len(answers)}")))
        except Problem:
            refused += 1
        await asyncio.sleep(0)
    found = await ended(answers)
    assert refused
    assert found == [f"wrote n{n}" for n in range(len(answers))]
    assert len(notes_of(database_url)) == len(answers)


async def test_the_queue_has_a_bound(database_url: str) -> None:
    async with opened(database_url, max_waiting=5) as db:
        await db.write(lambda tx: tx.execute(CREATE))
        with held(db):
            while db.writer.waiting:  # until the writer took what holds it
                await asyncio.sleep(0)
            answers = [db.submit(Note(f"n{n}")) for n in range(5)]
            with pytest.raises(Problem) as refused:
                db.submit(Note("n5"))
        assert refused.value.code is Code.UNAVAILABLE
        assert refused.value.retryable
        assert len(await ended(answers)) == 5
        assert await db.submit(Note("n6")) == "wrote n6", "there is room again"
        assert set(notes_of(database_url)) == {"n0", "n1", "n2", "n3", "n4", "n6"}


async def test_a_listener_that_raises_after_commit_neither_repeats_the_write_nor_hangs_the_caller(
    notes: Database, at_point: Listen
) -> None:
    def listener(name: str) -> None:
        if name == "note.committed":
            raise RuntimeError("a point that raises")

    with held(notes):
        answers = [notes.submit(Note("a")), notes.submit(Note("b"))]
        at_point(listener)
    assert await ended(answers) == ["wrote a", "wrote b"]
    at_point(lambda _name: None)
    assert await ended([notes.submit(Note("c"))]) == ["wrote c"]
    assert notes_of(notes.url) == {"a": 1, "b": 1, "c": 1}
