"""A batch that met a lock or a deadlock is tried again whole, then one by one."""

import sqlite3
from collections.abc import Iterator, Sequence
from typing import ClassVar, Self

import pytest
from msgspec import Struct
from notes import WRITE, Note, ended, held, notes_of, opened, postgres_of_notes

from calotype.db import Database, Sql, Store, Tx
from calotype.db.writer import TRIES
from calotype.kernel.errors import Code, Problem

DEADLOCK = Sql("DO $$ BEGIN RAISE EXCEPTION 'a deadlock' USING ERRCODE = '40P01'; END $$")


@pytest.fixture
def url(postgres: str) -> Iterator[str]:
    with postgres_of_notes(postgres) as found:
        yield found


class Clashing(Struct, frozen=True):
    """Meets a deadlock whenever `company` or more of its kind are in one transaction."""

    point: ClassVar[str | None] = None
    tries: ClassVar[list[int]] = []
    id: str
    company: int
    locks: tuple[str, ...] = ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> Sequence[str]:
        cls.tries.append(len(batch))
        for one in batch:
            tx.execute(WRITE, {"id": one.id, "text": ""})
            if len(batch) >= one.company:
                tx.execute(DEADLOCK)
        return [one.id for one in batch]


@pytest.mark.parametrize("company", [2, 1], ids=["only-together", "always"])
async def test_a_batch_that_keeps_deadlocking_goes_whole_and_then_singly(url: str, company: int) -> None:
    Clashing.tries.clear()
    async with opened(url) as db:
        with held(db):
            answers = [db.submit(Clashing(name, company)) for name in ("a", "b", "c")]
        found = await ended(answers)
    assert Clashing.tries[:TRIES] == [3] * TRIES
    if company == 2:
        assert Clashing.tries[TRIES:] == [1, 1, 1]
        assert found == ["a", "b", "c"]
        assert notes_of(url) == {"a": 1, "b": 1, "c": 1}
    else:
        assert Clashing.tries[TRIES:] == [1] * TRIES * 3
        assert all(isinstance(answer, Problem) and answer.retryable for answer in found)
        assert notes_of(url) == {}


async def test_a_write_waits_for_another_process_that_writes(notes: Database) -> None:
    if notes.store is Store.POSTGRES:
        pytest.skip("writers wait for rows there, not for the file")
    other = sqlite3.connect(notes.url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    other.execute("INSERT INTO note (id, text, times) VALUES ('theirs', '', 1)")
    answer = notes.submit(Note("mine"))
    assert notes_of(notes.url) == {}
    other.execute("COMMIT")
    other.close()
    assert await ended([answer]) == ["wrote mine"]
    assert notes_of(notes.url) == {"mine": 1, "theirs": 1}


async def test_a_file_locked_for_too_long_refuses_the_write_unchanged(notes: Database) -> None:
    if notes.store is Store.POSTGRES:
        pytest.skip("writers wait for rows there, not for the file")
    await notes.write(lambda tx: tx.rows(Sql("PRAGMA busy_timeout = 1")))
    other = sqlite3.connect(notes.url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    (found,) = await ended([notes.submit(Note("mine"))])
    assert isinstance(found, Problem)
    assert (found.code, found.retryable) == (Code.UNAVAILABLE, True)
    other.execute("ROLLBACK")
    other.close()
    assert await ended([notes.submit(Note("later"))]) == ["wrote later"]
    assert notes_of(notes.url) == {"later": 1}
