"""Pictures told in events: as they stand while they are made, then whole (`wire/providers.md §7.2`)."""

import time
from typing import Any

from calotype.dialects.door import Exchange
from calotype.dialects.headers import Headers
from calotype.dialects.openai.answers import kept_once
from calotype.dialects.openai.desk import Desk
from calotype.dialects.openai.images import base64_of, usage_of
from calotype.dialects.openai.runs import Event, stream_headers
from calotype.jobs.types import JobView
from calotype.kernel.outcome import Delta


class PictureWords:
    """The events of one request; `kind` is `image_generation` or `image_edit`.

    `wanted` previews are sent at most, spread over the work as far as its progress is known.
    """

    last = b""

    def __init__(self, view: JobView, *, desk: Desk, x: Exchange, kind: str, wanted: int) -> None:
        self._desk = desk
        self._x = x
        self._kind = kind
        self._wanted = wanted
        self._fields = view.job.input or {}
        self._shown = 0
        self._fraction: float | None = None

    def headers(self, view: JobView) -> Headers:
        """Return the headers of the answer."""
        return stream_headers(view)

    def opening(self) -> list[Event]:
        """Return nothing: the first event is a picture."""
        return []

    def piece(self, delta: Delta) -> list[Event]:
        """Return a preview where it is time for one."""
        if delta.kind == "progress":
            self._fraction = float(delta.data["fraction"])
        early = self._fraction is not None and self._fraction < (self._shown + 1) / (self._wanted + 1)
        if delta.kind != "preview" or self._shown >= self._wanted or early:
            return []
        index = self._shown
        self._shown += 1
        facts = self._facts(delta.content_type, self._fields.get("size"))
        kind = f"{self._kind}.partial_image"
        return [(kind, {"type": kind, "b64_json": delta.body, "partial_image_index": index, **facts})]

    async def ending(self, view: JobView) -> list[Event]:
        """Return each picture, and with the last of them what was used."""
        kind = f"{self._kind}.completed"
        result = view.job.result
        more: dict[str, Any] = {"usage": usage_of(result.usage)} if result is not None and result.usage else {}
        more["model"] = view.job.model
        if view.warnings:
            more["warnings"] = view.warnings
        if not view.inline and not view.artifacts:
            raise kept_once()
        events: list[Event] = []
        if view.job.plan.wants.get("inline"):
            pictures: list[dict[str, Any]] = [
                {"b64_json": text.decode("ascii")} for text in await base64_of(view, self._desk.store)
            ]
        else:
            url_of = self._desk.url_of(self._x)
            pictures = [{"url": url_of(one)} for one in view.artifacts]
        for n, picture in enumerate(pictures):
            artifact = view.artifacts[n] if n < len(view.artifacts) else None
            size = f"{artifact.width}x{artifact.height}" if artifact is not None and artifact.width else None
            content_type = artifact.content_type if artifact is not None else view.inline[n].content_type
            facts = self._facts(content_type, size or self._fields.get("size"))
            events.append((kind, {"type": kind, **picture, **facts}))
        events[-1][1].update(more)
        return events

    def _facts(self, content_type: str, size: Any) -> dict[str, Any]:
        return {
            "created_at": int(time.time()),
            "size": size if isinstance(size, str) else "auto",
            "quality": self._fields.get("quality") or "auto",
            "background": self._fields.get("background") or "auto",
            "output_format": content_type.rpartition("/")[2],
        }
