"""A command that writes notes, and ways to look at the store from outside."""

import asyncio
import contextlib
import threading
import uuid
from collections.abc import AsyncIterator, Iterator, Sequence
from typing import Any, ClassVar, Self

import psycopg
from msgspec import Struct
from sqlalchemy import create_engine

from calotype.db import Database, Sql, Tx
from calotype.db.metadata import metadata
from calotype.db.tables import write_mark
from calotype.kernel.errors import Code, Problem

CREATE = Sql("CREATE TABLE note (id TEXT PRIMARY KEY, text TEXT NOT NULL, times INTEGER NOT NULL)")
# A second application of the same note is counted, not refused, so that it cannot hide.
WRITE = Sql(
    "INSERT INTO note (id, text, times) VALUES (:id, :text, 1) ON CONFLICT (id) DO UPDATE SET times = note.times + 1"
)


class Note(Struct, frozen=True):
    """Write one note; `refused` is answered with a Problem, `broken` makes the whole application raise."""

    point: ClassVar[str | None] = "note"
    id: str
    text: str = ""

    @property
    def locks(self) -> tuple[str, ...]:
        return ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> Sequence[str | Problem]:
        results: list[str | Problem] = []
        for note in batch:
            if note.text == "broken":
                raise ZeroDivisionError("a broken command")
            if note.text == "stopped":
                raise StopIteration
            if note.text == "refused":
                results.append(Problem(Code.CONFLICT, "refused"))
                continue
            tx.execute(WRITE, {"id": note.id, "text": note.text})
            results.append(f"wrote {note.id}")
        return results


def engine_of(url: str) -> Any:
    return create_engine(url.replace("postgresql://", "postgresql+psycopg://"))


def notes_of(url: str) -> dict[str, int]:
    """Return what another connection sees: how often each note was written."""
    engine = engine_of(url)
    try:
        with engine.connect() as connection:
            return {row[0]: row[1] for row in connection.exec_driver_sql("SELECT id, times FROM note")}
    finally:
        engine.dispose()


@contextlib.asynccontextmanager
async def opened(url: str, **options: Any) -> AsyncIterator[Database]:
    database = Database(url, **options)
    database.start()
    try:
        yield database
    finally:
        await asyncio.to_thread(database.close)


@contextlib.contextmanager
def held(database: Database) -> Iterator[None]:
    """Keep the writer busy, so that everything submitted inside the block waits and becomes one batch."""
    gate = threading.Event()
    blocked = database.write(lambda _tx: gate.wait(30))
    try:
        yield
    finally:
        gate.set()
    del blocked


async def ended(awaitables: Sequence[Any]) -> list[Any]:
    """Wait for all and return results and exceptions alike; a future that never ends fails the test."""
    return await asyncio.wait_for(asyncio.gather(*awaitables, return_exceptions=True), 60)


@contextlib.contextmanager
def postgres_of_notes(server: str) -> Iterator[str]:
    """Make a PostgreSQL database with the writer's own table and the notes in it."""
    name = f"notes_{uuid.uuid4().hex[:12]}"
    url = server.replace("/postgres?", f"/{name}?", 1)
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
        try:
            make_notes(url)
            yield url
        finally:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def make_notes(url: str) -> None:
    engine = engine_of(url)
    metadata.create_all(engine, tables=[write_mark])
    with engine.begin() as connection:
        connection.exec_driver_sql(CREATE.text)
    engine.dispose()
