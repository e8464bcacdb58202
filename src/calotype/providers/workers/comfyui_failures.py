"""What a ComfyUI server's refusals and failures mean (`wire/comfyui.md §2, §5`).

Its texts hold paths of the worker and the user's prompt: a caller is told our own sentence, an operator the node, the
kind of error and a redacted line.
"""

from enum import StrEnum
from typing import Any

from msgspec import Struct

from calotype.catalog.template_types import FOLDERS
from calotype.kernel.outcome import Failed, FailedKind
from calotype.providers.answers import redacted
from calotype.providers.workers.comfyui import Refused


class Fault(StrEnum):
    """Whose fault a failure is."""

    INPUT = "input"
    """The caller's: a file that cannot be read, a value that this worker does not take."""
    WORKER = "worker"
    """This worker's: a model or node it lacks or cannot load. Another one may do it."""
    MEMORY = "memory"
    """It needs more memory than this worker has."""
    LOST = "lost"
    """Interrupted by somebody else: nothing is wrong with it."""
    OTHER = "other"
    """The graph failed."""


class Verdict(Struct, frozen=True):
    """A failure as it is told and acted upon."""

    fault: Fault
    failed: Failed


LOADERS = frozenset(name for name, _ in FOLDERS)
READERS = ("LoadImage", "LoadImageMask", "LoadAudio", "LoadVideo")
"""Nodes that read a file of the input."""
_MEMORY = ("outofmemory", "out of memory", "can't allocate memory", "cannot allocate memory")


def refusal(refused: Refused, fields: dict[str, str]) -> Verdict:
    """Say what a refused prompt means; `fields` leads from `node.input` to the field that the caller set."""
    detail = redacted(
        f"{refused.type}: {refused.details}; "
        + "; ".join(f"{kind} at {node} ({name})" for node, _, name, kind in refused.errors)
    )
    for node, kind_of_node, name, kind in refused.errors:
        if kind == "value_not_in_list" and (kind_of_node, name) in FOLDERS:
            return Verdict(
                Fault.WORKER, Failed(FailedKind.GONE, "A worker lacks a file of this model.", detail=detail, code=kind)
            )
        if kind == "custom_validation_failed" and kind_of_node in READERS:
            return Verdict(
                Fault.WORKER, Failed(FailedKind.RETRY, "A worker lost a file of the input.", detail=detail, code=kind)
            )
        field = fields.get(f"{node}.{name}")
        if field is not None:
            message = f"The worker does not take this value of {field}."
            return Verdict(Fault.INPUT, Failed(FailedKind.INVALID, message, field=field, detail=detail, code=kind))
    failed = Failed(FailedKind.GONE, "A worker cannot run this template.", detail=detail, code=refused.type)
    return Verdict(Fault.WORKER, failed)


def failure(entry: dict[str, Any], fields: dict[str, str]) -> Verdict:
    """Say what a history entry whose status is not a success means."""
    name, told = _last(entry)
    if name == "execution_interrupted":
        failed = Failed(FailedKind.RETRY, "The work was interrupted at the worker.", code=name, requeue=True)
        return Verdict(Fault.LOST, failed)
    node, kind_of_node = str(told.get("node_id") or ""), str(told.get("node_type") or "")
    kind, text = str(told.get("exception_type") or ""), str(told.get("exception_message") or "")
    detail = redacted(f"{kind_of_node}: {kind}: {text}")
    code = kind[:80] or None
    if any(word in f"{kind} {text}".lower() for word in _MEMORY):
        message = "The job needs more memory than the worker has."
        return Verdict(Fault.MEMORY, Failed(FailedKind.UPSTREAM, message, detail=detail, code="out_of_memory"))
    if kind_of_node in READERS:
        field = next((field for path, field in fields.items() if path.partition(".")[0] == node), None)
        message = "A file of the input could not be read."
        return Verdict(Fault.INPUT, Failed(FailedKind.INVALID, message, field=field, detail=detail, code=code))
    if kind_of_node in LOADERS or kind_of_node.endswith("Loader"):
        message = "The worker could not load the model."
        return Verdict(Fault.WORKER, Failed(FailedKind.UPSTREAM, message, detail=detail, code=code))
    return Verdict(Fault.OTHER, Failed(FailedKind.UPSTREAM, "The generation failed.", detail=detail, code=code))


def _last(entry: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    status = entry.get("status")
    messages = status.get("messages") if isinstance(status, dict) else None
    for message in reversed(messages if isinstance(messages, list) else []):
        name, told = message if isinstance(message, list) and len(message) == 2 else ("", None)
        if name in ("execution_error", "execution_interrupted") and isinstance(told, dict):
            return str(name), told
    return "", {}
