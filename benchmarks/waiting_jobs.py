"""Waiting jobs, inserted directly, and a provider that answers a poll at once."""

import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from calotype.catalog import Line, Quote
from calotype.db import Database, ManySql, Tx
from calotype.jobs.types import FrozenRoute, JobPlan, json_text
from calotype.kernel.generation import DataClass, Operation, Region
from calotype.kernel.ids import JobId, new_job_id
from calotype.kernel.job import JobState
from calotype.kernel.outcome import Delta, Outcome, Pending
from calotype.providers.base import Call, Handle, Idempotency, MediaInputs, PollSchedule, unheard

NAME = "bench_wait"
FAR_S = 30 * 24 * 3600
MARK_EVERY = 100
_CHUNK = 5_000
_JOB = ManySql(
    "INSERT INTO job (id, org_id, key_id, state, dialect, operation, model, data_class, region, priority, plan, input,"
    " provider, route, attempt, progress, cancel_requested, events, lease_n, next_at_ms, deadline_at_ms, quote_micro,"
    " created_at_ms, started_at_ms)"
    " VALUES (:id, :org_id, :key_id, :state, 'openai', :operation, 'bench-video', :data_class, :region, 0, :plan,"
    " :input, :provider, 0, 1, 0, 0, 2, 1, :next_at_ms, :deadline_at_ms, 0, :now_ms, :now_ms)"
)
_SUBMISSION = ManySql(
    "INSERT INTO submission (job_id, attempt, provider, upstream_model, state, handle, upstream_id, cost_posted,"
    " created_at_ms, answered_at_ms)"
    " VALUES (:id, 1, :provider, 'video', 'accepted', :handle, :id, 0, :now_ms, :now_ms)"
)


async def insert_waiting(db: Database, count: int, *, org_id: str, key_id: str, provider: str = NAME) -> list[JobId]:
    """Insert running jobs that are due in a month; return their ids."""
    now_ms = time.time_ns() // 1_000_000
    quote = Quote(
        model="bench-video", unit="second", hold_micro=0, outputs=1, per=1, margin_bps=0,
        lines=(Line("second", 5, 0),),
    )  # fmt: skip
    plan = JobPlan(routes=(FrozenRoute(provider, "video"),), quote=quote, metered=False)
    common = {
        "org_id": org_id, "key_id": key_id, "state": JobState.RUNNING.value, "provider": provider,
        "operation": Operation.TEXT_TO_VIDEO.value, "data_class": DataClass.GENERAL.value,
        "region": Region.WORLD.value, "plan": json_text(plan), "now_ms": now_ms,
        "input": json_text({"prompt": "a calm clinic waiting room, soft light", "seconds": 5}),
        "next_at_ms": now_ms + FAR_S * 1000, "deadline_at_ms": now_ms + 2 * FAR_S * 1000,
    }  # fmt: skip
    made: list[JobId] = []
    for first in range(0, count, _CHUNK):
        idents = [new_job_id() for _ in range(min(_CHUNK, count - first))]
        await db.write(partial(_insert, [{**common, "id": id_, "handle": json_text({"id": id_})} for id_ in idents]))
        made += idents
    return made


def _insert(rows: list[dict[str, Any]], tx: Tx) -> None:
    tx.executemany(_JOB, rows)
    tx.executemany(_SUBMISSION, rows)


class Instant:
    """A provider whose upstream answers a poll at once: still running, ask again in an hour.

    After the first and every hundredth poll it appends `{"polls": n, "at": unix seconds}` to a file.
    """

    kind = NAME
    name = NAME
    idempotency = Idempotency.NONE
    media_inputs = MediaInputs.URL
    schedule = PollSchedule()
    output_hosts: frozenset[str] = frozenset()
    max_in_progress = 1_000_000
    cancellable = False
    callbacks = False

    def __init__(self, marks: Path) -> None:
        self._marks = marks
        self._polls = 0

    async def submit(
        self,
        call: Call,
        on_commit: Callable[[], Awaitable[None]],
        on_progress: Callable[[float], None],
        on_delta: Callable[[Delta], None] = unheard,
    ) -> Outcome:
        """Nothing is ever submitted here."""
        raise NotImplementedError

    async def poll(self, handle: Handle) -> Outcome:
        """Answer that it goes on."""
        self._polls += 1
        if self._polls == 1 or self._polls % MARK_EVERY == 0:
            with self._marks.open("ab") as file:
                file.write(msgspec.json.encode({"polls": self._polls, "at": time.time()}) + b"\n")
        return Pending(handle, poll_after_s=3600.0)

    async def cancel(self, handle: Handle) -> bool:  # noqa: ARG002
        """Nothing stops."""
        return False

    async def lookup(self, call: Call) -> Outcome | None:  # noqa: ARG002
        """Nothing is known."""
        return None

    async def callback(self, headers: Mapping[str, str], body: bytes, handle: Handle, upstream_id: str) -> bool:  # noqa: ARG002
        """Nothing calls."""
        return False

    async def close(self) -> None:
        """Nothing is open."""
