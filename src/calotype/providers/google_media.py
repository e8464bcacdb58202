"""The files of an input: inline as base64, or put into Google's Files API where a request would grow too large.

The limit of inline data is that of `wire/providers.md §3.3`; files that were put away are deleted by Google after two
days.
"""

from collections.abc import Iterable
from typing import Any

import pybase64
from msgspec import Struct
from yarl import URL

from calotype.kernel.generation import DataClass
from calotype.kernel.outcome import Failed, FailedKind
from calotype.kernel.steps import HttpRequest, HttpResponse, Steps, TransportError, Wait
from calotype.providers.base import Call
from calotype.providers.google_json import table, word
from calotype.providers.google_wire import BASE_URL, VERSION, Line

INLINE_CHARS = 19_000_000
"""Base64 text that one request may hold: 20 MB with room for what is around it."""
LOOKS, PAUSE_S = 15, 2.0
"""How often and how far apart a file is looked at until Google has taken it in."""


class Medium(Struct, frozen=True):
    """A file of the input: its content type, and its base64 text or the address where Google has it."""

    kind: str
    base64: str = ""
    uri: str = ""


def media_of(fields: dict[str, Any], names: Iterable[str]) -> list[Medium]:
    """Return the files of these fields in order; each field holds one data URI or a list of them."""
    found: list[Medium] = []
    for name in names:
        value = fields.get(name)
        found += [medium_of(one) for one in (value if isinstance(value, list) else [value]) if isinstance(one, str)]
    return found


def medium_of(reference: str) -> Medium:
    """Read a data URI, or an address that Google can fetch by itself."""
    if reference.startswith("data:"):
        head, _, text = reference.partition(",")
        return Medium(head[5:].partition(";")[0] or "application/octet-stream", base64=text)
    return Medium("", uri=reference)


def placed(line: Line, call: Call, media: list[Medium]) -> Steps[list[Medium] | Failed]:
    """Return the media as a request can hold them: inline while they fit, in the Files API otherwise."""
    if sum(len(one.base64) for one in media) <= INLINE_CHARS:
        return media
    if call.data_class is DataClass.PHI:
        return Failed(FailedKind.GONE, "The provider would keep files of this size, where PHI must not be.")
    uploaded: list[Medium] = []
    for one in media:
        kept = (yield from _uploaded(line, one)) if one.base64 else one
        if isinstance(kept, Failed):
            return kept
        uploaded.append(kept)
    return uploaded


def _uploaded(line: Line, one: Medium) -> Steps[Medium | Failed]:
    """Put one file into the Files API; nothing is billed."""
    try:
        body = pybase64.b64decode(one.base64, validate=True)
        started: HttpResponse = yield line.post(
            f"upload/{line.version or VERSION}/files", {"file": {"display_name": "input"}},
            {
                "X-Goog-Upload-Protocol": "resumable", "X-Goog-Upload-Command": "start",
                "X-Goog-Upload-Header-Content-Length": str(len(body)), "X-Goog-Upload-Header-Content-Type": one.kind,
            },
        )  # fmt: skip
        place = started.headers.get("x-goog-upload-url", "")
        if not started.ok or not _may_upload(line, place):
            return _not_taken(line, started)
        headers = {"X-Goog-Upload-Offset": "0", "X-Goog-Upload-Command": "upload, finalize", "Content-Type": one.kind}
        answer: HttpResponse = yield HttpRequest("POST", place, headers, body, max_bytes=1 << 20)
        file = _file(answer)
        for _ in range(LOOKS):
            if file.get("state") != "PROCESSING":
                break
            yield Wait(PAUSE_S)
            answer = yield line.get(f"{line.version or VERSION}/{word(file.get('name'))}")
            file = _file(answer)
    except ValueError:
        return Failed(FailedKind.INVALID, "An input file is not valid Base64.")
    except TransportError as error:
        return Failed(FailedKind.RETRY, "The provider's storage could not be reached.", detail=str(error))
    uri = word(file.get("uri"))
    if file.get("state", "ACTIVE") != "ACTIVE" or not uri:
        return _not_taken(line, answer)
    return Medium(one.kind, uri=uri)


def _file(answer: HttpResponse) -> dict[str, Any]:
    body = table(answer.json()) if answer.ok else {}
    return table(body.get("file", body))


def _may_upload(line: Line, place: str) -> bool:
    """Say whether a file may be sent there: to the configured origin, or within Google where that is the origin."""
    try:
        url, own = URL(place), URL(line.base)
        same = url.is_absolute() and url.origin() == own.origin()
    except ValueError:
        return False
    google = line.base == BASE_URL and url.scheme == "https" and (url.host or "").endswith(".googleapis.com")
    return same or google


def _not_taken(line: Line, answer: HttpResponse) -> Failed:
    if answer.ok:
        return Failed(FailedKind.RETRY, "The provider's storage took no file.", status=answer.status)
    refused = line.refused(answer)
    if refused.kind in (FailedKind.AUTH, FailedKind.QUOTA, FailedKind.INVALID):
        return refused
    return Failed(
        FailedKind.RETRY, "The provider's storage took no file.", detail=refused.detail, status=answer.status,
        retry_after_s=refused.retry_after_s,
    )  # fmt: skip
