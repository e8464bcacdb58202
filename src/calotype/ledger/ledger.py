"""What operators do with money: grant, top up, refund, set a credit limit, look."""

from typing import Any

from calotype.db import Database, Sql, Tx
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.ids import AccountId, OrgId
from calotype.kernel.money import MAX_MICRO, usd
from calotype.ledger.book import Book
from calotype.ledger.types import FUNDING, GRANTS, REVENUE, Balance, JournalKind, Movement, customer

_BY_IDEM = Sql(
    "SELECT e.account_id, e.amount_micro FROM journal j JOIN entry e ON e.journal_id = j.id"
    " WHERE j.idem_key = :key AND e.account_version IS NOT NULL"
)
_BALANCE = Sql("SELECT posted_micro, held_micro, credit_limit_micro FROM account WHERE id = :id")
_SET_LIMIT = Sql("UPDATE account SET credit_limit_micro = :limit WHERE id = :id")
_HISTORY = Sql(
    "SELECT j.id, j.kind, e.amount_micro, e.balance_after_micro, j.job_id, j.memo, j.created_at_ms, e.account_version"
    " FROM entry e JOIN journal j ON j.id = e.journal_id"
    " WHERE e.account_id = :id AND e.account_version < :before ORDER BY e.account_version DESC LIMIT :limit"
)

_AGAINST: dict[JournalKind, AccountId] = {
    JournalKind.TOPUP: FUNDING,
    JournalKind.GRANT: GRANTS,
    JournalKind.REFUND: REVENUE,
}


class Ledger:
    """Money operations outside the life of a job."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self._db = db
        self._clock = clock

    async def credit(
        self,
        org_id: OrgId,
        amount_micro: int,
        *,
        kind: JournalKind = JournalKind.GRANT,
        idem_key: str | None = None,
        memo: str | None = None,
    ) -> Balance:
        """Add money to (or, negative, take it from) an organisation; the same `idem_key` moves money once.

        Raises:
            Problem: `invalid_input` for an amount of zero or out of range, `idempotency_mismatch` for a key that moved
                another amount or another organisation's money, `insufficient_credits` when the account would fall
                below its limit.

        """
        if amount_micro == 0 or abs(amount_micro) > MAX_MICRO:
            raise Problem(
                Code.INVALID_INPUT, f"The amount must not be zero and at most {usd(MAX_MICRO)}.", field="amount"
            )
        now_ms = self._clock.now_ms()
        unique = None if idem_key is None else f"credit:{idem_key}"  # apart from the captures' own keys

        def write(tx: Tx) -> Balance:
            book = Book.of(tx)
            book.balance(org_id, now_ms)  # takes the account's lock, which also orders two senders of one key
            if unique is not None:
                earlier = tx.row(_BY_IDEM, {"key": unique})
                if earlier is not None:
                    if earlier != (customer(org_id), amount_micro):
                        raise Problem(
                            Code.IDEMPOTENCY_MISMATCH,
                            "The idempotency key was used before for another amount or organisation.",
                            field="idempotency_key",
                        )
                    return book.balance(org_id, now_ms)
            book.post(kind, org_id, amount_micro, against=_AGAINST[kind], now_ms=now_ms, idem_key=unique, memo=memo)
            book.flush()
            return book.balance(org_id, now_ms)

        return await self._db.write(write)

    async def set_credit_limit(self, org_id: OrgId, limit_micro: int) -> Balance:
        """Let an organisation's balance fall below zero by at most this much.

        Raises:
            Problem: `invalid_input` when the limit is negative, out of range or already overdrawn.

        """
        if not 0 <= limit_micro <= MAX_MICRO:
            raise Problem(
                Code.INVALID_INPUT, f"The credit limit must be between 0 and {usd(MAX_MICRO)}.", field="limit"
            )
        now_ms = self._clock.now_ms()

        def write(tx: Tx) -> Balance:
            before = Book.of(tx).balance(org_id, now_ms)
            if before.posted_micro - before.held_micro < -limit_micro:
                raise Problem(
                    Code.INVALID_INPUT,
                    f"The account already stands at {usd(before.posted_micro - before.held_micro)};"
                    " the limit cannot be less.",
                    field="limit",
                )
            tx.execute(_SET_LIMIT, {"id": customer(org_id), "limit": limit_micro})
            return Balance(before.posted_micro, before.held_micro, limit_micro)

        return await self._db.write(write)

    async def balance(self, org_id: OrgId) -> Balance:
        """Return an organisation's balance; an account nobody used yet is empty."""
        row = await self._db.read(lambda tx: tx.row(_BALANCE, {"id": customer(org_id)}))
        return Balance(0, 0, 0) if row is None else Balance(*row)

    async def history(
        self, org_id: OrgId, *, limit: int = 50, before: int | None = None
    ) -> tuple[list[Movement], int | None]:
        """Return an account's movements, newest first, and the cursor of the next page (None at the end)."""
        limit = max(1, min(limit, 1000))

        def read(tx: Tx) -> list[tuple[Any, ...]]:
            return tx.rows(_HISTORY, {"id": customer(org_id), "before": before or 2**62, "limit": limit})

        rows = await self._db.read(read)
        found = [
            Movement(
                journal_id=r[0],
                kind=JournalKind(r[1]),
                amount_micro=r[2],
                balance_after_micro=r[3],
                job_id=r[4],
                memo=r[5],
                created_at_ms=r[6],
            )
            for r in rows
        ]
        return found, rows[-1][7] if len(rows) == limit else None
