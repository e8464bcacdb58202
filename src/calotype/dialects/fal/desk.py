"""What every handler of the dialect needs, in one place, and a request with its place among fal's services."""

import time
from collections.abc import Callable

from msgspec import Struct

from calotype.catalog import Card, Catalog
from calotype.dialects.door import Door, Exchange, Receive, Scope, Send
from calotype.dialects.fal.marks import Marks
from calotype.dialects.fal.places import Bases, Place, bases_of
from calotype.events.bus import Bus
from calotype.jobs.engine import Engine
from calotype.jobs.positions import Positions
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.media.artifacts import Artifact
from calotype.media.signing import Signer
from calotype.media.store import Store
from calotype.media.uploads import Uploads

NAME = "fal"
UrlOf = Callable[[Artifact], str]


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
        signer: Signer,
        store: Store,
        uploads: Uploads,
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
        self.bounds = bounds
        self.marks = Marks()
        self._signer = signer
        self._public_url = (public_url or "").rstrip("/")

    def bases(self, scope: Scope, host: str, place: Place) -> Bases:
        """Return where the addresses in an answer begin."""
        return bases_of(place, self._public_url or f"{scope.get('scheme', 'http')}://{host or 'localhost'}")

    def urls(self, base: str) -> UrlOf:
        """Return the function that makes an artifact's URL: signed and short-lived, or the upstream's own."""
        latest_ms = int(time.time() * 1000) + self.bounds.url_lifetime_s * 1000

        def url_of(artifact: Artifact) -> str:
            if not artifact.stored:
                return artifact.url or ""
            expires_at_ms = min(artifact.expires_at_ms, latest_ms)
            return base + self._signer.path(artifact.key, artifact.content_type, expires_at_ms, artifact.name)

        return url_of

    async def look(self, x: FalExchange, job_id: str, org_id: str) -> JobView:
        """Return a request as it stands and remember it for the answer's headers.

        Raises:
            Problem: `job_not_found`, also for another tenant's request.

        """
        try:
            view = await self.engine.get(job_id, org_id)  # type: ignore[arg-type]
        except Problem as problem:
            if problem.code is not Code.JOB_NOT_FOUND:
                raise
            raise Problem(Code.JOB_NOT_FOUND, "Request not found", field="request_id") from None
        x.job = view
        return view
