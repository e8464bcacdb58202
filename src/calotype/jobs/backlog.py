"""How many jobs have not ended, of each organisation and in all: what bounds the queue.

The numbers are counted every few seconds, and in between this process adds what it accepts and takes off what it sees
end. So with several processes a bound may be passed by what the others took since; the queue stays bounded.
"""

from collections import Counter

from calotype.db import Sql, Tx
from calotype.kernel.errors import Code, Problem
from calotype.kernel.ids import OrgId
from calotype.ledger.types import customer
from calotype.settings import LimitSettings

RETRY_S = 5.0

_OPEN = Sql("SELECT account_id, COUNT(*) FROM hold WHERE state = 'open' GROUP BY account_id")


def count_open(tx: Tx) -> dict[str, int]:
    """Return how many jobs have not ended, by account."""
    return {account: int(number) for account, number in tx.rows(_OPEN)}


class Backlog:
    """The open jobs as far as this process knows."""

    def __init__(self, limits: LimitSettings) -> None:
        self._limits = limits
        self._counted: dict[str, int] = {}
        self._total = 0
        self._since: Counter[str] = Counter()

    def check(self, org_id: OrgId) -> None:
        """Let one more job of an organisation in.

        Raises:
            Problem: `rate_limited` when it has as many open jobs as it may, `unavailable` when the server has.

        """
        account = customer(org_id)
        most = self._limits.max_open_jobs_per_org
        if self._counted.get(account, 0) + self._since[account] >= most:
            raise Problem(
                Code.RATE_LIMITED,
                f"This organisation has {most} jobs that have not ended, which is its limit; wait for some of them.",
                retry_after_s=RETRY_S,
                data={"limit": most},
            )
        if self._total + self._since.total() >= self._limits.max_open_jobs:
            raise Problem(
                Code.UNAVAILABLE, "The server has as many jobs as it takes; try again later.", retry_after_s=RETRY_S
            )

    def began(self, org_id: OrgId) -> None:
        """Count a job that was accepted here."""
        self._since[customer(org_id)] += 1

    def ended(self, org_id: OrgId) -> None:
        """Take off a job that ended here."""
        self._since[customer(org_id)] -= 1

    def counting(self) -> None:
        """Begin a count: what happens from now on comes on top of it."""
        self._since.clear()

    def counted(self, found: dict[str, int]) -> None:
        """Take a count as the truth."""
        self._counted = found
        self._total = sum(found.values())
