"""One request at the emulated fal: where it stands, and how it is shown (`wire/fal.md §5`)."""

import asyncio
from typing import Any

import msgspec
from msgspec import Struct
from starlette.requests import Request

from calotype.sandbox.fal_models import Ending
from calotype.sandbox.fal_storage import origin

NAMESPACES = ("workflows", "comfy")
ID_HEADER = "x-fal-request-id"


class Work(Struct):
    """One accepted request."""

    id: str
    endpoint: str
    fields: dict[str, Any]
    text: str
    words: dict[str, str]
    created_s: float
    polls: int
    queue_s: float
    work_s: float
    start_timeout_s: float | None
    cdn: str
    looks: int = 0
    canceled: bool = False
    done: bool = False
    ending: Ending | None = None
    ended: asyncio.Event = msgspec.field(default_factory=asyncio.Event)

    @property
    def app(self) -> str:
        """The part of the endpoint id under which it is polled (`wire/fal.md §0.5`)."""
        parts = self.endpoint.split("/")
        return "/".join(parts[: 3 if parts[0] in NAMESPACES else 2])

    def status(self, now_s: float) -> str:
        """Return where it stands at this look."""
        if self.done or self.canceled:
            return "COMPLETED"
        if self.work_s or self.queue_s:
            waited_s = now_s - self.created_s
            if self.start_timeout_s is not None and self.start_timeout_s < min(self.queue_s, waited_s):
                return "COMPLETED"
            late = waited_s >= self.queue_s + self.work_s
            return "COMPLETED" if late else "IN_PROGRESS" if waited_s >= self.queue_s else "IN_QUEUE"
        if self.looks > self.polls:
            return "COMPLETED"
        return "IN_QUEUE" if self.looks <= 1 and self.polls > 1 else "IN_PROGRESS"


def urls_of(work: Work, request: Request) -> dict[str, Any]:
    """Return a request's id and addresses, below the base its client used."""
    base = f"{origin(request, 'queue')}/{work.app}/requests/{work.id}"
    return {"request_id": work.id, "response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel"}


def log_line(message: str) -> dict[str, Any]:
    """Write a log line that every client can read (§5.2)."""
    labels = {"level": "INFO", "source": "USER"}
    return {"message": message, "timestamp": "2026-11-20T11:40:01.123456+00:00", **labels, "labels": labels}
