"""Batch commands that move money as accept and settle do, and a look at the store from outside."""

import asyncio
import contextlib
import threading
from collections.abc import Iterator, Sequence
from typing import Any, ClassVar, Self

from msgspec import Struct
from sqlalchemy import create_engine

from calotype.db import Database, Store, Tx
from calotype.kernel.errors import Problem
from calotype.kernel.ids import OrgId
from calotype.ledger.book import Book, locks_of
from calotype.ledger.triggers import statements
from calotype.ledger.types import Settled

NOW_MS = 1_800_000_000_000


class Hold(Struct, frozen=True):
    """Reserve money for a job."""

    point: ClassVar[str | None] = None
    id: str
    org: OrgId
    amount_micro: int
    key: str | None = None
    cap_micro: int | None = None
    max_open: int | None = None

    @property
    def locks(self) -> tuple[str, ...]:
        return locks_of(self.org, self.key)

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> Sequence[bool | Problem]:
        book = Book.of(tx)
        answers: list[bool | Problem] = []
        for one in batch:
            try:
                book.hold(
                    one.id,
                    one.org,
                    one.amount_micro,
                    now_ms=NOW_MS,
                    key_id=one.key,
                    spend_cap_micro=one.cap_micro,
                    max_open_jobs=one.max_open,
                )
                answers.append(True)
            except Problem as problem:
                answers.append(problem)
        book.flush()
        return answers


class Unsorted(Hold, frozen=True):
    """The same, but locks nothing beforehand: rows are locked in the order the batch happens to have."""

    @property
    def locks(self) -> tuple[str, ...]:
        return ()


class Settle(Struct, frozen=True):
    """Capture a hold, or void it with 0."""

    point: ClassVar[str | None] = None
    id: str
    org: OrgId
    captured_micro: int
    key: str | None = None

    @property
    def locks(self) -> tuple[str, ...]:
        return locks_of(self.org, self.key)

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> Sequence[Settled]:
        book = Book.of(tx)
        book.load_holds([one.id for one in batch])
        answers = [book.settle(one.id, one.captured_micro, now_ms=NOW_MS) for one in batch]
        book.flush()
        return answers


class Reverse(Struct, frozen=True):
    """Give back what was captured of a hold."""

    point: ClassVar[str | None] = None
    id: str
    org: OrgId
    key: str | None = None

    @property
    def locks(self) -> tuple[str, ...]:
        return locks_of(self.org, self.key)

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> Sequence[int]:
        book = Book.of(tx)
        answers = [book.reverse(one.id, now_ms=NOW_MS) for one in batch]
        book.flush()
        return answers


async def together(db: Database, commands: Sequence[Any]) -> list[Any]:
    """Submit commands so that they become one batch; return results and exceptions in order."""
    gate = threading.Event()
    first = db.write(lambda _tx: gate.wait(30))
    answers = [db.submit(command) for command in commands]
    gate.set()
    await first
    return await asyncio.wait_for(asyncio.gather(*answers, return_exceptions=True), 60)


@contextlib.contextmanager
def raw(url: str) -> Iterator[Any]:
    """Open a connection of somebody who does not go through the ledger."""
    engine = create_engine(url.replace("postgresql://", "postgresql+psycopg://"), isolation_level="AUTOCOMMIT")
    try:
        with engine.connect() as connection:
            yield connection
    finally:
        engine.dispose()


def protect(url: str) -> None:
    with raw(url) as connection:
        for statement in statements(Store(url.split(":", maxsplit=1)[0])):
            connection.exec_driver_sql(statement)
