"""What every provider offers to the middle, and what an adapter over HTTP is made of.

An adapter describes the conversation with its upstream and does no I/O (`calotype.kernel.steps`). The middle sees a
`Runtime`: adapters are driven into one, tools of this machine and worker fleets are one by themselves.
"""

from collections.abc import Awaitable, Callable, Mapping
from enum import Enum, StrEnum, auto
from typing import Any, Literal, Protocol

from msgspec import Struct

from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Delta, Outcome
from calotype.kernel.steps import FileRef, Steps

Handle = dict[str, Any]


class Idempotency(Enum):
    """What an upstream offers against doing the same paid call twice."""

    KEY = auto()
    """Sending the same call with the same token again does the work once (or costs nothing)."""
    LOOKUP = auto()
    """The call can be looked up by our token."""
    NONE = auto()
    """Neither: an unanswered call is never sent again."""


class MediaInputs(StrEnum):
    """How a provider wants files that belong to the input."""

    FILE = "file"
    """As a file on this machine (`Call.files`)."""
    URL = "url"
    """As a URL it can fetch, left in the input."""
    DATA = "data"
    """As a base64 data URI in the input."""


class PollSchedule(Struct, frozen=True):
    """When to look again: after `first_s`, then `factor` times longer each time up to `max_s`, ±20 % jitter."""

    first_s: float = 1.0
    factor: float = 1.5
    max_s: float = 10.0


class Call(Struct, frozen=True):
    """One attempt of a job at one route, in the upstream's own field names.

    `token` is the same for every re-send of this attempt and for no other. `files` holds the input's media, by field,
    for providers that take files. `outputs` is how many files are expected. `stream` says that somebody listens to the
    pieces of the result (`Emit`), `session` names the realtime session that it is a frame of, where the upstream serves
    such sessions. `callback_url` is an address of ours where the upstream may say that it is done, None where this
    server has none that the upstream could reach; it names this attempt and is good for nothing else.
    """

    job_id: str
    attempt: int
    token: str
    operation: Operation
    upstream_model: str
    input: dict[str, Any]
    outputs: int = 1
    files: dict[str, tuple[FileRef, ...]] = {}
    data_class: DataClass = DataClass.GENERAL
    stream: bool = False
    session: str | None = None
    callback_url: str | None = None


class Check(Struct, frozen=True):
    """What an upstream says about our account without doing any work; `note` is a sentence for the operator."""

    reachable: bool
    credential: Literal["ok", "refused", "unknown"] = "unknown"
    balance: str | None = None
    note: str = ""

    @classmethod
    def of(cls, status: int, balance: str | None = None, note: str = "") -> "Check":
        """Read the status of an answer to a request that any valid credential may make."""
        if 200 <= status < 300:
            return cls(True, "ok", balance, note)
        if status in (401, 403):
            return cls(True, "refused", note=note)
        return cls(True, note=note or f"HTTP {status}")


class Provider(Protocol):
    """An adapter: a call in, the steps of the conversation out. One file each, no I/O, no state but its settings.

    `name` is the instance the operator named, `kind` the adapter. `output_hosts` may be fetched from although they
    are private addresses (the operator's own base URL).
    """

    name: str
    kind: str
    idempotency: Idempotency
    media_inputs: MediaInputs
    schedule: PollSchedule
    output_hosts: frozenset[str]
    callbacks: bool = False
    """Whether it takes `Call.callback_url`, and `callback` proves what arrives there."""
    max_in_progress: int | None = None
    """How many calls the upstream takes at once from one credential, where it says so and the settings do not."""
    user_agent: str = "calotype"
    """What its requests name as the client."""

    def submit(self, call: Call) -> Steps[Outcome]:
        """Start the work; an upstream that answers at once returns the end."""
        ...

    def poll(self, handle: Handle) -> Steps[Outcome]:
        """Ask how far it is."""
        ...

    def cancel(self, handle: Handle) -> Steps[bool]:
        """Ask to stop; True when the upstream will not bill or deliver it any more."""
        ...

    def lookup(self, call: Call) -> Steps[Outcome | None]:
        """Find a call by its token (only with `Idempotency.LOOKUP`); None when the upstream does not know it."""
        ...

    def callback(self, headers: Mapping[str, str], body: bytes, upstream_id: str) -> Steps[bool]:  # noqa: ARG002
        """Say whether the upstream itself sent this word about the call it knows as `upstream_id`.

        Header names are lower case. It is a hint: a True makes the job due, and what the poll then reads is the truth.
        """
        yield from ()
        return False

    def check(self) -> Steps[Check | None]:
        """Ask about our account, at no cost; None where nothing is known that could be asked."""
        yield from ()
        return None


def unheard(delta: Delta) -> None:
    """Take a piece of a result that nobody listens to."""


class Runtime(Protocol):
    """A provider the middle can run.

    `on_commit` is awaited just before the first request that costs money, and raises when the job is no longer ours.
    `on_progress` takes a fraction between 0 and 1, `on_delta` pieces of the result as they come. Cancelling the
    awaiting task stops the work where that is possible.
    """

    name: str
    kind: str
    idempotency: Idempotency
    media_inputs: MediaInputs
    schedule: PollSchedule
    output_hosts: frozenset[str]
    max_in_progress: int
    cancellable: bool
    """Whether cancelling the task of a running `submit` really stops the work without a bill."""
    callbacks: bool
    """Whether the upstream can be given an address to call when it is done."""

    async def submit(
        self,
        call: Call,
        on_commit: Callable[[], Awaitable[None]],
        on_progress: Callable[[float], None],
        on_delta: Callable[[Delta], None] = unheard,
    ) -> Outcome:
        """Start the work."""
        ...

    async def poll(self, handle: Handle) -> Outcome:
        """Ask how far it is."""
        ...

    async def cancel(self, handle: Handle) -> bool:
        """Ask to stop."""
        ...

    async def lookup(self, call: Call) -> Outcome | None:
        """Find a call by its token."""
        ...

    async def callback(self, headers: Mapping[str, str], body: bytes, handle: Handle, upstream_id: str) -> bool:
        """Say whether a word that arrived at the callback address is the upstream's own."""
        ...

    async def close(self) -> None:
        """Let go of connections and processes."""
        ...
