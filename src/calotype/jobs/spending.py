"""What an organisation asked for and spent in a stretch of time, grouped by what its jobs have in common.

Job ids begin with their time, so a stretch of time is a stretch of the index on organisation and id.
"""

from collections import defaultdict
from typing import Literal

import msgspec
from msgspec import Struct

from calotype.db import Sql, Tx
from calotype.kernel.ids import KeyId, OrgId

Group = Literal["model", "key", "dialect", "operation", "customer", "day", "tag"]

_COLUMNS: dict[str, str] = {
    "model": "model", "key": "key_id", "dialect": "dialect", "operation": "operation",
    "customer": "COALESCE(customer, '')", "day": "created_at_ms / 86400000", "tag": "COALESCE(tags, '')",
}  # fmt: skip
_COUNTS = (
    "COUNT(*), SUM(CASE WHEN state = 'succeeded' THEN 1 ELSE 0 END),"
    " SUM(CASE WHEN state IN ('failed', 'canceled') THEN 1 ELSE 0 END), SUM(COALESCE(charged_micro, 0)) FROM job"
    " WHERE org_id = :org_id AND id >= :first AND id < :beyond"
    " AND (CAST(:key_id AS TEXT) IS NULL OR key_id = :key_id) GROUP BY"
)
_BY = {group: Sql(" ".join(("SELECT", f"{column},", _COUNTS, column))) for group, column in _COLUMNS.items()}


class Spent(Struct, frozen=True):
    """How many requests there were, how they ended, and what was captured for them."""

    requests: int = 0
    succeeded: int = 0
    failed: int = 0
    charged_micro: int = 0

    def plus(self, other: "Spent") -> "Spent":
        """Return both together."""
        return Spent(
            self.requests + other.requests, self.succeeded + other.succeeded, self.failed + other.failed,
            self.charged_micro + other.charged_micro,
        )  # fmt: skip


def spending(
    tx: Tx, org_id: OrgId, *, since_ms: int, until_ms: int, by: Group, tag: str = "", key_id: KeyId | None = None
) -> dict[str, Spent]:
    """Return what was spent on jobs accepted in `[since, until)`, by group; `key_id` looks at one key only.

    With `by` as `tag` the groups are the values of one tag; jobs without it, or without a customer, are under "".
    Days are counted since the Unix epoch.
    """
    params = {"org_id": org_id, "first": id_at(since_ms), "beyond": id_at(until_ms), "key_id": key_id}
    found: dict[str, Spent] = defaultdict(Spent)
    for value, *counts in tx.rows(_BY[by], params):
        group = _tagged(str(value), tag) if by == "tag" else str(value)
        found[group] = found[group].plus(Spent(*(int(one) for one in counts)))
    return dict(found)


def id_at(at_ms: int) -> str:
    """Return the least id that a job accepted at this moment can have."""
    digits = f"{max(0, at_ms):012x}"
    return f"{digits[:8]}-{digits[8:]}-0000-0000-000000000000"


def _tagged(tags: str, name: str) -> str:
    return str(msgspec.json.decode(tags).get(name, "")) if tags else ""
