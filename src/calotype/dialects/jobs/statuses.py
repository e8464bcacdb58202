"""How a job stands, in its service's words: status answers, webhooks and the lines of a history."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from calotype.dialects.addresses import UrlOf
from calotype.dialects.jobs.answers import as_sent
from calotype.dialects.jobs.credits import CreditRate
from calotype.dialects.jobs.services import BY_MODEL, Family, Selector, Service
from calotype.jobs.types import JobView
from calotype.kernel.job import JobState
from calotype.media.artifacts import Artifact


def status_object(view: JobView, service: Service, url_of: UrlOf) -> dict[str, Any]:
    """Encode a job; a result that is not there (yet) is null."""
    job = view.job
    problem = view.problem
    body: dict[str, Any] = {
        "job_id": job.id,
        "status": service.family.word(job.state),
        "error": None if problem is None else as_sent(problem, service.names).message,
        **results_of(view, service, url_of),
    }
    if job.plan.label is not None:
        body["label"] = job.plan.label
    if view.warnings:
        body["warnings"] = view.warnings
    return body


def results_of(view: JobView, service: Service, url_of: UrlOf) -> dict[str, Any]:
    """Return the result fields of a service."""
    return {name: _found(view, selector, url_of) for name, selector in service.results.items()}


def _found(view: JobView, selector: Selector, url_of: UrlOf) -> Any:
    if view.state is not JobState.SUCCEEDED:
        return None
    data = view.job.result.data if view.job.result is not None else {}
    how, _, name = selector.partition(":")
    match how:
        case "data":
            return data.get(name)
        case "named":
            return next((url_of(one) for one in view.artifacts if _name_of(one, data) == name), None)
        case "file":
            return url_of(view.artifacts[0]) if view.artifacts else None
        case "images" | "audios":
            return [url_of(one) for one in view.artifacts if _is(one, how[:-1])]
        case _:
            return next((url_of(one) for one in view.artifacts if _is(one, how)), None)


def _is(artifact: Artifact, kind: str) -> bool:
    return artifact.content_type.startswith(f"{kind}/")


def _name_of(artifact: Artifact, data: dict[str, Any]) -> str | None:
    names: Sequence[str] = data.get("files") or ()
    return names[artifact.n] if artifact.n < len(names) else None


def history_object(view: JobView, service: Service, url_of: UrlOf, rate: CreditRate) -> dict[str, Any]:
    """Encode a job as a line of its service's history."""
    return {
        "job_id": view.id,
        "status": service.family.word(view.state),
        "created_at": moment(view.job.created_at_ms),
        "credits_used": rate.used(view.job),
        **results_of(view, service, url_of),
    }


def renderer(urls: Callable[[], UrlOf]) -> Callable[[JobView], dict[str, Any]]:
    """Return the function that encodes a job for its webhook; `urls` makes a function that signs media URLs."""

    def render(view: JobView) -> dict[str, Any]:
        return status_object(view, BY_MODEL.get(view.job.model, ANY), urls())

    return render


def moment(at_ms: int) -> str:
    """Write a time as ISO 8601 in UTC."""
    return datetime.fromtimestamp(at_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


ANY = Service(
    title="", words="", create="", status="", models=(), family=Family.LOWER, results={"text": "data:text"}
)  # fmt: skip
"""Stands for models that no service names: of a chat."""
