"""The job as the code holds it: what is frozen at accept, the row while it lives, and the view a dialect encodes."""

from typing import Any

import msgspec
from msgspec import Struct

from calotype.catalog.prices import Quote
from calotype.kernel.errors import Problem
from calotype.kernel.generation import DataClass, Operation, Region
from calotype.kernel.ids import JobId, KeyId, OrgId
from calotype.kernel.job import TERMINAL, JobState
from calotype.media.artifacts import Artifact


class FrozenRoute(Struct, frozen=True, omit_defaults=True):
    """A route as it was when the job was accepted, so that a changed catalogue does not change a running job.

    Its row leaves out what is a default here, as those of plan, quote and result do: a default may not change.
    """

    provider: str
    upstream: str
    region: str = "*"
    fields: dict[str, str] = {}
    constants: dict[str, Any] = {}
    streams: bool = True
    realtime: bool = False

    def upstream_fields(self, fields: dict[str, Any]) -> dict[str, Any]:
        """Return the input in the upstream's field names, constants included."""
        return {**{self.fields.get(name, name): value for name, value in fields.items()}, **self.constants}


class JobPlan(Struct, frozen=True, omit_defaults=True):
    """What accept decided, frozen: the ordered routes, the price, and what the answer's headers and body repeat."""

    routes: tuple[FrozenRoute, ...]
    quote: Quote
    media_fields: dict[str, str] = {}
    warnings: tuple[str, ...] = ()
    label: str | None = None
    metered: bool = True
    request_id: str = ""
    media_s: int | None = None
    store_payload: bool = True
    """Whether input and answer stay with the job after its end."""
    acl: str | None = None
    """Who may read its files by their URLs, as `media/acl.py` writes it; None is everybody who has the URL."""
    output: str = ""
    """What kind of file is delivered: image, video or audio; anything else is not looked at."""
    rounds: int = 2
    """How often the whole list of routes is walked before a job that nobody takes fails."""
    wants: dict[str, Any] = {}
    """What the dialect needs again to encode the answer (`response_format`)."""


class Result(Struct, frozen=True, omit_defaults=True):
    """What a finished job answers beside its files."""

    data: dict[str, Any] = {}
    usage: dict[str, int] = {}
    texts: tuple[str | None, ...] = ()
    warnings: tuple[str, ...] = ()
    forgotten: bool = False
    """It was removed on the caller's wish; there is nothing left to answer."""
    aside: str | None = None
    """The file that holds the rest, where all of it is too large for the row (`jobs/aside.py`)."""


class JobRow(Struct):
    """A job as claimed or loaded; fields as in the table, JSON decoded."""

    id: JobId
    org_id: OrgId
    key_id: KeyId
    state: JobState
    dialect: str
    operation: Operation
    model: str
    data_class: DataClass
    region: Region
    priority: int
    plan: JobPlan
    input: dict[str, Any] | None
    provider: str
    route: int
    attempt: int
    outcome: str | None
    result: Result | None
    error: dict[str, Any] | None
    progress: int
    cancel_requested: bool
    lease_by: str | None
    lease_n: int
    next_at_ms: int
    deadline_at_ms: int
    webhook_url: str | None
    customer: str | None
    tags: dict[str, str] | None
    quote_micro: int
    charged_micro: int | None
    created_at_ms: int
    started_at_ms: int | None
    finished_at_ms: int | None
    handle: dict[str, Any] | None = None
    upstream_id: str | None = None
    ending: bool = False
    """Its end is being written: nothing may stop that, for what is written stands and the result is here alone."""

    @property
    def ended(self) -> bool:
        """Whether the state is final."""
        return self.state in TERMINAL

    @property
    def frozen_route(self) -> FrozenRoute:
        """The route it is on."""
        return self.plan.routes[self.route]


class JobView(Struct):
    """A job as dialects, the CLI and webhooks see it.

    `inline` carries the bytes (or base64 text) of outputs that are answered directly and never stored, in order.
    """

    job: JobRow
    artifacts: tuple[Artifact, ...] = ()
    inline: tuple["InlineOutput", ...] = ()

    @property
    def id(self) -> JobId:
        """The job's id."""
        return self.job.id

    @property
    def state(self) -> JobState:
        """The job's state."""
        return self.job.state

    @property
    def problem(self) -> Problem | None:
        """Why it failed, as a problem; None unless it failed or was cancelled."""
        return None if self.job.error is None else Problem.from_dict(self.job.error)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Everything the caller should know about how the request was served."""
        result = self.job.result
        return self.job.plan.warnings + (result.warnings if result is not None else ())


class InlineOutput(Struct, frozen=True):
    """An output in memory: raw bytes, or the base64 text the upstream wrote."""

    content_type: str
    data: bytes | None = None
    base64: bytes | None = None


_BESIDE = ("handle", "upstream_id", "ending")
COLUMNS = tuple(name for name in JobRow.__struct_fields__ if name not in _BESIDE)
"""The columns of the job table in the order of `JobRow`."""

_plan = msgspec.json.Decoder(JobPlan)
_result = msgspec.json.Decoder(Result)
_any = msgspec.json.Decoder()


def job_from(row: tuple[Any, ...]) -> JobRow:
    """Build a job from a row of `COLUMNS`, optionally followed by its submission's handle and upstream id."""
    (
        ident, org_id, key_id, state, dialect, operation, model, data_class, region, priority, plan, fields, provider,
        route, attempt, outcome, result, error, progress, cancel, lease_by, lease_n, next_at, deadline, webhook,
        customer, tags, quote_micro, charged, created, started, finished, *more,
    ) = row  # fmt: skip
    handle, upstream_id = more if more else (None, None)
    return JobRow(
        ident, org_id, key_id, JobState(state), dialect, Operation(operation), model, DataClass(data_class),
        Region(region), priority, _plan.decode(plan), None if fields is None else _any.decode(fields), provider, route,
        attempt, outcome, None if result is None else _result.decode(result),
        None if error is None else _any.decode(error), progress, bool(cancel), lease_by, lease_n, next_at, deadline,
        webhook, customer, None if tags is None else _any.decode(tags), quote_micro, charged, created, started,
        finished, None if handle is None else _any.decode(handle), upstream_id,
    )  # fmt: skip


def json_text(value: Any) -> str:
    """Encode a value as the JSON text that a column holds."""
    return _encode(value).decode()


_encode = msgspec.json.Encoder().encode
