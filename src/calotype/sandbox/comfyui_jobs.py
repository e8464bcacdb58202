"""The newer `/api/jobs` of ComfyUI, for workers that have it (`wire/comfyui.md §2`)."""

from typing import Any

from calotype.sandbox.comfyui_life import Life
from calotype.sandbox.comfyui_run import Item


def jobs_of(life: Life) -> dict[str, Any]:
    """Return every job, as the list shows them."""
    waiting = [_open(item, "pending") for item in sorted(life.queue)]
    running = [] if life.running is None else [_open(life.running, "in_progress")]
    ended = [_ended(ident, entry) for ident, entry in reversed(life.history.items())]
    jobs = running + waiting + ended
    facts = {"offset": 0, "limit": None, "total": len(jobs), "has_more": False}
    return {"jobs": jobs, "pagination": facts}


def job_of(life: Life, ident: str) -> dict[str, Any] | None:
    """Return one job with its outputs; None when the process does not know it."""
    if (entry := life.history.get(ident)) is not None:
        more = {"outputs": entry["outputs"], "execution_status": entry["status"]}
        return {**_ended(ident, entry), **more, "workflow": {"prompt": entry["prompt"][2]}}
    if life.running is not None and life.running.id == ident:
        return _open(life.running, "in_progress")
    return next((_open(item, "pending") for item in life.queue if item.id == ident), None)


def _open(item: Item, status: str) -> dict[str, Any]:
    return {
        "id": item.id, "status": status, "priority": item.number, "create_time": item.extra["create_time"],
        "outputs_count": None,
    }  # fmt: skip


def _ended(ident: str, entry: dict[str, Any]) -> dict[str, Any]:
    messages = dict(entry["status"]["messages"])
    error = messages.get("execution_error")
    status = "completed" if entry["status"]["completed"] else "failed" if error else "cancelled"
    end = next(facts["timestamp"] for name, facts in reversed(messages.items()) if name.startswith("execution_"))
    shown = [item for node in entry["outputs"].values() for items in node.values() for item in items]
    files = [item for item in shown if isinstance(item, dict)]
    return {
        "id": ident,
        "status": status,
        "priority": entry["prompt"][0],
        "create_time": entry["prompt"][3]["create_time"],
        "execution_start_time": messages["execution_start"]["timestamp"],
        "execution_end_time": end,
        "execution_error": error,
        "outputs_count": len(files),
        "preview_output": files[0] if files else None,
        "workflow_id": None,
    }
