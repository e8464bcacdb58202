"""From a provider's outputs to stored artifacts, and from what was stored to what is charged."""

import asyncio
import contextlib
from collections.abc import Callable
from pathlib import Path

import structlog
from msgspec import Struct
from msgspec.structs import replace

from calotype.catalog.prices import Delivered, captured, units
from calotype.http import DownloadError, Guard, MemorySink, download
from calotype.jobs.aside import Aside
from calotype.jobs.types import InlineOutput, JobRow, Result
from calotype.kernel import points
from calotype.kernel.errors import Problem
from calotype.kernel.generation import DataClass
from calotype.kernel.ids import JobId
from calotype.kernel.outcome import Output, Succeeded
from calotype.media.artifacts import Artifact, KeepError, keep
from calotype.media.base64_text import Encoded
from calotype.media.store import Store
from calotype.settings import MediaSettings

log = structlog.get_logger(__name__)

MAX_INLINE_BYTES = 64 * 1024 * 1024
"""An output that is answered directly is held in memory."""
UNTOLD = "application/octet-stream"
FORGET_MS = 3_600_000
"""A caller who asked that nothing is kept can read the answer for so long (`wire/fal.md §5.4`)."""
MOST_COUNTED = 10**12
"""What an upstream may say that it counted; whatever follows from it can be written down."""
BARE_SOUND = "audio/pcm"
"""Samples without a header: no byte of them tells what they are, so the provider's word is taken."""


class Delivery(Struct, frozen=True):
    """What could be delivered: files in order, what is charged for them, and what the caller is told."""

    artifacts: tuple[Artifact, ...]
    inline: tuple[InlineOutput, ...]
    charged_micro: int
    result: Result
    kept: Result
    """What of the result is written to the job's row."""
    missing: int = 0
    units: int = 0


class NotYetError(Exception):
    """Storing failed for a reason that may pass; try the same outcome again."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.retry_after_s = retry_after_s


class Deliverer:
    """Keeps outputs in the operator's storage under the name of their job."""

    def __init__(
        self,
        store: Store,
        settings: MediaSettings,
        guard_of: Callable[[str], Guard],
        awaited: Callable[[JobId], bool] = lambda _: False,
        *,
        aside: Aside,
    ) -> None:
        self._store = store
        self._settings = settings
        self._guard_of = guard_of
        self._awaited = awaited
        self._aside = aside

    def stores(self, job: JobRow, output: Output) -> bool:
        """Whether this output has to be in storage before the job may succeed.

        With `rehost = off` URLs that anybody can fetch are passed on. While the caller waits in this very process, so
        are bytes that it wants in the answer, unless a webhook tells of them; and what is fleeting is not stored.
        """
        return not self._in_memory_only(job) and self._is_kept(job, output)

    def _in_memory_only(self, job: JobRow) -> bool:
        if job.data_class is DataClass.PHI:
            return True
        return bool(job.plan.wants.get("fleeting")) and self._awaited(job.id)

    def _is_kept(self, job: JobRow, output: Output) -> bool:
        if self._settings.rehost == "always" or output.url_headers:
            return True
        if output.url is not None:
            return False
        passed_on = job.plan.wants.get("inline") and job.webhook_url is None and self._awaited(job.id)
        return output.path is not None or not passed_on

    async def deliver(self, job: JobRow, outcome: Succeeded, now_ms: int) -> Delivery:
        """Store every output and price what was stored.

        Raises:
            NotYetError: nothing is lost yet; the same outcome may be stored later.

        """
        artifacts: list[Artifact] = []
        inline: list[InlineOutput] = []
        failures: list[KeepError] = []
        outputs = outcome.outputs
        wants_inline = bool(job.plan.wants.get("inline"))
        passed_on = outputs and wants_inline and not any(o.url or self.stores(job, o) for o in outputs)
        if self._in_memory_only(job) or passed_on:
            inline = [await self._in_memory(job, output) for output in outputs]
        else:
            lifetime_s = job.plan.media_s or self._settings.retention_s
            expires_at_ms = now_ms + lifetime_s * 1000
            if len(outputs) == 1:
                found: list[Artifact | KeepError] = [await self._keep(job, 0, outputs[0], expires_at_ms)]
            else:
                found = await asyncio.gather(*(self._keep(job, n, o, expires_at_ms) for n, o in enumerate(outputs)))
            artifacts = [one for one in found if isinstance(one, Artifact)]
            failures = [one for one in found if isinstance(one, KeepError)]
            if wants_inline:
                inline = [
                    InlineOutput(o.content_type or "image/png", data=o.data, base64=o.base64)
                    for o in outputs
                    if o.base64 is not None or o.data is not None
                ]
                if len(inline) != len(artifacts):
                    inline = []
        retryable = [failure for failure in failures if failure.retryable]
        if retryable:
            raise NotYetError(retryable[0].reason, retryable[0].retry_after_s)
        for failure in failures:
            log.warning("output_lost", job_id=job.id, provider=job.provider, reason=failure.reason)
        points.reach("store.recorded")
        delivered = len(artifacts) or len(inline) or (0 if outputs else 1)
        usage = {name: max(0, min(number, MOST_COUNTED)) for name, number in outcome.usage.items()}
        durations = [artifact.duration_s for artifact in artifacts if artifact.duration_s]
        if durations:
            usage.setdefault("duration_ms", int(sum(durations) * 1000 + 0.5))
        made = len(outputs) if outcome.usage and outputs else None
        worth = Delivered(delivered, usage, made)
        charged = captured(job.plan.quote, worth) if job.plan.metered else 0
        warnings = outcome.warnings
        if failures:
            warnings += (f"{len(failures)} of {len(outputs)} outputs could not be stored and are not charged",)
        result = Result(outcome.data, usage, tuple(output.text for output in outputs), warnings)
        kept = await self._kept(job, result)
        told = units(job.plan.quote, worth)
        return Delivery(tuple(artifacts), tuple(inline), charged, result, kept, len(failures), told)

    async def _kept(self, job: JobRow, result: Result) -> Result:
        """Return what is written down: of a PHI request its usage only, for texts and warnings quote it."""
        if job.data_class is DataClass.PHI:
            return Result(usage=result.usage)
        lifetime_s = job.plan.media_s if job.plan.store_payload else FORGET_MS // 1000
        try:
            return await self._aside.put(job, result, lifetime_s)
        except Problem as problem:
            raise NotYetError(problem.message, problem.retry_after_s) from None

    async def _keep(self, job: JobRow, n: int, output: Output, expires_at_ms: int) -> Artifact | KeepError:
        body: Output | Encoded = output
        if output.base64 is not None:
            body = Encoded(output.base64, output.content_type)
        try:
            artifact = await keep(
                body,
                key_base=f"{job.org_id}/{job.id}/{n}",
                n=n,
                max_bytes=self._settings.max_output_bytes,
                expires_at_ms=expires_at_ms,
                store=self._store,
                guard=self._guard_of(job.provider),
                timeout_s=self._settings.download_timeout_s,
                rehost=self._is_kept(job, output),
            )
        except KeepError as error:
            return error
        if artifact.content_type == UNTOLD and output.content_type == BARE_SOUND:
            return replace(artifact, content_type=BARE_SOUND, duration_s=output.duration_s)
        if artifact.stored and not _is_kind(artifact.content_type, job.plan.output):
            with contextlib.suppress(Problem):  # what stays is swept
                await self._store.delete([artifact.key])
            return KeepError(f"The output is {artifact.content_type}, no {job.plan.output}.", "kind", retryable=False)
        return artifact if job.plan.acl is None else replace(artifact, acl=job.plan.acl)

    async def _in_memory(self, job: JobRow, output: Output) -> InlineOutput:
        """Bring an output into memory and nowhere else."""
        kind = output.content_type or "application/octet-stream"
        if output.path is not None:
            return InlineOutput(kind, data=await asyncio.to_thread(_take, Path(output.path)))
        if output.url is None:
            return InlineOutput(kind, data=output.data, base64=output.base64)
        sink = MemorySink()
        try:
            found = await download(
                output.url, to=sink, max_bytes=min(self._settings.max_output_bytes, MAX_INLINE_BYTES),
                timeout_s=self._settings.download_timeout_s, guard=self._guard_of(job.provider),
                headers=output.url_headers,
            )  # fmt: skip
        except DownloadError as error:
            raise NotYetError(error.reason, error.retry_after_s) from None
        return InlineOutput(found.content_type or kind, data=sink.value())


def _is_kind(content_type: str, wanted: str) -> bool:
    """Say whether a file is what the model makes, by its own bytes; an animated GIF passes for a video."""
    if wanted not in ("image", "video", "audio"):
        return True
    return content_type.startswith(f"{wanted}/") or (wanted == "video" and content_type == "image/gif")


def _take(file: Path) -> bytes:
    """Read a worker's file and remove it: the payload of a PHI job stays nowhere."""
    body = file.read_bytes()
    file.unlink(missing_ok=True)
    return body
