"""The command writer: everything that waits at one moment is committed in one transaction.

A command is a frozen struct that knows how to apply a whole batch of its kind. A command that must be refused is
answered by a `Problem` in its place of the results and never sinks its neighbours. A caller is answered after COMMIT
returned, never before; cancelling the caller does not cancel the write.
"""

import asyncio
import queue
import random
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Protocol, Self, TypeVar, cast

import structlog

from calotype.db.connection import Connection, Fault, fault_of
from calotype.db.tx import Tx
from calotype.kernel import points
from calotype.kernel.errors import Code, Problem

log = structlog.get_logger(__name__)

R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)

MAX_BATCH = 512
MAX_WAITING = 100_000
TRIES = 5


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


class Writer:
    """One thread with one connection that commits batches of commands."""

    def __init__(self, connect: Callable[[], Connection], *, max_batch: int = MAX_BATCH) -> None:
        self._connect = connect
        self._max_batch = max_batch
        self._waiting: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._closed = False
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
        if self._closed:
            raise Problem(Code.UNAVAILABLE, "The server is shutting down.")
        if self._waiting.qsize() >= MAX_WAITING:
            raise Problem(
                Code.UNAVAILABLE, "The server has too many writes waiting; try again shortly.", retry_after_s=1
            )
        self._waiting.put(_Item(command, call, future))
        return future

    def close(self) -> None:
        """Finish what waits, then stop; blocks until done."""
        self._closed = True
        if self._thread.is_alive():
            self._waiting.put(None)
            self._thread.join()
        if self._connection is not None:
            self._connection.close()
            self._connection = None

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
            if len(items) > 1 and fault_of(error) is Fault.OTHER and not isinstance(error, TransactionLostError):
                for item in items:
                    self._commit([item])
                return
            if not isinstance(error, Problem):
                log.exception(
                    "write_failed", commands=[_name(item) for item in items[:5]], count=len(items), exc_info=error
                )
            _deliver([(item.future, _shown(error)) for item in items])
            return
        self.batches += 1
        self.commands += len(items)
        _deliver([(item.future, result) for item, result in zip(items, results, strict=True)])

    def _attempts(self, items: list[_Item]) -> list[Any]:
        for tried in range(TRIES):
            transaction_id: str | None = None
            results: list[Any] = []
            committing = False
            try:
                connection = self._connected()
                tx = connection.begin()
                results = _apply(tx, items)
                if not connection.in_transaction:
                    raise TransactionLostError("the database ended the transaction by itself")
                transaction_id = connection.transaction_id()
                _reach(items, "before_commit")
                committing = True
                connection.commit()
                _reach(items, "committed")
            except BaseException as error:
                fault = fault_of(error)
                if fault is Fault.LOST:
                    self._drop()
                    if committing and transaction_id is not None and self._was_committed(transaction_id):
                        return results
                else:
                    self._undo()
                if fault not in (Fault.AGAIN, Fault.LOST) or tried == TRIES - 1:
                    raise
                self.retries += 1
                log.warning("write_again", fault=fault.name, tried=tried + 1, commands=len(items))
                time.sleep(random.uniform(0.5, 1.5) * 0.02 * 2**tried)  # noqa: S311  (jitter, not a secret)
            else:
                return results
        raise AssertionError("the loop above returns or raises")

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._connect()
        return self._connection

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except Exception as error:  # a broken connection may also break while it is closed
                log.debug("close_failed", error=type(error).__name__)

    def _undo(self) -> None:
        if self._connection is not None:
            try:
                self._connection.rollback()
            except Exception as error:
                log.warning("rollback_failed", error=type(error).__name__)
                self._drop()

    def _was_committed(self, transaction_id: str) -> bool:
        """Ask a new connection how the transaction ended whose COMMIT got no answer.

        Raises:
            Problem: it cannot be found out; whoever waits is told that the end is unknown.

        """
        for tried in range(60):
            try:
                status = self._connected().transaction_status(transaction_id)
            except Exception as error:
                log.warning("commit_unknown", tried=tried + 1, error=type(error).__name__)
                self._drop()
                status = "in progress"
            if status == "committed":
                return True
            if status == "aborted":
                return False
            if status is None:
                break
            time.sleep(0.25)
        raise Problem(
            Code.UNAVAILABLE, "The database did not say whether the write was kept; look before trying again."
        )


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
    fault = fault_of(error)
    if fault is Fault.FULL or isinstance(error, TransactionLostError):
        return Problem(Code.UNAVAILABLE, "The server cannot write to its database right now; nothing was changed.")
    if fault in (Fault.AGAIN, Fault.LOST):
        return Problem(
            Code.UNAVAILABLE, "The database is not reachable right now; nothing was changed.", retry_after_s=1
        )
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
