"""Recompute the whole ledger from its entries and holds and say where a row differs."""

from msgspec import Struct

from calotype.db import Sql, Tx

_CHECKS: tuple[tuple[str, Sql], ...] = (
    (
        "journal does not sum to zero",
        Sql("SELECT journal_id, 0, SUM(amount_micro) FROM entry GROUP BY journal_id HAVING SUM(amount_micro) <> 0"),
    ),
    (
        "journal has no entries",
        Sql("SELECT j.id, 2, 0 FROM journal j LEFT JOIN entry e ON e.journal_id = j.id WHERE e.journal_id IS NULL"),
    ),
    (
        "posted differs from the sum of entries",
        Sql(
            "SELECT a.id, COALESCE(s.total, 0), a.posted_micro FROM account a LEFT JOIN"
            " (SELECT account_id, SUM(amount_micro) AS total FROM entry GROUP BY account_id) s ON s.account_id = a.id"
            " WHERE a.posted_micro <> COALESCE(s.total, 0)"
        ),
    ),
    (
        "held differs from the sum of open holds",
        Sql(
            "SELECT a.id, COALESCE(s.total, 0), a.held_micro FROM account a LEFT JOIN"
            " (SELECT account_id, SUM(amount_micro) AS total FROM hold WHERE state = 'open' GROUP BY account_id) s"
            " ON s.account_id = a.id WHERE a.held_micro <> COALESCE(s.total, 0)"
        ),
    ),
    (
        "balance is below its limit",
        Sql(
            "SELECT id, -credit_limit_micro, posted_micro - held_micro FROM account"
            " WHERE posted_micro - held_micro < -credit_limit_micro"
        ),
    ),
    (
        "version differs from the number of entries",
        Sql(
            "SELECT a.id, COALESCE(s.n, 0), a.version FROM account a LEFT JOIN"
            " (SELECT account_id, COUNT(*) AS n FROM entry GROUP BY account_id) s ON s.account_id = a.id"
            " WHERE a.version <> COALESCE(s.n, 0)"
        ),
    ),
    (
        "balance after an entry differs from the running sum",
        Sql(
            "SELECT journal_id, total, balance_after_micro FROM (SELECT journal_id, balance_after_micro,"
            " SUM(amount_micro) OVER (PARTITION BY account_id ORDER BY account_version) AS total"
            " FROM entry WHERE account_version IS NOT NULL) running WHERE total <> balance_after_micro"
        ),
    ),
    (
        "entries of an account are not numbered one by one",
        Sql(
            "SELECT journal_id, place, account_version FROM (SELECT journal_id, account_version,"
            " ROW_NUMBER() OVER (PARTITION BY account_id ORDER BY account_version) AS place"
            " FROM entry WHERE account_version IS NOT NULL) numbered WHERE place <> account_version"
        ),
    ),
    (
        "entry on a customer account without its number or balance",
        Sql(
            "SELECT journal_id, 1, 0 FROM entry WHERE account_id NOT LIKE 'house/%'"
            " AND (account_version IS NULL OR balance_after_micro IS NULL)"
        ),
    ),
    (
        "entry without a journal",
        Sql(
            "SELECT e.journal_id, 1, 0 FROM entry e LEFT JOIN journal j ON j.id = e.journal_id"
            " WHERE j.id IS NULL GROUP BY e.journal_id"
        ),
    ),
    (
        "journal on another organisation's account",
        Sql(
            "SELECT j.id, 1, 0 FROM journal j JOIN entry e ON e.journal_id = j.id"
            " WHERE e.account_id NOT LIKE 'house/%' AND e.account_id <> 'org/' || j.org_id"
        ),
    ),
    (
        "entry on a customer account that does not exist",
        Sql(
            "SELECT e.account_id, 1, 0 FROM entry e LEFT JOIN account a ON a.id = e.account_id"
            " WHERE a.id IS NULL AND e.account_id NOT LIKE 'house/%' GROUP BY e.account_id"
        ),
    ),
    (
        "hold on an account that does not exist",
        Sql("SELECT h.id, 1, 0 FROM hold h LEFT JOIN account a ON a.id = h.account_id WHERE a.id IS NULL"),
    ),
    (
        "hold of a key without a budget",
        Sql(
            "SELECT h.id, 1, 0 FROM hold h LEFT JOIN budget b ON b.key_id = h.key_id"
            " WHERE h.key_id IS NOT NULL AND b.key_id IS NULL"
        ),
    ),
    (
        "captured differs from the posted captures",
        Sql(
            "SELECT h.id, h.captured_micro, COALESCE(-s.total, 0) FROM hold h LEFT JOIN"
            " (SELECT j.job_id, e.account_id, SUM(e.amount_micro) AS total FROM journal j JOIN entry e"
            " ON e.journal_id = j.id WHERE j.kind = 'capture' GROUP BY j.job_id, e.account_id) s"
            " ON s.job_id = h.id AND s.account_id = h.account_id WHERE h.captured_micro <> COALESCE(-s.total, 0)"
        ),
    ),
    (
        "capture without a captured hold",
        Sql(
            "SELECT j.id, 1, 0 FROM journal j LEFT JOIN hold h ON h.id = j.job_id AND h.state = 'captured'"
            " WHERE j.kind = 'capture' AND h.id IS NULL"
        ),
    ),
    (
        "reversals that are not the whole of a captured hold",
        Sql(
            "SELECT j.job_id, COALESCE(h.captured_micro, 0), SUM(e.amount_micro) FROM journal j"
            " JOIN entry e ON e.journal_id = j.id AND e.account_version IS NOT NULL"
            " LEFT JOIN hold h ON h.id = j.job_id AND h.state = 'captured' AND h.account_id = e.account_id"
            " WHERE j.kind = 'reversal' GROUP BY j.job_id, h.captured_micro"
            " HAVING SUM(e.amount_micro) <> COALESCE(h.captured_micro, 0)"
        ),
    ),
    (
        "a key's spend differs from its captured holds",
        Sql(
            "SELECT b.key_id, COALESCE(s.total, 0) - COALESCE(r.total, 0), b.spent_micro FROM budget b LEFT JOIN"
            " (SELECT key_id, SUM(captured_micro) AS total FROM hold GROUP BY key_id) s ON s.key_id = b.key_id"
            " LEFT JOIN (SELECT h.key_id, SUM(h.captured_micro) AS total FROM journal j JOIN hold h ON h.id = j.job_id"
            " WHERE j.kind = 'reversal' GROUP BY h.key_id) r ON r.key_id = b.key_id"
            " WHERE b.spent_micro <> COALESCE(s.total, 0) - COALESCE(r.total, 0)"
        ),
    ),
    (
        "a key's held amount differs from its open holds",
        Sql(
            "SELECT b.key_id, COALESCE(s.total, 0), b.held_micro FROM budget b LEFT JOIN"
            " (SELECT key_id, SUM(amount_micro) AS total FROM hold WHERE state = 'open' GROUP BY key_id) s"
            " ON s.key_id = b.key_id WHERE b.held_micro <> COALESCE(s.total, 0)"
        ),
    ),
    (
        "a key's open jobs differ from its open holds",
        Sql(
            "SELECT b.key_id, COALESCE(s.n, 0), b.open_jobs FROM budget b LEFT JOIN"
            " (SELECT key_id, COUNT(*) AS n FROM hold WHERE state = 'open' GROUP BY key_id) s"
            " ON s.key_id = b.key_id WHERE b.open_jobs <> COALESCE(s.n, 0)"
        ),
    ),
)
_COUNTS = Sql(
    "SELECT (SELECT COUNT(*) FROM account), (SELECT COUNT(*) FROM journal), (SELECT COUNT(*) FROM entry),"
    " (SELECT COUNT(*) FROM hold), (SELECT COUNT(*) FROM hold WHERE state = 'open')"
)

MAX_DIFFERENCES = 100


class Difference(Struct, frozen=True):
    """One row that is not what the entries and holds say it should be."""

    rule: str
    id: str
    expected: int
    found: int


class Verdict(Struct, frozen=True):
    """What a verification looked at and what it found wrong (at most 100 differences a rule)."""

    accounts: int
    journals: int
    entries: int
    holds: int
    open_holds: int
    differences: tuple[Difference, ...]

    @property
    def ok(self) -> bool:
        """Whether everything adds up."""
        return not self.differences


def verify(tx: Tx) -> Verdict:
    """Recompute everything; run it on a snapshot, so that a busy server does not look wrong."""
    differences: list[Difference] = []
    for rule, sql in _CHECKS:
        found = tx.rows(sql)[:MAX_DIFFERENCES]
        differences.extend(Difference(rule, str(ident), int(expected), int(got)) for ident, expected, got in found)
    accounts, journals, entries, holds, open_holds = tx.rows(_COUNTS)[0]
    return Verdict(accounts, journals, entries, holds, open_holds, tuple(differences))
