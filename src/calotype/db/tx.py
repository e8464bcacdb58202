"""A transaction as the code above sees it: statements in, rows out, no commit and no rollback."""

from collections.abc import Sequence
from typing import Any

from calotype.db.sql import ManySql, Sql, Store

Row = tuple[Any, ...]
Params = dict[str, Any]


class Tx:
    """Executes statements inside a transaction somebody else began and will end.

    `locks` holds the sorted ids that the commands of this batch asked to lock; `memo` carries what one command type
    read for the others within the same transaction. `failed` is the first error a statement raised, if any.
    """

    __slots__ = ("_cursor", "failed", "locks", "memo", "store")

    def __init__(self, cursor: Any, store: Store) -> None:
        self._cursor = cursor
        self.store = store
        self.failed: BaseException | None = None
        self.locks: tuple[str, ...] = ()
        self.memo: dict[str, Any] = {}

    def _run(self, sql: Sql, params: Params | None) -> Any:
        self._refuse_when_lost()
        try:
            if self.store is Store.SQLITE:
                return self._cursor.execute(sql.sqlite, sql.encode(params or {}))
            return self._cursor.execute(sql.postgres, params or {})
        except BaseException as error:
            self.failed = self.failed or error
            raise

    def _refuse_when_lost(self) -> None:
        # SQLite rolls back by itself when the disk is full: whoever goes on would write outside any transaction.
        if self.failed is not None and self.store is Store.SQLITE and not self._cursor.connection.in_transaction:
            raise self.failed

    def rows(self, sql: Sql, params: Params | None = None) -> list[Row]:
        """Return every row of the answer."""
        rows: list[Row] = self._run(sql, params).fetchall()
        return rows

    def row(self, sql: Sql, params: Params | None = None) -> Row | None:
        """Return the first row, or None."""
        row: Row | None = self._run(sql, params).fetchone()
        return row

    def execute(self, sql: Sql, params: Params | None = None) -> int:
        """Run a statement and return how many rows it changed."""
        return int(self._run(sql, params).rowcount)

    def executemany(self, sql: Sql, params: Sequence[Params]) -> int:
        """Run a statement once per set of parameters and return how many rows all of them changed."""
        if not params:
            return 0
        self._refuse_when_lost()
        try:
            if self.store is Store.SQLITE and isinstance(sql, ManySql) and len(params) > 1:
                self._cursor.execute(sql.sqlite_many, sql.pack(params))
            elif self.store is Store.SQLITE:
                encoded = params if not sql.lists else [sql.encode(one) for one in params]
                self._cursor.executemany(sql.sqlite, encoded)
            else:
                self._cursor.executemany(sql.postgres, params)
        except BaseException as error:
            self.failed = self.failed or error
            raise
        return int(self._cursor.rowcount)
