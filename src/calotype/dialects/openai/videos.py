"""Videos: create answers 202 with an object to poll (`wire/products.md A7`, a superset of OpenAI's video object)."""

from typing import Any

from msgspec import Struct

from calotype.dialects.openai.answers import error_object
from calotype.dialects.openai.images import UrlOf
from calotype.dialects.openai.options import Options
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation
from calotype.kernel.ids import is_uuid
from calotype.kernel.job import JobState

FIELDS = frozenset(
    {
        "prompt", "image_url", "audio_url", "seconds", "size", "aspect_ratio", "resolution", "seed", "fps",
        "negative_prompt", "motion", "input_reference",
    }
)  # fmt: skip

STATUS: dict[JobState, str] = {
    JobState.QUEUED: "queued",
    JobState.SUBMITTING: "in_progress",
    JobState.RUNNING: "in_progress",
    JobState.STORING: "in_progress",
    JobState.SUCCEEDED: "completed",
    JobState.FAILED: "failed",
    JobState.CANCELED: "failed",
}
POLL_AFTER_MS = 1000
REMIXED_FROM = "remixed_from_video_id"
"""What a job remembers of the film it was made from."""


class VideoRequest(Options):
    """The body of a video request, as documented; a model may take further fields of its own."""

    prompt: str = ""
    image_url: str | None = None
    audio_url: str | None = None
    seconds: str | int | None = None
    size: str | None = None
    aspect_ratio: str | None = None
    resolution: str | None = None
    seed: int | None = None


class VideoDatum(Struct):
    """A finished video."""

    url: str
    duration_seconds: float | None
    width: int | None
    height: int | None
    content_type: str


class RemixRequest(Options, kw_only=True):
    """What a film is to be turned into; its own model works on it where none is named."""

    prompt: str


class FilmRequest(RemixRequest, kw_only=True):
    """The same for a film that the request names."""

    video: str | dict[str, Any]
    seconds: str | int | None = None


def asked(fields: dict[str, Any]) -> tuple[dict[str, Any], Operation]:
    """Return the model's input, and say what is asked: audio present means an avatar.

    Raises:
        Problem: `invalid_input` naming the field.

    """
    fields = dict(fields)
    if (reference := fields.pop("input_reference", None)) is not None:
        url = reference.get("image_url") or reference.get("file_id") if isinstance(reference, dict) else reference
        if not isinstance(url, str):
            raise Problem(
                Code.INVALID_INPUT, "input_reference is a file, or an object with image_url or file_id.",
                field="input_reference",
            )  # fmt: skip
        fields.setdefault("image_url", url)
    seconds = fields.get("seconds")
    if isinstance(seconds, str):
        try:
            number = float(seconds)
        except ValueError:
            raise Problem(Code.INVALID_INPUT, 'seconds is a number such as "5" or 5.', field="seconds") from None
        fields["seconds"] = int(number) if number.is_integer() else number
    operation = Operation.TEXT_TO_VIDEO
    if fields.get("audio_url") is not None:
        operation = Operation.TALKING_AVATAR
    elif fields.get("image_url") is not None:
        operation = Operation.IMAGE_TO_VIDEO
    return fields, operation


def video_id(job_id: str) -> str:
    """Return the id a video job has in this dialect."""
    return "video_" + job_id.replace("-", "")


def job_id_of(ident: str, field: str = "id") -> str:
    """Return the job's own id; `field` is where it was given.

    Raises:
        Problem: `job_not_found` for anything else.

    """
    digits = ident.removeprefix("video_")
    uuid = f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}" if len(digits) == 32 else ident
    if not is_uuid(uuid):
        raise Problem(Code.JOB_NOT_FOUND, "There is no such video.", field=field)
    return uuid


def video_object(view: JobView, url_of: UrlOf) -> dict[str, Any]:
    """Encode a job as a video object; every field OpenAI's client relies on is always there."""
    job = view.job
    fields = job.input or {}
    first = view.artifacts[0] if view.artifacts else None
    size = fields.get("size")
    if first is not None and first.width and first.height:
        size = f"{first.width}x{first.height}"
    seconds = fields.get("seconds")
    if seconds is None and first is not None and first.duration_s is not None:
        seconds = round(first.duration_s, 3)
    problem = view.problem
    error = None
    if problem is not None:
        shown = error_object(problem)
        error = {"code": "canceled" if job.state is JobState.CANCELED else shown["code"], "message": shown["message"]}
        if problem.field is not None:
            error["param"] = problem.field
    data = None
    if job.state is JobState.SUCCEEDED:
        data = [
            VideoDatum(url_of(one), one.duration_s, one.width, one.height, one.content_type) for one in view.artifacts
        ]
    body: dict[str, Any] = {
        "id": video_id(job.id),
        "object": "video",
        "model": job.model,
        "status": STATUS[job.state],
        "progress": job.progress,
        "created_at": job.created_at_ms // 1000,
        "completed_at": None if job.finished_at_ms is None else job.finished_at_ms // 1000,
        "expires_at": None if first is None else first.expires_at_ms // 1000,
        "prompt": fields.get("prompt"),
        "seconds": _number(seconds),
        "size": size or "",
        "remixed_from_video_id": job.plan.wants.get(REMIXED_FROM),
        "error": error,
        "data": data,
    }
    if job.plan.label is not None:
        body["label"] = job.plan.label
    if view.warnings:
        body["warnings"] = view.warnings
    return body


def _number(value: Any) -> str:
    if value is None:
        return ""
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)
