"""A finished job in this dialect's words, as its webhook carries it."""

from collections.abc import Callable
from typing import Any

from calotype.dialects.image.answers import error_of, usd_number
from calotype.dialects.image.desk import Desk
from calotype.dialects.image.offers import VIDEO_OPERATIONS
from calotype.dialects.image.videos import film_object
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.job import JobState


def renderer(desk: Desk, base: Callable[[], str]) -> Callable[[JobView], dict[str, Any]]:
    """Return the function that encodes a job's status object; pictures are named by URL, also those answered inline."""

    def render(view: JobView) -> dict[str, Any]:
        job = view.job
        if job.operation in VIDEO_OPERATIONS:
            return film_object(desk, view, base())
        url_of = desk.addresses.urls(base())
        data: dict[str, Any] = {
            "id": job.id,
            "model": job.model,
            "provider": desk.provider_of(job),
            "status": "completed" if job.state is JobState.SUCCEEDED else "failed",
            "images": [{"url": url_of(one), "mimeType": one.content_type} for one in view.artifacts],
            "cost_usd": usd_number(job.charged_micro or 0),
        }
        if job.state is not JobState.SUCCEEDED:
            data["error"] = error_of(view.problem or Problem(Code.INTERNAL, "The job ended without a reason."))[1]
        return data

    return render
