"""Accept: one commit that holds the money, writes the job and remembers the request, or changes nothing.

A request sent again is joined to its job instead of repeated. An `Idempotency-Key` always wins. Without one, the same
key, path and body (the *fingerprint*) is joined when the client says it is a retry, unless the answer was delivered
more than a minute ago, or when the earlier answer was cut off and ended at most a minute ago. A job that failed is not
joined by fingerprint, for nothing was charged for it.
"""

from collections.abc import Sequence
from typing import Any, ClassVar, Self

from msgspec import Struct
from msgspec.structs import replace

from calotype.db import ManySql, Sql, Tx
from calotype.events.log import INSERT_EVENT, event_row
from calotype.jobs.types import JobPlan, json_text
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass, Operation, Region
from calotype.kernel.ids import JobId, KeyId, OrgId
from calotype.kernel.job import JobState
from calotype.ledger.book import Book, locks_of

EXPLICIT_TTL_MS = 24 * 3600 * 1000
FINGERPRINT_TTL_MS = 10 * 60 * 1000
REJOIN_MS = 60 * 1000

_FIND = Sql(
    "SELECT i.id, i.request_hash, i.job_id, i.answer, i.answer_ended_ms, j.state, i.expires_at_ms"
    " FROM idempotency i JOIN job j ON j.id = i.job_id WHERE i.id {in:ids}"
)
_REMEMBER = ManySql(
    "INSERT INTO idempotency (id, request_hash, job_id, answer, answer_by, expires_at_ms)"
    " VALUES (:id, :request_hash, :job_id, 'open', :instance, :expires_at_ms)"
    " ON CONFLICT (id) DO UPDATE SET request_hash = excluded.request_hash, job_id = excluded.job_id, answer = 'open',"
    " answer_by = excluded.answer_by, answer_ended_ms = NULL, expires_at_ms = excluded.expires_at_ms"
)
_REOPEN = ManySql(
    "UPDATE idempotency SET answer = 'open', answer_by = :instance, answer_ended_ms = NULL WHERE id = :id"
)
_INSERT_JOB = ManySql(
    "INSERT INTO job (id, org_id, key_id, state, dialect, operation, model, data_class, region, priority, plan, input,"
    " provider, route, attempt, progress, cancel_requested, events, lease_by, lease_n, next_at_ms, deadline_at_ms,"
    " webhook_url, customer, tags, quote_micro, created_at_ms, started_at_ms)"
    " VALUES (:id, :org_id, :key_id, :state, :dialect, :operation, :model, :data_class, :region, :priority, :plan,"
    " :input, :provider, 0, :attempt, 0, 0, 1, :lease_by, :lease_n, :next_at_ms, :deadline_at_ms,"
    " :webhook_url, :customer, :tags, :quote_micro, :created_at_ms, :started_at_ms)"
)
INSERT_SUBMISSION = ManySql(
    "INSERT INTO submission (job_id, attempt, provider, upstream_model, state, cost_posted, created_at_ms)"
    " VALUES (:job_id, :attempt, :provider, :upstream_model, 'intent', 0, :now_ms)"
)


class Accepted(Struct, frozen=True):
    """The job a request got: its own, or the one it was joined to."""

    job_id: JobId
    joined: bool


class Accept(Struct, frozen=True):
    """Everything accept decided about one request, to be committed.

    `inline` means the accepting process runs the job itself at once: the row is born `submitting` under its lease,
    with its submission recorded. `lease_by` without `inline` keeps a PHI job with the process that knows its input.
    `budget_id` is the key whose budget the hold counts on, where that is another one than the key that asks.
    """

    point: ClassVar[str | None] = "accept"

    job_id: JobId
    org_id: OrgId
    key_id: KeyId
    dialect: str
    operation: Operation
    model: str
    data_class: DataClass
    region: Region
    priority: int
    plan: JobPlan
    input: dict[str, Any] | None
    hold_micro: int
    instance: str
    inline: bool
    mine: bool
    now_ms: int
    lease_ms: int
    deadline_at_ms: int
    idempotency_key: str | None = None
    fingerprint: str | None = None
    retry: bool = False
    budget_id: KeyId | None = None
    spend_cap_micro: int | None = None
    max_open_jobs: int | None = None
    webhook_url: str | None = None
    customer: str | None = None
    tags: dict[str, str] | None = None

    @property
    def locks(self) -> tuple[str, ...]:
        """The organisation's account and the key's budget."""
        return locks_of(self.org_id, self.budget_id or self.key_id)

    @property
    def memory_id(self) -> str | None:
        """The name under which this request is remembered; it begins with the organisation."""
        if self.idempotency_key is not None:
            return f"{self.org_id}/key/{self.idempotency_key}"
        return f"{self.org_id}/fp/{self.fingerprint}" if self.fingerprint is not None else None

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> list[Accepted | Problem]:
        """Accept, join or refuse each request; a refusal leaves its neighbours alone."""
        book = Book.of(tx)
        names = sorted({name for one in batch if (name := one.memory_id) is not None})
        known = {row[0]: row[1:] for row in tx.rows(_FIND, {"ids": names})} if names else {}
        answers: list[Accepted | Problem] = []
        taken: list[Self] = []
        remembered: dict[str, dict[str, Any]] = {}
        reopened: list[dict[str, Any]] = []
        for one in batch:
            name = one.memory_id
            try:
                earlier = one._join(known.get(name)) if name is not None else None
                if name is not None and earlier is not None:
                    answers.append(Accepted(earlier, joined=True))
                    reopened.append({"id": name, "instance": one.instance})
                    known[name] = (*known[name][:2], "open", None, *known[name][4:])
                    continue
                book.hold(
                    one.job_id,
                    one.org_id,
                    one.hold_micro,
                    now_ms=one.now_ms,
                    key_id=one.budget_id or one.key_id,
                    spend_cap_micro=one.spend_cap_micro,
                    max_open_jobs=one.max_open_jobs,
                )
            except Problem as refusal:
                answers.append(refusal)
                continue
            taken.append(one)
            answers.append(Accepted(one.job_id, joined=False))
            if name is not None:
                ttl = EXPLICIT_TTL_MS if one.idempotency_key is not None else FINGERPRINT_TTL_MS
                remembered[name] = {
                    "id": name,
                    "request_hash": one.fingerprint or "",
                    "job_id": one.job_id,
                    "instance": one.instance,
                    "expires_at_ms": one.now_ms + ttl,
                }
                known[name] = (one.fingerprint or "", one.job_id, "open", None, "queued", one.now_ms + ttl)
        book.flush()
        tx.executemany(_INSERT_JOB, [one._row() for one in taken])
        tx.executemany(
            INSERT_SUBMISSION,
            [
                {
                    "job_id": one.job_id,
                    "attempt": 1,
                    "provider": one.plan.routes[0].provider,
                    "upstream_model": one.plan.routes[0].upstream,
                    "now_ms": one.now_ms,
                }
                for one in taken
                if one.inline
            ],
        )
        tx.executemany(_REMEMBER, list(remembered.values()))
        tx.executemany(_REOPEN, reopened)
        tx.executemany(
            INSERT_EVENT, [event_row(one.job_id, 1, one.org_id, "job.accepted", one.now_ms) for one in taken]
        )
        return answers

    def _join(self, earlier: tuple[Any, ...] | None) -> JobId | None:
        """Return the job this request belongs to, or None when it is a new one."""
        if earlier is None:
            return None
        request_hash, job_id, answer, ended_ms, state, expires_at_ms = earlier
        if expires_at_ms <= self.now_ms:
            return None
        if self.idempotency_key is not None:
            if request_hash != (self.fingerprint or ""):
                raise Problem(
                    Code.IDEMPOTENCY_MISMATCH,
                    "This Idempotency-Key was used before with another request; use a new key.",
                    field="Idempotency-Key",
                )
            return JobId(job_id)
        if state in (JobState.FAILED.value, JobState.CANCELED.value):
            return None
        lately = ended_ms is not None and self.now_ms - ended_ms <= REJOIN_MS
        if (self.retry and (answer != "delivered" or lately)) or (answer == "broken" and lately):
            return JobId(job_id)
        return None

    def _row(self) -> dict[str, Any]:
        held = self.inline or self.mine
        phi = self.data_class is DataClass.PHI
        return {
            "id": self.job_id,
            "org_id": self.org_id,
            "key_id": self.key_id,
            "state": (JobState.SUBMITTING if self.inline else JobState.QUEUED).value,
            "dialect": self.dialect,
            "operation": self.operation.value,
            "model": self.model,
            "data_class": self.data_class.value,
            "region": self.region.value,
            "priority": self.priority,
            "plan": json_text(replace(self.plan, warnings=()) if phi else self.plan),  # warnings name fields as asked
            "input": None if self.input is None else json_text(self.input),
            "provider": self.plan.routes[0].provider,
            "attempt": 1 if self.inline else 0,
            "lease_by": self.instance if held else None,
            "lease_n": 1 if held else 0,
            "next_at_ms": self.now_ms + self.lease_ms if held else self.now_ms,
            "deadline_at_ms": self.deadline_at_ms,
            "webhook_url": self.webhook_url,
            "customer": self.customer,
            "tags": None if not self.tags else json_text(self.tags),
            "quote_micro": self.plan.quote.hold_micro,
            "created_at_ms": self.now_ms,
            "started_at_ms": self.now_ms if self.inline else None,
        }
