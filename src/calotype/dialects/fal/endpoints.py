"""Endpoint ids and request paths as fal's clients write them (`wire/fal.md §0.5, §4`)."""

import re
from urllib.parse import unquote

from msgspec import Struct

NAMESPACES = ("workflows", "comfy")
_LEGACY = re.compile(r"([0-9]+)-([a-zA-Z0-9-]+)\Z")
_REQUEST = re.compile(r"/(?:.*/)?requests/(?P<id>[^/]+)(?P<tail>/status/stream|/status|/cancel|/response|/stream)?\Z")


class RequestPath(Struct, frozen=True):
    """A path that names one request; what stands before it is not looked at, for clients drop parts of it."""

    id: str
    tail: str


def request_path(path: str) -> RequestPath | None:
    """Take `…/requests/{id}…` apart, None for any other path."""
    found = _REQUEST.match(path)
    if found is None:
        return None
    return RequestPath(found["id"].lower(), (found["tail"] or "").removeprefix("/"))


def endpoint_id(path: str) -> str:
    """Return the endpoint id of a path; the one-part ids of old (`1106-lora`) become two parts."""
    name = unquote(path.strip("/"))
    legacy = _LEGACY.match(name)
    return f"{legacy[1]}/{legacy[2]}" if legacy is not None else name


def polled_as(endpoint: str) -> str:
    """Return the part of an endpoint id that polls use: owner and alias, without the sub-path."""
    parts = endpoint.split("/")
    return "/".join(parts[: 3 if parts[0] in NAMESPACES else 2])
