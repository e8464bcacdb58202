"""Results that are too large for a row: kept as a file beside it, and put back in place when the job is looked at.

A vector for each of two thousand texts, or a document with its pictures, is tens of megabytes; in the row every look
at the job and every backup would carry them. The file is an upload that nobody lists, and goes as outputs go.
"""

from collections.abc import AsyncIterator

import msgspec
import structlog
from msgspec.structs import replace

from calotype.jobs.types import JobRow, JobView, Result
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass
from calotype.media.store import Store
from calotype.media.uploads import RESULT, Uploads

log = structlog.get_logger(__name__)

MOST_ROW_BYTES = 1 << 20
"""What a result may take in its row, as JSON."""
_encode = msgspec.json.Encoder().encode
_decoder = msgspec.json.Decoder(Result)


class Aside:
    """Puts large results aside and brings them back."""

    def __init__(self, files: Uploads, store: Store) -> None:
        self._files = files
        self._store = store

    async def put(self, job: JobRow, result: Result, lifetime_s: int | None) -> Result:
        """Return what is written to the row: the result itself, or where it lies. Of PHI nothing becomes a file.

        Raises:
            Problem: the file cannot be kept just now.

        """
        if not result.data or job.data_class is DataClass.PHI:
            return result
        text = _encode(result)
        if len(text) <= MOST_ROW_BYTES:
            return result
        file = await self._files.create(
            _at_once(text), org_id=job.org_id, filename=f"{job.id}.json", purpose=RESULT, lifetime_s=lifetime_s
        )
        return Result(usage=result.usage, warnings=result.warnings, aside=file.id)

    async def bring(self, view: JobView) -> JobView:
        """Return the view with its whole result; where the file is gone the result is forgotten.

        Raises:
            Problem: the store cannot be read just now.

        """
        result = view.job.result
        if result is None or result.aside is None:
            return view
        whole = Result(usage=result.usage, forgotten=True)
        file = await self._files.get(result.aside, view.job.org_id)
        if file is not None:
            try:
                whole = _decoder.decode(await self._store.open(file.key))
            except Problem as problem:
                if problem.code is not Code.NOT_FOUND:
                    raise
                log.warning("result_gone", job_id=view.id)
        return JobView(replace(view.job, result=whole), view.artifacts, view.inline)  # the view itself may be shared


async def _at_once(text: bytes) -> AsyncIterator[bytes]:
    yield text
