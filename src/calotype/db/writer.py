"""The command writer: everything that waits at one moment is committed in one transaction.

A command is a frozen struct that knows how to apply a whole batch of its kind. A command that must be refused is
answered by a `Problem` in its place of the results and never sinks its neighbours. A caller is answered after COMMIT
returned, never before; cancelling the caller does not cancel the write.
"""

import asyncio
import contextlib
import queue
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast

import structlog

from calotype.db.connection import Connection, Fault, fault_of, is_postgres
from calotype.db.sql import Store
from calotype.db.tx import Tx
from calotype.kernel import points
from calotype.kernel.errors import Code, Problem
from calotype.kernel.ids import uuid7

log = structlog.get_logger(__name__)

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

MAX_BATCH = 512
MAX_WAITING = 100_000
TRIES = 5
PATIENCE_S = 10.0
"""How long waiting writes outlast a database that is away, and a lost COMMIT is asked after."""
MARK_OPENED_EVERY_MS = 24 * 3_600_000


class Command(Protocol[R_co]):
    """A write that is applied in batches.

    `point` names the command in crash tests (`<point>.before_commit`, `<point>.committed`). `locks` are the ids whose
    rows the batch locks first, all together and in order.
    """

    point: ClassVar[str | None]

    @property
    def locks(self) -> tuple[str, ...]:
        """Ids to lock before anything else of the batch runs."""
        ...

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> Sequence[R_co | Problem]:
        """Apply every command of the batch; return one result, or refusal, for each."""
        ...


class _Item:
    __slots__ = ("call", "command", "future")

    def __init__(self, command: Any, call: Callable[[Tx], Any] | None, future: asyncio.Future[Any]) -> None:
        self.command = command
        self.call = call
        self.future = future


class TransactionLostError(Exception):
    """The database ended the transaction by itself; nothing of it was written."""


class CommitUnknownError(Exception):
    """COMMIT got no answer, and the database did not say afterwards how it ended: never to be tried again blindly."""


class Writer:
    """One thread with one connection that commits batches of commands."""

    def __init__(
        self,
        connect: Callable[[], Connection],
        *,
        max_batch: int = MAX_BATCH,
        max_waiting: int = MAX_WAITING,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self._connect = connect
        self._max_batch = max_batch
        self._max_waiting = max_waiting
        self._patience_s = patience_s
        self._waiting: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._lock = threading.Lock()
        self._closed = False
        self._away_since: float | None = None
        self._name = uuid7()
        self._mark = 0
        self._mark_opened_ms = 0
        self._thread = threading.Thread(target=self._run, name="calotype-writer", daemon=True)
        self.batches = 0
        self.commands = 0
        self.retries = 0

    def start(self) -> None:
        """Connect and begin to work.

        Raises:
            Exception: the database cannot be reached; the caller decides what to say.

        """
        self._connection = self._connect()
        self._thread.start()

    @property
    def waiting(self) -> int:
        """How many commands wait right now."""
        return self._waiting.qsize()

    def submit(self, command: Command[R]) -> asyncio.Future[R]:
        """Queue a command; the future ends when its batch is durable, or with the `Problem` that refused it."""
        return cast("asyncio.Future[R]", self._put(command, None))

    def call(self, fn: Callable[[Tx], R]) -> asyncio.Future[R]:
        """Queue a function that runs alone in its own transaction."""
        return cast("asyncio.Future[R]", self._put(None, fn))

    def _put(self, command: Any, call: Callable[[Tx], Any] | None) -> asyncio.Future[Any]:
        future: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        if self._waiting.qsize() >= self._max_waiting:
            raise Problem(
                Code.UNAVAILABLE, "The server has too many writes waiting; try again shortly.", retry_after_s=1
            )
        with self._lock:  # nothing is put behind the end mark, where nobody would read it
            if self._closed:
                raise Problem(Code.UNAVAILABLE, "The server is shutting down.")
            self._waiting.put(_Item(command, call, future))
        return future

    def close(self) -> None:
        """Finish what waits, then stop; blocks until done."""
        with self._lock:
            self._closed = True
            self._waiting.put(None)
        if self._thread.is_alive():
            self._thread.join()
        else:
            self._refuse_waiting()
        self._drop()

    def _refuse_waiting(self) -> None:
        while not self._waiting.empty():
            item = self._waiting.get()
            if item is not None:
                _deliver([(item.future, Problem(Code.UNAVAILABLE, "The server is shutting down."))])

    def _run(self) -> None:
        stopping = False
        while not stopping:
            first = self._waiting.get()
            if first is None:
                break
            batch, alone = ([first], None) if first.call is None else ([], first)
            while alone is None and len(batch) < self._max_batch:
                try:
                    item = self._waiting.get_nowait()
                except queue.Empty:
                    break
                if item is None:
                    stopping = True
                    break
                if item.call is not None:
                    alone = item
                else:
                    batch.append(item)
            if batch:
                self._commit(batch)
            if alone is not None:
                self._commit([alone])

    def _commit(self, items: list[_Item]) -> None:
        """Run the items in one transaction, again where that is safe, one by one where one of them is broken."""
        try:
            results = self._attempts(items)
        except BaseException as error:
            if len(items) > 1 and self._may_go_singly(error):
                for item in items:
                    self._commit([item])
                return
            if not isinstance(error, Problem):
                _log("write_failed", error, commands=[_name(item) for item in items[:5]], count=len(items))
            shown = _shown(error)
            _deliver([(item.future, shown) for item in items])
            return
        self.batches += 1
        self.commands += len(items)
        try:
            _reach(items, "committed")
        except Exception as error:
            _log("point_failed", error)
        _deliver([(item.future, result) for item, result in zip(items, results, strict=True)])

    def _may_go_singly(self, error: BaseException) -> bool:
        if isinstance(error, (TransactionLostError, CommitUnknownError)):
            return False
        fault = fault_of(error)
        deadlocked = fault is Fault.AGAIN and self._connection is not None and self._connection.store is Store.POSTGRES
        return fault is Fault.OTHER or deadlocked

    def _attempts(self, items: list[_Item]) -> list[Any]:
        tried = 0
        while True:
            results: list[Any] = []
            committing = False
            try:
                connection = self._connected()
                tx = connection.begin()
                results = _apply(tx, items)
                if not connection.in_transaction:
                    raise tx.failed or TransactionLostError("the database ended the transaction by itself")
                if connection.store is Store.POSTGRES:
                    self._mark += 1
                    connection.mark(self._name, self._mark, _now_ms())
                _reach(items, "before_commit")
                committing = True
                connection.commit()
            except BaseException as error:
                fault = fault_of(error)
                if committing and not _is_answer(error, fault):
                    self._drop()
                    if self._was_committed(error):
                        return results
                    fault = Fault.LOST
                elif fault is Fault.LOST:
                    self._drop()
                else:
                    self._undo()
                tried += 1
                if not self._may_try_again(fault, tried):
                    raise
                self.retries += 1
                _log("write_again", error, fault=fault.name, tried=tried, commands=len(items))
                pause_s = min(0.5, 0.02 * 2**tried)
                time.sleep(random.uniform(0.5, 1) * pause_s)  # noqa: S311  (jitter, not a secret)
            else:
                self._away_since = None
                return results

    def _may_try_again(self, fault: Fault, tried: int) -> bool:
        if fault is Fault.AGAIN:
            return tried < TRIES
        if fault is not Fault.LOST:
            return False
        now = time.monotonic()
        if self._away_since is None:
            self._away_since = now
        return not self._closed and now - self._away_since < self._patience_s

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect()
        now_ms = _now_ms()
        if self._connection.store is Store.POSTGRES and now_ms - self._mark_opened_ms > MARK_OPENED_EVERY_MS:
            self._connection.open_mark(self._name, now_ms)
            self._mark_opened_ms = now_ms
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except Exception as error:  # a broken connection may also break while it is closed
                _log("close_failed", error)

    def _undo(self) -> None:
        if self._connection is not None:
            try:
                self._connection.rollback()
            except Exception as error:
                _log("rollback_failed", error)
                self._drop()

    def _was_committed(self, lost: BaseException) -> bool:
        """Ask a new connection whether the batch is there whose COMMIT got no answer.

        Raises:
            CommitUnknownError: it cannot be found out; whoever waits is told that the end is unknown.

        """
        until = time.monotonic() + self._patience_s
        while True:
            try:
                connection = self._connected()
                if connection.store is Store.SQLITE:
                    break  # there is no server to lose: only a broken interpreter comes here
                return connection.marked(self._name) == self._mark
            except Exception as error:
                _log("commit_unknown", error)
                self._drop()
            if time.monotonic() > until:
                break
            time.sleep(0.1)
        raise CommitUnknownError("COMMIT got no answer") from lost


def _is_answer(error: BaseException, fault: Fault) -> bool:
    """Whether the database itself said that COMMIT failed."""
    if is_postgres(error):
        return getattr(error, "sqlstate", None) is not None and fault is not Fault.LOST
    return isinstance(error, sqlite3.Error)


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _log(event: str, error: BaseException, **facts: Any) -> None:
    # A log that cannot be written (a closed pipe) must not decide about money.
    with contextlib.suppress(Exception):
        if event == "write_failed":
            log.error(event, exc_info=error, **facts)
        else:
            log.warning(event, error=type(error).__name__, **facts)


def _apply(tx: Tx, items: list[_Item]) -> list[Any]:
    if items[0].call is not None:
        return [items[0].call(tx)]
    groups: dict[type, list[int]] = {}
    locks: set[str] = set()
    for index, item in enumerate(items):
        groups.setdefault(type(item.command), []).append(index)
        locks.update(item.command.locks)
    tx.locks = tuple(sorted(locks))
    results: list[Any] = [None] * len(items)
    for kind, indexes in groups.items():
        answers = kind.apply(tx, [items[index].command for index in indexes])  # type: ignore[attr-defined]
        for index, answer in zip(indexes, answers, strict=True):
            results[index] = answer
    return results


def _reach(items: list[_Item], what: str) -> None:
    if points.on_point is not None:
        for name in {getattr(item.command, "point", None) for item in items}:
            if name is not None:
                points.reach(f"{name}.{what}")


def _name(item: _Item) -> str:
    return type(item.command).__name__ if item.call is None else getattr(item.call, "__qualname__", "call")


def _shown(error: BaseException) -> BaseException:
    """Return what the caller gets to see of a failed write."""
    if isinstance(error, Problem):
        return error
    if isinstance(error, CommitUnknownError):
        return Problem(
            Code.UNAVAILABLE,
            "The database did not say whether the write was kept; look before trying again.",
            retryable=False,
            data={"unknown": True},
        )
    fault = fault_of(error)
    if fault is Fault.FULL or isinstance(error, TransactionLostError):
        return Problem(Code.UNAVAILABLE, "The server cannot write to its database right now; nothing was changed.")
    if fault in (Fault.AGAIN, Fault.LOST):
        return Problem(
            Code.UNAVAILABLE, "The database is not reachable right now; nothing was changed.", retry_after_s=1
        )
    if isinstance(error, StopIteration) or not isinstance(error, Exception):  # a future cannot carry these
        shown = RuntimeError(f"a write raised {type(error).__name__}")
        shown.__cause__ = error
        return shown
    return error


def _deliver(answers: list[tuple[asyncio.Future[Any], Any]]) -> None:
    """Hand results to their event loops, one wake-up a loop."""
    loops: dict[asyncio.AbstractEventLoop, list[tuple[asyncio.Future[Any], Any]]] = {}
    for future, result in answers:
        loops.setdefault(future.get_loop(), []).append((future, result))
    for loop, pairs in loops.items():
        try:
            loop.call_soon_threadsafe(_resolve, pairs)
        except RuntimeError:  # the loop is closed: nobody waits any more
            continue


def _resolve(pairs: list[tuple[asyncio.Future[Any], Any]]) -> None:
    for future, result in pairs:
        if future.done():
            continue
        if isinstance(result, BaseException):
            future.set_exception(result)
        else:
            future.set_result(result)
