"""An account as whoever counts in debits sees it: a hold is a debit at once, and what was let go of it a refund.

The ledger holds money at accept and moves it at the end. Here the hold itself is a debit (`settle: creation`); of some
jobs only what was captured is one, at their end (`settle: completion`). Both show the same money: the balance is what
is posted less what is held, and every line says the balance it left behind.
"""

from collections.abc import Callable, Iterator
from typing import Any, Literal

from msgspec import Struct

from calotype.db import Database, Sql, Tx
from calotype.kernel.ids import OrgId
from calotype.ledger.types import JournalKind, customer

_ENTRIES = 200
_LAST = "ffffffff-ffff-ffff-ffff-ffffffffffff"

_BALANCE = Sql("SELECT posted_micro, held_micro FROM account WHERE id = :id")
_HELD = Sql(
    "SELECT j.model, j.operation, SUM(h.amount_micro) FROM hold h JOIN job j ON j.id = h.id"
    " WHERE h.account_id = :id AND h.state = 'open' GROUP BY j.model, j.operation"
)
_HOLD = (
    "SELECT h.id, h.amount_micro, h.captured_micro, h.settled_at_ms, j.model, j.operation"
    " FROM job j JOIN hold h ON h.id = j.id WHERE j.org_id = :org AND h.amount_micro > 0"
)
_NEWEST = Sql(f"{_HOLD} AND j.id < :beyond ORDER BY j.id DESC LIMIT :count")
_ENDED_SINCE = Sql(f"{_HOLD} AND j.finished_at_ms >= :since")
_POSTED = Sql(
    "SELECT j.id, j.kind, e.amount_micro, j.created_at_ms, e.account_version, j.job_id"
    " FROM entry e JOIN journal j ON j.id = e.journal_id"
    " WHERE e.account_id = :id AND e.account_version < :before ORDER BY e.account_version DESC LIMIT :count"
)

Kind = Literal["debit", "refund", "topup"]
Late = Callable[[str, str], bool]
"""Says of a model and an operation whether their debit is shown at the end of the job."""


class Transaction(Struct, frozen=True):
    """One line: `amount_micro` is never negative, `balance_after_micro` is what may be spent after it."""

    id: str
    kind: Kind
    amount_micro: int
    balance_after_micro: int
    job_id: str | None
    at_ms: int


class _Line(Struct, frozen=True):
    """A movement before its balance is known; `rank` orders what happened in one millisecond."""

    at_ms: int
    rank: int
    id: str
    kind: Kind
    signed_micro: int
    job_id: str | None


class Statement(Struct, frozen=True):
    """Reads accounts as debits."""

    db: Database
    late: Late

    async def balance_micro(self, org_id: OrgId) -> int:
        """Return what an organisation has left."""
        return await self.db.read(lambda tx: self._balance(tx, org_id), snapshot=True)

    async def transactions(self, org_id: OrgId, limit: int) -> list[Transaction]:
        """Return the newest lines of an account, newest first."""
        return await self.db.read(lambda tx: self._transactions(tx, org_id, limit), snapshot=True)

    def _balance(self, tx: Tx, org_id: OrgId) -> int:
        row = tx.row(_BALANCE, {"id": customer(org_id)})
        if row is None:
            return 0
        unseen = sum(held for model, operation, held in self._held(tx, org_id) if self.late(model, operation))
        return int(row[0] - row[1] + unseen)

    def _held(self, tx: Tx, org_id: OrgId) -> list[tuple[str, str, int]]:
        return [(row[0], row[1], int(row[2])) for row in tx.rows(_HELD, {"id": customer(org_id)})]

    def _transactions(self, tx: Tx, org_id: OrgId, limit: int) -> list[Transaction]:
        after = self._balance(tx, org_id)
        lines = sorted(self._lines(tx, org_id, limit), key=lambda line: (line.at_ms, line.rank, line.id), reverse=True)
        found = []
        for line in lines[:limit]:
            found.append(Transaction(line.id, line.kind, abs(line.signed_micro), after, line.job_id, line.at_ms))
            after -= line.signed_micro
        return found

    def _lines(self, tx: Tx, org_id: OrgId, limit: int) -> Iterator[_Line]:
        """Yield at least the newest `limit` lines.

        The newest jobs come first, until their lines alone are enough: nothing older than the oldest of these jobs can
        be among the newest lines, but the end of an older job and a top-up since then can.
        """
        beyond, since_ms, count = _LAST, None, 0
        while count < limit and since_ms is None:
            rows = tx.rows(_NEWEST, {"org": org_id, "beyond": beyond, "count": limit})
            for row in rows:
                made = list(self._of_hold(row))
                count += len(made)
                yield from made
            if len(rows) < limit:
                break
            beyond = rows[-1][0]
            since_ms = _made_ms(beyond) if count >= limit else None
        if since_ms is not None:
            for row in tx.rows(_ENDED_SINCE, {"org": org_id, "since": since_ms}):
                if row[0] < beyond:
                    yield from self._of_hold(row)
        yield from _posted(tx, org_id, since_ms or 0)

    def _of_hold(self, row: tuple[Any, ...]) -> Iterator[_Line]:
        job_id, held, captured, settled_ms, model, operation = row
        if self.late(model, operation):
            if captured:
                yield _Line(settled_ms, 0, f"{job_id}:debit", "debit", -captured, job_id)
            return
        yield _Line(_made_ms(job_id), 0, f"{job_id}:debit", "debit", -held, job_id)
        if settled_ms is not None and held > captured:
            yield _Line(settled_ms, 1, f"{job_id}:refund", "refund", held - captured, job_id)


def _posted(tx: Tx, org_id: OrgId, since_ms: int) -> Iterator[_Line]:
    """Yield what was posted outside the life of a job since a moment."""
    before = 2**62
    while True:
        rows = tx.rows(_POSTED, {"id": customer(org_id), "before": before, "count": _ENTRIES})
        for ident, kind, amount, at_ms, _, job_id in rows:
            if at_ms < since_ms:
                return
            if kind != JournalKind.CAPTURE:
                given: Kind = "refund" if kind in (JournalKind.REFUND, JournalKind.REVERSAL) else "topup"
                yield _Line(at_ms, 0, ident, given if amount > 0 else "debit", amount, job_id)
        if len(rows) < _ENTRIES:
            return
        before = rows[-1][4]


def _made_ms(job_id: str) -> int:
    """Return when a job was accepted; by its id, so that the order of ids is the order of debits."""
    return int(job_id[:8] + job_id[9:13], 16)
