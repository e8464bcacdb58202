"""The caller's own account: profile, credits and their history (`wire/products.md B5`)."""

from msgspec import Struct

from calotype.dialects.door import Exchange
from calotype.dialects.jobs.answers import tell
from calotype.dialects.jobs.credits import Amount, two_digits
from calotype.dialects.jobs.desk import Desk, whole
from calotype.dialects.jobs.statuses import moment
from calotype.jobs.statement import Kind

LINES = 20
MOST_LINES = 500
CURRENCY = "THB"
"""The word that the published answer carries; what a credit is worth here is the operator's setting."""


class JobsProfile(Struct):
    """Who calls; accounts here are organisations and have no mail address."""

    success: bool
    user_id: str
    name: str
    email: str | None
    credits_balance: Amount
    created_at: str


class CreditBalance(Struct):
    """What is left: what was paid in, less what was spent and what running jobs were debited."""

    success: bool
    user_id: str
    credits_balance: Amount
    credits_balance_formatted: str
    currency: str
    cached: bool


class CreditLine(Struct):
    """One movement of credits; `type` says which way, `amount` is never negative."""

    id: str
    type: Kind
    amount: Amount
    balance_after: Amount
    job_id: str | None
    created_at: str


class CreditLines(Struct):
    """The newest movements."""

    success: bool
    transactions: list[CreditLine]


class JobsDone(Struct):
    """That it was done, in words."""

    success: bool
    message: str


async def profile(desk: Desk, x: Exchange) -> None:
    """Answer who calls."""
    org = (await desk.enter(x)).org
    left = desk.rate.left(await desk.statement.balance_micro(org.id))
    await tell(x, JobsProfile(True, org.id, org.name, None, left, moment(org.created_at_ms)))


async def balance(desk: Desk, x: Exchange) -> None:
    """Answer what is left."""
    org = (await desk.enter(x)).org
    left = desk.rate.left(await desk.statement.balance_micro(org.id))
    await tell(x, CreditBalance(True, org.id, left, f"{two_digits(left)} เครดิต", CURRENCY, False))


async def credit_history(desk: Desk, x: Exchange) -> None:
    """Answer the newest movements of credits."""
    caller = await desk.enter(x)
    desk.refuse_lists(caller)
    lines = await desk.statement.transactions(caller.org.id, whole(x, "limit", LINES, MOST_LINES))
    shown = [
        CreditLine(
            one.id, one.kind, desk.rate.of(one.amount_micro), desk.rate.left(one.balance_after_micro),
            one.job_id, moment(one.at_ms),
        )
        for one in lines
    ]  # fmt: skip
    await tell(x, CreditLines(True, shown))


async def forget_cached(desk: Desk, x: Exchange) -> None:
    """Answer that the balance is read anew, which it always is."""
    await desk.enter(x)
    await tell(x, JobsDone(True, "Balances are not cached here; the next answer is read anew."))
