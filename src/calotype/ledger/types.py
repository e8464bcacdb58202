"""The ledger's words: account names, refusals' facts and what a settled hold looks like."""

from enum import StrEnum

from msgspec import Struct

from calotype.kernel.ids import AccountId, OrgId

FUNDING = AccountId("house/funding")
"""Where top-ups come from."""
GRANTS = AccountId("house/grants")
"""Where the operator's gifts come from."""
REVENUE = AccountId("house/revenue")
"""Where captured money goes."""
COST = AccountId("house/provider-cost")
"""What upstreams bill us."""
PAYABLE = AccountId("house/payable")
"""What we owe upstreams for it."""


def customer(org_id: OrgId) -> AccountId:
    """Return the name of an organisation's account."""
    return AccountId(f"org/{org_id}")


def budget_lock(key_id: str) -> str:
    """Return the lock name of a key's budget row; it sorts behind every account's name."""
    return f"~key/{key_id}"


class JournalKind(StrEnum):
    """Why money moved."""

    TOPUP = "topup"
    GRANT = "grant"
    REFUND = "refund"
    CAPTURE = "capture"
    REVERSAL = "reversal"
    """A capture given back because its result was lost before anybody had it."""
    PROVIDER_COST = "provider-cost"


class HoldState(StrEnum):
    """A hold is open and then, once, captured or voided."""

    OPEN = "open"
    CAPTURED = "captured"
    VOIDED = "voided"


class Balance(Struct, frozen=True):
    """An account at one moment, in micro-USD."""

    posted_micro: int
    held_micro: int
    credit_limit_micro: int = 0

    @property
    def available_micro(self) -> int:
        """What may still be held."""
        return self.posted_micro - self.held_micro + self.credit_limit_micro


class Movement(Struct, frozen=True):
    """One line of an account's history; `balance_after_micro` is what was posted after it."""

    journal_id: str
    kind: JournalKind
    amount_micro: int
    balance_after_micro: int
    job_id: str | None
    memo: str | None
    created_at_ms: int


class Settled(Struct, frozen=True):
    """What became of a settlement: `first` is False when the hold had been settled before, which is fine."""

    first: bool
    captured_micro: int
