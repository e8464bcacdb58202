"""A finished job in this dialect's words, as its webhook carries it."""

from collections.abc import Callable
from typing import Any

from calotype.dialects.content.answers import asset_answer, place_of, status_answer
from calotype.dialects.content.desk import Desk
from calotype.dialects.content.entries import BY_SLUG
from calotype.jobs.types import JobView
from calotype.kernel.job import JobState


def renderer(desk: Desk, base: Callable[[], str]) -> Callable[[JobView], dict[str, Any]]:
    """Return the function that encodes a job's status object, with what was made where there is any."""

    def render(view: JobView) -> dict[str, Any]:
        entry = BY_SLUG[view.job.model]
        if view.state is not JobState.SUCCEEDED:
            return status_answer(view, entry, desk.handles)
        return {**place_of(view, desk.handles), **asset_answer(view, entry, desk.addresses.urls(base()))}

    return render
