"""Ended jobs with an event in the outbox, and deliverers for them."""

from typing import Any

from calotype.catalog.prices import Quote
from calotype.db import Database, Sql
from calotype.events.log import INSERT_OUTBOX
from calotype.http import Guard
from calotype.jobs.types import COLUMNS, FrozenRoute, JobPlan, JobView, json_text
from calotype.kernel.clock import Clock
from calotype.kernel.ids import InstanceId, new_event_id, new_job_id
from calotype.settings import WebhookSettings
from calotype.telemetry import Metrics
from calotype.webhooks import Deliverer, WebhookSigner
from calotype.webhooks.history import Event, list_events

SERVER_SECRET = b"0123456789abcdef0123456789abcdef"
ORG = "org-a"
QUOTE = Quote(model="test/picture", unit="image", hold_micro=0, outputs=1, per=1, margin_bps=0, lines=())
_JOB = Sql(f"INSERT INTO job ({', '.join(COLUMNS)}, events) VALUES ({', '.join(f':{name}' for name in COLUMNS)}, 1)")


def status_of(view: JobView) -> dict[str, Any]:
    return {"id": view.id, "status": view.state.value}


class Postroom:
    """Announces jobs and makes deliverers on one database."""

    def __init__(self, db: Database, clock: Clock) -> None:
        self.db = db
        self.clock = clock
        self.signer = WebhookSigner([SERVER_SECRET])
        self.metrics = Metrics()
        self.made: list[Deliverer] = []

    async def announce(self, url: str, *, org: str = ORG, dialect: str = "test", phi: bool = False) -> str:
        """Write an ended job and its event, as the finishing commit does; returns the event's id."""
        now_ms, job_id, event_id = self.clock.now_ms(), new_job_id(), new_event_id()
        plan = JobPlan(routes=(FrozenRoute("local", "x"),), quote=QUOTE)
        job: dict[str, Any] = dict.fromkeys(COLUMNS) | {
            "id": job_id, "org_id": org, "key_id": "key-1", "state": "succeeded", "dialect": dialect,
            "operation": "text-to-image", "model": "test/picture", "data_class": "phi" if phi else "general",
            "region": "WORLD", "priority": 0, "plan": json_text(plan), "provider": "local", "route": 0, "attempt": 1,
            "progress": 100, "cancel_requested": 0, "lease_n": 1, "next_at_ms": now_ms, "deadline_at_ms": now_ms,
            "webhook_url": url, "quote_micro": 0, "created_at_ms": now_ms, "finished_at_ms": now_ms,
        }  # fmt: skip
        event = {
            "id": event_id, "org_id": org, "job_id": job_id, "type": "job.succeeded", "dialect": dialect, "url": url,
            "now_ms": now_ms,
        }  # fmt: skip
        await self.db.write(lambda tx: (tx.execute(_JOB, job), tx.execute(INSERT_OUTBOX, event)))
        return event_id

    def deliverer(self, *allowed: str, resolver: Any = None, db: Database | None = None, **settings: Any) -> Deliverer:
        """Return a deliverer that may reach loopback; each has a name of its own."""
        made = Deliverer(
            db or self.db, self.clock, InstanceId(f"instance-{len(self.made)}"),
            guard=Guard(allowed or ("127.0.0.1",), resolver), signer=self.signer, renderers={"test": status_of},
            settings=WebhookSettings(**settings), metrics=self.metrics,
        )  # fmt: skip
        self.made.append(made)
        return made

    async def close(self) -> None:
        for one in self.made:
            await one.stop()

    async def event(self, event_id: str) -> Event:
        events = await self.db.read(lambda tx: list_events(tx, limit=1000))
        return next(event for event in events if event.id == event_id)

    def counted(self, result: str) -> float:
        return self.metrics.registry.get_sample_value("calotype_webhook_attempts_total", {"result": result}) or 0
