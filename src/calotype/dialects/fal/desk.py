"""What every handler of the dialect needs, in one place, and a request with its place among fal's services."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from msgspec import Struct

from calotype.catalog import Card, Catalog
from calotype.dialects.door import Caller, Door, Exchange, Receive, Scope, Send, counted_as
from calotype.dialects.fal.marks import Marks
from calotype.dialects.fal.office import Office
from calotype.dialects.fal.parts import Parts
from calotype.dialects.fal.places import MEDIA_ORIGIN, Bases, Place, bases_of
from calotype.dialects.fal.tickets import Tickets
from calotype.events.bus import Bus
from calotype.jobs.engine import Engine
from calotype.jobs.positions import Positions
from calotype.jobs.types import JobView
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.limits import Slots
from calotype.media.artifacts import Artifact
from calotype.media.signing import PATH as MEDIA_PATH
from calotype.media.signing import Grant, Signer
from calotype.media.store import Store
from calotype.media.uploads import Upload, Uploads

NAME = "fal"
UrlOf = Callable[[Artifact], str]
ASGIApp = Callable[[Scope, Receive, Send], Awaitable[None]]


class FalExchange(Exchange):
    """One request, seen as a request to one of fal's services.

    Path and query of the scope are those of the service, so that a request sent again is recognised whichever way it
    came. `job` is the request's job as soon as there is one: its id rides on the answer. `card` is the model it names
    and `names` the caller's own names of fields that were renamed, so that a refusal speaks of what was sent.
    """

    __slots__ = ("bases", "card", "job", "names", "place")

    def __init__(self, scope: Scope, receive: Receive, send: Send, place: Place, bases: Bases) -> None:
        super().__init__({**scope, "path": place.name, "query_string": place.query}, receive, send)
        self.place = place
        self.bases = bases
        self.job: JobView | None = None
        self.card: Card | None = None
        self.names: dict[str, str] = {}

    @property
    def request_id(self) -> str:
        """The id for `x-fal-request-id`: the job's, before there is one the HTTP request's own."""
        return str(self.job.id if self.job is not None else self.scope.get("calotype.request_id", ""))

    def header(self, name: str) -> str | None:
        """Return a request header's text."""
        raw = self.headers.get(name.encode())
        return None if raw is None else raw.decode("latin-1").strip()


class Bounds(Struct, frozen=True):
    """What the operator set, in seconds: how long URLs work, how long media are kept, how long a call may wait."""

    url_lifetime_s: int
    media_s: int
    wait_s: float


class Desk:
    """The dialect's neighbours, and the addresses it hands out."""

    def __init__(
        self,
        *,
        door: Door,
        engine: Engine,
        catalog: Catalog,
        positions: Positions,
        bus: Bus,
        clock: Clock,
        signer: Signer,
        store: Store,
        uploads: Uploads,
        media: ASGIApp,
        office: Office,
        tickets: Tickets,
        jwks: Callable[[], dict[str, Any]],
        bounds: Bounds,
        public_url: str | None,
    ) -> None:
        self.door = door
        self.engine = engine
        self.catalog = catalog
        self.positions = positions
        self.bus = bus
        self.store = store
        self.uploads = uploads
        self.media = media
        self.office = office
        self.payload_answers: dict[tuple[str, str, str], tuple[int, dict[str, Any]]] = {}
        self.tickets = tickets
        self.jwks = jwks
        self.parts = Parts(store.temp_path, uploads.max_bytes)
        self.bounds = bounds
        self.marks = Marks()
        self.timers: set[asyncio.Task[None]] = set()
        self._leftovers: set[asyncio.Task[JobView]] = set()
        self.sessions = Slots(door.limits.realtime_sessions_per_key)
        self._clock = clock
        self._signer = signer
        self._public_url = (public_url or "").rstrip("/")

    def bases(self, scope: Scope, host: str, place: Place) -> Bases:
        """Return where the addresses in an answer begin."""
        return bases_of(place, self._public_url or f"{scope.get('scheme', 'http')}://{host or 'localhost'}")

    def now_ms(self) -> int:
        """Return Unix time in milliseconds."""
        return self._clock.now_ms()

    def now_s(self) -> int:
        """Return Unix time in whole seconds."""
        return self._clock.now_ms() // 1000

    def media_path(self, upload: Upload) -> str:
        """Return the signed path under which an uploaded file is served for a while."""
        until_ms = min(upload.expires_at_ms, self._clock.now_ms() + self.bounds.url_lifetime_s * 1000)
        return self._signer.path(upload.key, upload.content_type, until_ms, upload.filename)

    async def file_behind(self, url: str, org_id: str) -> Grant | None:
        """Return the file that a URL of ours names, expired or not; None for any other URL."""
        ticket = self.tickets.file_in(url)
        if ticket is not None:
            found = await self.uploads.get(ticket.file_id, org_id)
            return None if found is None else Grant(found.key, found.content_type, found.expires_at_ms)
        before, path, rest = url.partition(MEDIA_PATH + "/")
        ours = path and before.startswith(("http://", "https://"))
        return self._signer.read(rest.partition("/")[0]) if ours else None

    def signed_path(self, grant: Grant, until_ms: int) -> str:
        """Return the path of a URL that opens a file whoever may read it otherwise."""
        name = grant.key.rpartition("/")[2]
        return self._signer.path(grant.key, grant.content_type, until_ms, name, signed=True)

    async def input_of(self, url: str, x: FalExchange, org_id: str) -> str:
        """Return what the engine takes for the URL of an uploaded file: its id, or for another tenant's a signed URL.

        The URL of an output loses fal's name, which leads here for the client only and not for an upstream. Any other
        value stays as it is, and so does the URL of a file that is not there (yet, or any more).
        """
        if url.startswith(f"{MEDIA_ORIGIN}{MEDIA_PATH}/") and self._public_url:
            return self._public_url + url.removeprefix(MEDIA_ORIGIN)
        ticket = self.tickets.file_in(url)
        if ticket is None or ticket.org_id == org_id:
            return url if ticket is None else ticket.file_id
        found = await self.uploads.get(ticket.file_id, ticket.org_id)
        return url if found is None else (self._public_url or x.bases.media) + self.media_path(found)

    def open_session(self, caller: Caller, x: FalExchange) -> str:
        """Count a WebSocket of a key; return the name under which `sessions` gives it back.

        Raises:
            Problem: `rate_limited`.

        """
        name, most = counted_as(caller.key, x.scope), self.door.limits.realtime_sessions_per_key
        if not self.sessions.try_acquire(name):
            raise Problem(Code.RATE_LIMITED, f"A key may have {most} sessions open at once.", data={"limit": most})
        return name

    def leave_to_end(self, ending: "asyncio.Task[JobView]") -> None:
        """Let a wait for a request's end go on although its caller is gone: what is in memory then is kept a moment."""

        def ended(task: "asyncio.Task[JobView]") -> None:
            self._leftovers.discard(task)
            if not task.cancelled():
                task.exception()

        self._leftovers.add(ending)
        ending.add_done_callback(ended)

    def urls(self, base: str) -> UrlOf:
        """Return the function that makes an artifact's URL: signed and short-lived, or the upstream's own."""
        latest_ms = self._clock.now_ms() + self.bounds.url_lifetime_s * 1000

        def url_of(artifact: Artifact) -> str:
            if not artifact.stored:
                return artifact.url or ""
            expires_at_ms = min(artifact.expires_at_ms, latest_ms)
            return base + self._signer.path(artifact.key, artifact.content_type, expires_at_ms, artifact.name)

        return url_of

    async def look(self, x: FalExchange, job_id: str, org_id: str, *, whole: bool = True) -> JobView:
        """Return a request as it stands, with its `whole` result, and remember it for the answer's headers.

        Raises:
            Problem: `job_not_found`, also for another tenant's request.

        """
        try:
            view = await self.engine.get(job_id, org_id, whole=whole)  # type: ignore[arg-type]
        except Problem as problem:
            if problem.code is not Code.JOB_NOT_FOUND:
                raise
            raise Problem(Code.JOB_NOT_FOUND, "Request not found", field="request_id") from None
        x.job = view
        return view
