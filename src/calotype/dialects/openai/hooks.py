"""A finished job in this dialect's words, as its webhook carries it."""

from collections.abc import Callable
from typing import Any

import msgspec

from calotype.dialects.openai.answers import error_object
from calotype.dialects.openai.chat_words import completion
from calotype.dialects.openai.embeddings import encode as vectors
from calotype.dialects.openai.images import UrlOf
from calotype.dialects.openai.transcripts import encode as transcript
from calotype.dialects.openai.video_calls import is_video
from calotype.dialects.openai.videos import STATUS, video_object
from calotype.jobs.types import JobView
from calotype.kernel.generation import Operation
from calotype.kernel.job import JobState

_IMAGES = frozenset(
    {Operation.TEXT_TO_IMAGE, Operation.IMAGE_TO_IMAGE, Operation.UPSCALE, Operation.BACKGROUND_REMOVAL}
)


def renderer(urls: Callable[[], UrlOf]) -> Callable[[JobView], dict[str, Any]]:
    """Return the function that encodes a job's status object; `urls` makes a function that signs media URLs."""

    def render(view: JobView) -> dict[str, Any]:
        if is_video(view.job.operation):
            return video_object(view, urls())
        return status_object(view, urls())

    return render


RESULTS: dict[Operation, Callable[[JobView], bytes]] = {
    Operation.CHAT: completion,
    Operation.EMBEDDINGS: lambda view: vectors(view, as_text=False),
    Operation.TRANSCRIPTION: lambda view: transcript(view, "json")[1],
}
"""What a job made that is no file, as the call that waited for it would have answered."""


def status_object(view: JobView, url_of: UrlOf) -> dict[str, Any]:
    """Encode a job that made something else than a video; an image call has no object to poll in OpenAI's API."""
    job = view.job
    kind = "image" if job.operation in _IMAGES else job.operation.value
    error = None
    if (problem := view.problem) is not None:
        shown = error_object(problem)
        error = {"code": "canceled" if job.state is JobState.CANCELED else shown["code"], "message": shown["message"]}
        if problem.field is not None:
            error["param"] = problem.field
    texts = job.result.texts if job.result is not None else ()
    data: list[dict[str, Any]] = []
    for n, artifact in enumerate(view.artifacts):
        datum = {"url": url_of(artifact), "content_type": artifact.content_type}
        if n < len(texts) and texts[n]:
            datum["revised_prompt"] = texts[n] or ""
        data.append(datum)
    body: dict[str, Any] = {
        "id": job.id,
        "object": f"{kind}.generation",
        "model": job.model,
        "status": STATUS[job.state],
        "created": (job.finished_at_ms or job.created_at_ms) // 1000,
        "data": data,
        "error": error,
    }
    write = RESULTS.get(job.operation)
    if write is not None and job.result is not None and job.result.data:
        body["result"] = msgspec.json.decode(write(view))
    if job.plan.label is not None:
        body["label"] = job.plan.label
    if view.warnings:
        body["warnings"] = view.warnings
    return body
