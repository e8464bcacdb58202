"""Answers that are used again, for as long as their callers wish: which job answered a request, in memory."""

from contextlib import suppress

from msgspec.structs import replace

from calotype.dialects.effort import Effort
from calotype.dialects.headers import Headers
from calotype.jobs.engine import Engine
from calotype.jobs.types import JobView
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Problem
from calotype.kernel.generation import Context, DataClass
from calotype.kernel.ids import JobId, OrgId
from calotype.kernel.job import JobState

FILES = ("image", "video", "audio", "file")
"""Kinds of output that lie in storage, and not with the job."""
MOST_KEPT = 10_000


class KeptAnswers:
    """Which job answered a request; the oldest go beyond a bound. The answer itself is read when it is used again."""

    def __init__(self, engine: Engine, clock: Clock, most: int = MOST_KEPT) -> None:
        self._engine = engine
        self._clock = clock
        self._most = most
        self._jobs: dict[str, tuple[JobId, int]] = {}

    async def find(self, name: str, org_id: OrgId) -> JobView | None:
        """Return the earlier answer of a request, at no cost; None when there is none that can still be read."""
        job_id, until_ms = self._jobs.get(name, (None, 0))
        if job_id is None or until_ms <= self._clock.now_ms():
            self._jobs.pop(name, None)
            return None
        with suppress(Problem):
            view = await self._engine.get(job_id, org_id)
            if self._is_there(view):
                return JobView(replace(view.job, quote_micro=0, charged_micro=0), view.artifacts, view.inline)
        return None

    def keep(self, name: str, view: JobView, ttl_s: int) -> None:
        """Remember who answered, where it can be read again."""
        if not self._is_there(view):
            return
        self._jobs.pop(name, None)
        while len(self._jobs) >= self._most:
            del self._jobs[next(iter(self._jobs))]
        self._jobs[name] = (view.id, self._clock.now_ms() + ttl_s * 1000)

    def _is_there(self, view: JobView) -> bool:
        """Say whether a result can be read again: its files, or what it is where it has none."""
        result, plan = view.job.result, view.job.plan
        if view.state is not JobState.SUCCEEDED or result is None or result.forgotten:
            return False
        if plan.output not in FILES:
            return True
        passed_on = not plan.wants.get("inline")  # what was answered as bytes is in our storage, or nowhere
        now_ms = self._clock.now_ms()
        files = view.artifacts
        return bool(files) and all((one.stored or passed_on) and now_ms < one.expires_at_ms for one in files)


def cache_header(effort: Effort, *, kept: bool) -> Headers:
    """Return the header that says whether an answer is from before; nothing where that was not wished."""
    return [] if effort.cache_ttl_s is None else [(b"x-cache", b"HIT" if kept else b"MISS")]


def name_of(context: Context, effort: Effort) -> str | None:
    """Return under which name an answer is kept, None where none is: PHI never, and nothing without the wish.

    It is the key, the path and the body, and what headers add: the rules, and the models that may stand in.
    """
    if effort.cache_ttl_s is None or context.data_class is DataClass.PHI or context.fingerprint is None:
        return None
    return "/".join((context.fingerprint, context.region, str(context.tier), *effort.fallback))
