"""A worker as the operator registered it, a place held on it, and what a job asks of it."""

from enum import StrEnum
from typing import Any, Literal

from msgspec import Struct

KINDS = ("comfyui", "http")
"""`comfyui`: a ComfyUI server (`wire/comfyui.md`). `http`: a model server that keeps to `docs/workers.md`."""


class WorkerState(StrEnum):
    """What the operator wants of a worker."""

    ACTIVE = "active"
    DRAINING = "draining"
    """Finish what it has, take nothing new."""


class Health(StrEnum):
    """How a worker fares, as far as this process has seen."""

    UNKNOWN = "unknown"
    HEALTHY = "healthy"
    DEGRADED = "degraded"
    """It answers badly or failed jobs of its own fault: others are preferred until it has proved itself again."""
    UNREACHABLE = "unreachable"


class Auth(Struct, frozen=True):
    """How we show who we are, on HTTP and on the WebSocket.

    The secret itself is never here: `place` says where it is (`sealed` text, the name of an environment variable, the
    path of a file, or the worker's own entry in the settings) and `value` what to look for there.
    """

    mode: Literal["none", "bearer", "header"] = "none"
    header: str = "Authorization"
    place: Literal["none", "sealed", "env", "file", "settings"] = "none"
    value: str = ""


class Worker(Struct, frozen=True):
    """One worker. `provider` is the instance whose regions and declarations hold for it, by default its kind.

    `max_jobs` bounds how many jobs it is given at once (for ComfyUI: one that runs, one that waits); an HTTP worker
    may report less, but is always given `min_jobs`. `loras_dir` is the worker's `loras` folder as this machine sees it.
    """

    id: str
    provider: str
    kind: str
    name: str
    url: str
    auth: Auth = Auth()
    min_jobs: int = 1
    max_jobs: int = 2
    state: WorkerState = WorkerState.ACTIVE
    labels: tuple[str, ...] = ()
    loras_dir: str | None = None
    note: str = ""
    origin: Literal["command", "settings"] = "command"
    model_set: str | None = None
    created_at_ms: int = 0


class Run(Struct, frozen=True):
    """A place on a worker, held by one attempt of a job; `upstream_id` is what the worker knows the request as."""

    token: str
    worker_id: str
    upstream_id: str
    ended: bool = False
    began_at_ms: int = 0


class Order(Struct, frozen=True):
    """What a job asks of the worker that shall run it.

    `ref` is the template or the model, `model_set` the weights that stay loaded between jobs of its kind. `models` are
    files by folder, `classes` node classes, `version` the oldest program. `shared_loras` asks for a folder that both
    sides see. `vram_gb` is what it wants of a GPU; a smaller one may do it too, more slowly.
    """

    ref: str
    model_set: str
    classes: frozenset[str] = frozenset()
    models: dict[str, frozenset[str]] = {}
    version: str = ""
    shared_loras: bool = False
    swap_s: float = 0.0
    vram_gb: int = 0


class Probe(Struct, frozen=True):
    """What a worker says of itself: program version, jobs it has in hand, jobs it would take, models (None: ask)."""

    version: str = ""
    depth: int = 0
    capacity: int | None = None
    models: frozenset[str] | None = None
    vram_bytes: int = 0
    facts: dict[str, Any] = {}
