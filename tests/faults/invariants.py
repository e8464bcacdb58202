"""What must hold of a whole database whatever happened: money, jobs, submissions, artifacts, events, outbox."""

from calotype.db import Sql, Tx
from calotype.ledger.verify import verify

_RULES: tuple[tuple[str, Sql], ...] = (
    (
        "an ended job has a settled hold",
        Sql(
            "SELECT j.id, j.state, h.state FROM job j LEFT JOIN hold h ON h.id = j.id"
            " WHERE j.state IN ('succeeded', 'failed', 'canceled') AND (h.id IS NULL OR h.state = 'open')"
        ),
    ),
    (
        "a job that goes on has an open hold",
        Sql(
            "SELECT j.id, j.state, h.state FROM job j LEFT JOIN hold h ON h.id = j.id"
            " WHERE j.state NOT IN ('succeeded', 'failed', 'canceled') AND (h.id IS NULL OR h.state <> 'open')"
        ),
    ),
    (
        "every hold belongs to a job",
        Sql("SELECT h.id, h.state, '' FROM hold h LEFT JOIN job j ON j.id = h.id WHERE j.id IS NULL"),
    ),
    (
        "only a success is charged, and what the job says is what the hold says",
        Sql(
            "SELECT j.id, j.state, h.captured_micro FROM job j JOIN hold h ON h.id = j.id"
            " LEFT JOIN journal r ON r.job_id = j.id AND r.kind = 'reversal'"
            " WHERE j.finished_at_ms IS NOT NULL"
            " AND (COALESCE(j.charged_micro, 0) <> CASE WHEN r.id IS NULL THEN h.captured_micro ELSE 0 END"
            " OR (j.state <> 'succeeded' AND h.captured_micro <> 0 AND r.id IS NULL))"
        ),
    ),
    (
        "a job is captured by one journal",
        Sql("SELECT job_id, COUNT(*), '' FROM journal WHERE kind = 'capture' GROUP BY job_id HAVING COUNT(*) > 1"),
    ),
    (
        "a revoked job was charged, came to nothing and is owed by nobody",
        Sql(
            "SELECT j.id, j.state, COALESCE(r.kind, '') FROM job j"
            " LEFT JOIN journal r ON r.job_id = j.id AND r.kind = 'reversal'"
            " LEFT JOIN event e ON e.job_id = j.id AND e.type = 'job.revoked'"
            " WHERE (r.id IS NULL) <> (e.seq IS NULL)"
            " OR (r.id IS NOT NULL AND (j.state <> 'failed' OR j.owed_by IS NOT NULL))"
            " OR (j.owed_by IS NOT NULL AND (j.state <> 'succeeded' OR j.charged_micro = 0))"
        ),
    ),
    (
        "at most one submission of a job was accepted",
        Sql(
            "SELECT job_id, COUNT(*), '' FROM submission WHERE state IN ('accepted', 'done', 'ambiguous')"
            " GROUP BY job_id HAVING COUNT(*) > 1"
        ),
    ),
    (
        "a success has a submission that is done and no other",
        Sql(
            "SELECT j.id, s.state, s.attempt FROM job j LEFT JOIN submission s"
            " ON s.job_id = j.id AND s.attempt = j.attempt"
            " WHERE j.state = 'succeeded' AND COALESCE(s.state, '') <> 'done'"
        ),
    ),
    (
        "no submission of an ended job is left open",
        Sql(
            "SELECT j.id, s.state, s.attempt FROM job j JOIN submission s ON s.job_id = j.id"
            " WHERE j.state IN ('succeeded', 'failed', 'canceled') AND s.state IN ('intent', 'accepted')"
        ),
    ),
    (
        "only a success has artifacts",
        Sql(
            "SELECT a.job_id, j.state, a.n FROM artifact a LEFT JOIN job j ON j.id = a.job_id"
            " WHERE j.id IS NULL OR j.state <> 'succeeded'"
        ),
    ),
    (
        "an end is announced once where a webhook was asked for, and nowhere else",
        Sql(
            "SELECT j.id, j.state, COUNT(o.id) FROM job j LEFT JOIN outbox o ON o.job_id = j.id"
            " GROUP BY j.id, j.state, j.webhook_url HAVING COUNT(o.id) <>"
            " CASE WHEN j.webhook_url IS NOT NULL AND j.state IN ('succeeded', 'failed', 'canceled')"
            " THEN 1 ELSE 0 END"
        ),
    ),
    (
        "the events of a job are numbered one by one",
        Sql(
            "SELECT j.id, j.events, COUNT(e.seq) FROM job j LEFT JOIN event e ON e.job_id = j.id"
            " GROUP BY j.id, j.events HAVING COUNT(e.seq) <> j.events OR MAX(e.seq) <> j.events"
        ),
    ),
    (
        "a job ends in one event, the last but for its revocation",
        Sql(
            "SELECT j.id, j.state, COUNT(e.seq) FROM job j LEFT JOIN event e ON e.job_id = j.id"
            " AND e.type IN ('job.succeeded', 'job.failed', 'job.canceled', 'job.revoked')"
            " GROUP BY j.id, j.state, j.events"
            " HAVING COUNT(CASE WHEN e.type <> 'job.revoked' THEN 1 END)"
            " <> CASE WHEN j.state IN ('succeeded', 'failed', 'canceled') THEN 1 ELSE 0 END"
            " OR COALESCE(MAX(e.seq), j.events) <> j.events"
        ),
    ),
)


def broken_rules(tx: Tx) -> list[str]:
    """Return one sentence for each row that breaks a rule."""
    found = [f"ledger: {one.rule}: {one.id} {one.expected} != {one.found}" for one in verify(tx).differences]
    for rule, sql in _RULES:
        found += [f"{rule}: {row}" for row in tx.rows(sql)[:10]]
    return found
