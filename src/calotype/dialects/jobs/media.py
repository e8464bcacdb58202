"""Beside the media tools: files to upload for them, and how many of their jobs wait."""

from typing import Any

from msgspec import Struct
from starlette.datastructures import UploadFile

from calotype.db import Sql
from calotype.dialects.door import Exchange, refuse_phi_files
from calotype.dialects.jobs.answers import tell
from calotype.dialects.jobs.desk import Desk
from calotype.dialects.jobs.services import TOOLS
from calotype.dialects.multipart import FORM_BYTES, chunks_of, form_of
from calotype.kernel.errors import Code, Problem
from calotype.kernel.job import JobState

TOOL_MODELS = sorted(model for tool in TOOLS for model in tool.models)
_OPEN = Sql(
    "SELECT state, COUNT(*) FROM job WHERE state IN ('queued', 'submitting', 'running', 'storing')"
    " AND model {in:models} GROUP BY state"
)


class Uploaded(Struct):
    """Where an uploaded file lies; the address works as an input of every service."""

    url: str


class QueueStats(Struct):
    """How many jobs of the media tools there are in this server, of all callers."""

    queued: int
    running: int


async def upload(desk: Desk, x: Exchange) -> None:
    """Store a file and answer its signed address."""
    caller = await desk.enter(x)
    refuse_phi_files(x)
    if not x.headers.get(b"content-type", b"").lower().startswith(b"multipart/"):
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "Send the file as multipart/form-data.", field="Content-Type")
    parts = await form_of(x, max_files=1, max_bytes=desk.uploads.max_bytes + FORM_BYTES)
    try:
        form: dict[str, Any] = dict(parts)
        file = form.get("file")
        if not isinstance(file, UploadFile):
            sentence = "file is required: a multipart part with a file name."
            raise Problem(Code.INVALID_INPUT, sentence, field="file", data={"rule": "required"})
        kept = await desk.uploads.create(
            chunks_of(file), org_id=caller.org.id, filename=file.filename or "file", purpose="input"
        )
    finally:
        await parts.close()
    await tell(x, Uploaded(desk.upload_url(x, kept)))


async def queue_stats(desk: Desk, x: Exchange) -> None:
    """Answer how many jobs of the media tools wait and run."""
    await desk.enter(x, counted=False)
    rows = await desk.db.read(lambda tx: tx.rows(_OPEN, {"models": TOOL_MODELS}))
    counts = {JobState(state): int(count) for state, count in rows}
    queued = counts.pop(JobState.QUEUED, 0)
    await tell(x, QueueStats(queued, sum(counts.values())))
