"""The money of one transaction: rows are locked once, checked in memory as a running total, and written together.

The rules, asserted where money moves:

* a hold is taken only while `posted - held - amount >= -credit_limit`, counting what this very batch already took;
* a hold is settled at most once, and never for more than it holds; what was captured is given back at most once;
* every journal sums to zero, and each customer entry says the balance it left behind.
"""

from collections.abc import Iterable
from typing import Any, Self

from calotype.db.tx import Tx
from calotype.kernel.errors import Code, Problem
from calotype.kernel.ids import AccountId, OrgId, uuid7
from calotype.kernel.money import MAX_MICRO, usd
from calotype.ledger.statements import (
    INSERT_ENTRY,
    INSERT_HOLD,
    INSERT_JOURNAL,
    LOCK_ACCOUNTS,
    LOCK_BUDGETS,
    MOVE_ACCOUNT,
    MOVE_BUDGET,
    OPEN_ACCOUNT,
    OPEN_BUDGET,
    SELECT_HOLDS,
    SETTLE_HOLD,
)
from calotype.ledger.types import REVENUE, Balance, HoldState, JournalKind, Settled, budget_lock, customer


class _Account:
    __slots__ = ("credit_limit", "d_entries", "d_held", "d_posted", "held", "posted", "version")

    def __init__(self, posted: int, held: int, credit_limit: int, version: int) -> None:
        self.posted, self.held, self.credit_limit, self.version = posted, held, credit_limit, version
        self.d_posted = self.d_held = self.d_entries = 0


class _Budget:
    __slots__ = ("d_held", "d_open", "d_spent", "held", "open_jobs", "spent")

    def __init__(self, spent: int, held: int, open_jobs: int) -> None:
        self.spent, self.held, self.open_jobs = spent, held, open_jobs
        self.d_spent = self.d_held = self.d_open = 0


class _Hold:
    __slots__ = ("account_id", "amount", "captured", "key_id", "org_id", "state")

    def __init__(self, row: tuple[Any, ...]) -> None:
        _, self.account_id, self.org_id, self.key_id, self.amount, state, self.captured = row
        self.state = HoldState(state)


class Book:
    """All accounts, budgets and holds that one transaction touches."""

    def __init__(self, tx: Tx) -> None:
        self._tx = tx
        self._accounts: dict[str, _Account] = {}
        self._budgets: dict[str, _Budget] = {}
        self._holds: dict[str, _Hold] = {}
        self._new_holds: list[dict[str, Any]] = []
        self._settled: list[dict[str, Any]] = []
        self._journals: list[dict[str, Any]] = []
        self._entries: list[dict[str, Any]] = []

    @classmethod
    def of(cls, tx: Tx) -> Self:
        """Return the transaction's book; the first call locks, in id order, every row the batch asked for."""
        book = tx.memo.get("book")
        if book is None:
            book = tx.memo["book"] = cls(tx)
            accounts = [name for name in tx.locks if name.startswith("org/")]
            keys = [name.removeprefix("~key/") for name in tx.locks if name.startswith("~key/")]
            if accounts:
                book._load_accounts(accounts)
            if keys:
                book._load_budgets(keys)
        return book

    def _load_accounts(self, ids: Iterable[str]) -> None:
        wanted = sorted(set(ids) - self._accounts.keys())
        for ident, posted, held, limit, version in self._tx.rows(LOCK_ACCOUNTS, {"ids": wanted}):
            self._accounts[ident] = _Account(posted, held, limit, version)

    def _load_budgets(self, ids: Iterable[str]) -> None:
        wanted = sorted(set(ids) - self._budgets.keys())
        for ident, spent, held, open_jobs in self._tx.rows(LOCK_BUDGETS, {"ids": wanted}):
            self._budgets[ident] = _Budget(spent, held, open_jobs)

    def _account(self, org_id: OrgId, now_ms: int) -> _Account:
        ident = customer(org_id)
        if ident not in self._accounts:
            self._load_accounts([ident])
        if ident not in self._accounts:
            self._tx.execute(OPEN_ACCOUNT, {"id": ident, "org_id": org_id, "now_ms": now_ms})
            self._load_accounts([ident])
        return self._accounts[ident]

    def _budget(self, key_id: str, org_id: str) -> _Budget:
        if key_id not in self._budgets:
            self._load_budgets([key_id])
        if key_id not in self._budgets:
            self._tx.execute(OPEN_BUDGET, {"id": key_id, "org_id": org_id})
            self._load_budgets([key_id])
        return self._budgets[key_id]

    def balance(self, org_id: OrgId, now_ms: int) -> Balance:
        """Return an organisation's balance as this transaction leaves it so far."""
        account = self._account(org_id, now_ms)
        return Balance(account.posted, account.held, account.credit_limit)

    def hold(
        self,
        hold_id: str,
        org_id: OrgId,
        amount_micro: int,
        *,
        now_ms: int,
        key_id: str | None = None,
        spend_cap_micro: int | None = None,
        max_open_jobs: int | None = None,
    ) -> None:
        """Reserve money for a job, once per `hold_id`.

        Raises:
            Problem: `insufficient_credits` with what is needed and available, `spend_cap_reached`, or `rate_limited`
                when the key has too many jobs in progress. Nothing has changed then.

        """
        if not 0 <= amount_micro <= MAX_MICRO:
            raise ValueError(f"a hold of {amount_micro} micro-USD is out of range")
        account = self._account(org_id, now_ms)
        budget = self._budget(key_id, org_id) if key_id is not None else None
        if budget is not None:
            if max_open_jobs is not None and budget.open_jobs >= max_open_jobs:
                raise Problem(
                    Code.RATE_LIMITED,
                    f"This key already has {budget.open_jobs} jobs in progress, which is its limit.",
                    retry_after_s=1,
                    data={"limit": max_open_jobs},
                )
            if (
                spend_cap_micro is not None
                and amount_micro
                and budget.spent + budget.held + amount_micro > spend_cap_micro
            ):
                raise Problem(
                    Code.SPEND_CAP_REACHED,
                    f"This request needs {usd(amount_micro)}, but the key's spend cap of {usd(spend_cap_micro)} leaves"
                    f" {usd(max(0, spend_cap_micro - budget.spent - budget.held))}.",
                    data={"needed_micro": amount_micro, "cap_micro": spend_cap_micro},
                )
        available = account.posted - account.held + account.credit_limit
        if amount_micro and amount_micro > available:
            raise Problem(
                Code.INSUFFICIENT_CREDITS,
                f"Not enough credit: this request needs {usd(amount_micro)} and {usd(max(0, available))} is available.",
                data={"needed_micro": amount_micro, "available_micro": max(0, available)},
            )
        account.held += amount_micro
        account.d_held += amount_micro
        if budget is not None:
            budget.held += amount_micro
            budget.d_held += amount_micro
            budget.open_jobs += 1
            budget.d_open += 1
        self._new_holds.append(
            {
                "id": hold_id,
                "account_id": customer(org_id),
                "org_id": org_id,
                "key_id": key_id,
                "amount": amount_micro,
                "now_ms": now_ms,
            }
        )

    def load_holds(self, ids: Iterable[str]) -> None:
        """Lock the holds that will be settled, all at once."""
        wanted = [ident for ident in ids if ident not in self._holds]
        if wanted:
            for row in self._tx.rows(SELECT_HOLDS, {"ids": wanted}):
                self._holds[row[0]] = _Hold(row)

    def settle(self, hold_id: str, captured_micro: int, *, now_ms: int) -> Settled:
        """Capture what was delivered (0 voids) and let the rest go; a hold settled before stays as it is.

        Raises:
            ValueError: no such hold, or more than it holds: a defect, never a caller's mistake.

        """
        self.load_holds([hold_id])
        hold = self._holds.get(hold_id)
        if hold is None:
            raise ValueError(f"there is no hold {hold_id}")
        if hold.state is not HoldState.OPEN:
            return Settled(first=False, captured_micro=hold.captured)
        if not 0 <= captured_micro <= hold.amount:
            raise ValueError(f"cannot capture {captured_micro} of a hold of {hold.amount}")
        account = self._account(hold.org_id, now_ms)
        account.held -= hold.amount
        account.d_held -= hold.amount
        if hold.key_id is not None:
            budget = self._budget(hold.key_id, hold.org_id)
            budget.held -= hold.amount
            budget.d_held -= hold.amount
            budget.spent += captured_micro
            budget.d_spent += captured_micro
            budget.open_jobs -= 1
            budget.d_open -= 1
        hold.state = HoldState.CAPTURED if captured_micro else HoldState.VOIDED
        hold.captured = captured_micro
        self._settled.append({"id": hold_id, "state": hold.state.value, "captured": captured_micro, "now_ms": now_ms})
        if captured_micro:  # never refused: the hold had reserved it
            self._note(
                JournalKind.CAPTURE,
                hold.org_id,
                account,
                -captured_micro,
                against=REVENUE,
                now_ms=now_ms,
                job_id=hold_id,
                idem_key=f"capture:{hold_id}",
            )
        return Settled(first=True, captured_micro=captured_micro)

    def reverse(self, hold_id: str, *, now_ms: int) -> int:
        """Give back all that was captured of a hold, at most once, and return how much; the hold stays as it was.

        Raises:
            ValueError: no such hold, or nothing was captured: a defect, never a caller's mistake.

        """
        self.load_holds([hold_id])
        hold = self._holds.get(hold_id)
        if hold is None or hold.state is not HoldState.CAPTURED:
            raise ValueError(f"nothing was captured of the hold {hold_id}")
        if hold.key_id is not None:
            budget = self._budget(hold.key_id, hold.org_id)
            budget.spent -= hold.captured
            budget.d_spent -= hold.captured
        self._note(
            JournalKind.REVERSAL,
            hold.org_id,
            self._account(hold.org_id, now_ms),
            hold.captured,
            against=REVENUE,
            now_ms=now_ms,
            job_id=hold_id,
            idem_key=f"reversal:{hold_id}",  # unique: a second reversal breaks its transaction
        )
        captured: int = hold.captured
        return captured

    def post(
        self,
        kind: JournalKind,
        org_id: OrgId,
        amount_micro: int,
        *,
        against: AccountId,
        now_ms: int,
        job_id: str | None = None,
        idem_key: str | None = None,
        memo: str | None = None,
    ) -> str:
        """Write a journal of two entries: the amount on the organisation's account, its opposite on a house account.

        Raises:
            Problem: `insufficient_credits`: the account may not fall so low.

        """
        if amount_micro == 0 or abs(amount_micro) > MAX_MICRO:
            raise ValueError(f"a posting of {amount_micro} micro-USD is out of range")
        account = self._account(org_id, now_ms)
        available = account.posted - account.held + account.credit_limit
        if amount_micro < 0 and available + amount_micro < 0:
            raise Problem(
                Code.INSUFFICIENT_CREDITS,
                f"The account has {usd(max(0, available))} available and cannot give {usd(-amount_micro)}.",
                data={"needed_micro": -amount_micro, "available_micro": max(0, available)},
            )
        return self._note(
            kind,
            org_id,
            account,
            amount_micro,
            against=against,
            now_ms=now_ms,
            job_id=job_id,
            idem_key=idem_key,
            memo=memo,
        )

    def _note(
        self,
        kind: JournalKind,
        org_id: OrgId,
        account: _Account,
        amount_micro: int,
        *,
        against: AccountId,
        now_ms: int,
        job_id: str | None = None,
        idem_key: str | None = None,
        memo: str | None = None,
    ) -> str:
        account.posted += amount_micro
        account.d_posted += amount_micro
        account.version += 1
        account.d_entries += 1
        journal_id = uuid7()
        self._journals.append(
            {
                "id": journal_id,
                "kind": kind.value,
                "org_id": org_id,
                "job_id": job_id,
                "idem_key": idem_key,
                "memo": memo,
                "now_ms": now_ms,
            }
        )
        self._entries.append(
            {
                "journal_id": journal_id,
                "account_id": customer(org_id),
                "amount": amount_micro,
                "version": account.version,
                "after": account.posted,
            }
        )
        self._entries.append(
            {"journal_id": journal_id, "account_id": against, "amount": -amount_micro, "version": None, "after": None}
        )
        return journal_id

    def post_house(
        self, kind: JournalKind, debit: AccountId, credit: AccountId, amount_micro: int, *, now_ms: int, memo: str
    ) -> None:
        """Move money between two house accounts (an upstream's bill)."""
        journal_id = uuid7()
        self._journals.append(
            {
                "id": journal_id,
                "kind": kind.value,
                "org_id": "house",
                "job_id": None,
                "idem_key": None,
                "memo": memo,
                "now_ms": now_ms,
            }
        )
        for account_id, amount in ((debit, -amount_micro), (credit, amount_micro)):
            self._entries.append(
                {"journal_id": journal_id, "account_id": account_id, "amount": amount, "version": None, "after": None}
            )

    def flush(self) -> None:
        """Write everything noted so far; may be called again by the next command type of the same transaction."""
        tx = self._tx
        tx.executemany(INSERT_HOLD, self._new_holds)
        if self._settled and tx.executemany(SETTLE_HOLD, self._settled) != len(self._settled):
            raise AssertionError("a hold was settled by somebody else although its row is locked")
        accounts = [
            {"id": ident, "posted": a.d_posted, "held": a.d_held, "entries": a.d_entries}
            for ident, a in self._accounts.items()
            if a.d_posted or a.d_held or a.d_entries
        ]
        budgets = [
            {"id": ident, "spent": b.d_spent, "held": b.d_held, "open_jobs": b.d_open}
            for ident, b in self._budgets.items()
            if b.d_spent or b.d_held or b.d_open
        ]
        tx.executemany(MOVE_ACCOUNT, accounts)
        tx.executemany(MOVE_BUDGET, budgets)
        tx.executemany(INSERT_JOURNAL, self._journals)
        tx.executemany(INSERT_ENTRY, self._entries)
        for account in self._accounts.values():
            account.d_posted = account.d_held = account.d_entries = 0
        for budget in self._budgets.values():
            budget.d_spent = budget.d_held = budget.d_open = 0
        for noted in (self._new_holds, self._settled, self._journals, self._entries):
            noted.clear()


def locks_of(org_id: OrgId, key_id: str | None) -> tuple[str, ...]:
    """Return the lock names a command of this organisation and key asks for."""
    return (customer(org_id),) if key_id is None else (customer(org_id), budget_lock(key_id))
