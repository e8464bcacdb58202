"""Which of fal's services a request means, by host name, by prefix or by target URL (`wire/fal.md §1, §2`)."""

from enum import StrEnum
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct

from calotype.kernel.errors import Code, Problem

PREFIX = "/fal/"
PROXY = "/api/fal/proxy"
TARGET = b"x-fal-target-url"


class Service(StrEnum):
    """A part of fal that has a host name of its own."""

    QUEUE = "queue"
    RUN = "run"
    REST = "rest"
    CDN = "cdn"
    WS = "ws"
    API = "api"
    SITE = "site"
    OTHER = "other"


HOSTS: dict[str, Service] = {
    "fal.run": Service.RUN,
    "falrun.com": Service.RUN,
    "ws.fal.run": Service.WS,
    "queue.fal.run": Service.QUEUE,
    "queue.falrun.com": Service.QUEUE,
    "rest.fal.ai": Service.REST,
    "rest.alpha.fal.ai": Service.REST,
    "v3.fal.media": Service.CDN,
    "v3b.fal.media": Service.CDN,
    "fal.media": Service.CDN,
    "api.fal.ai": Service.API,
    "fal.ai": Service.SITE,
}
HOST_NAMES = frozenset(name.encode() for name in HOSTS)
_PREFIXES = {word.value: word for word in Service if word not in (Service.OTHER, Service.SITE)}


MEDIA_ORIGIN = "https://v3.fal.media"
"""Where files are for clients that use fal's own names; only for them does it lead here."""


class Place(Struct, frozen=True):
    """A service and the path in it, percent-encoded as it came and without a slash at the end.

    `host` is set when the request reached us under one of fal's own names.
    """

    service: Service
    path: str
    query: bytes = b""
    host: str | None = None

    @property
    def name(self) -> str:
        """The same place under our own prefix, whichever way the request came."""
        return f"{PREFIX}{self.service}{self.path}"


class Bases(Struct, frozen=True):
    """Where the addresses in an answer begin, so that they keep the origin the client itself used."""

    queue: str
    cdn: str
    media: str


def place_of(scope: Any, host: str, target: bytes | None) -> Place:
    """Say what a request means.

    Raises:
        Problem: `invalid_input` for a target URL that is missing or not fal's; it is never fetched.

    """
    raw: bytes = scope.get("raw_path") or scope["path"].encode()
    path = raw.decode("latin-1").partition("?")[0]
    query: bytes = scope["query_string"]
    name = host.partition(":")[0].lower()
    if (service := HOSTS.get(name)) is not None:
        return Place(service, _plain(path), query, host=name)
    if path == PROXY or path.startswith(PROXY + "/"):
        return _target(target)
    word, slash, rest = path.removeprefix(PREFIX).partition("/")
    return Place(_PREFIXES.get(word, Service.OTHER), _plain(slash + rest), query)


def bases_of(place: Place, own: str) -> Bases:
    """Return where addresses begin: fal's own names where the client uses them, else below our address `own`."""
    if place.host is None:
        return Bases(f"{own}{PREFIX}queue", f"{own}{PREFIX}cdn", own)
    queue = place.host if place.service is Service.QUEUE else "queue.fal.run"
    return Bases(f"https://{queue}", MEDIA_ORIGIN, MEDIA_ORIGIN)


def _target(raw: bytes | None) -> Place:
    refusal = Problem(Code.INVALID_INPUT, "Invalid request", field="X-Fal-Target-Url")
    if raw is None:
        raise refusal
    try:
        parts = urlsplit(raw.decode("ascii").strip())
        service = HOSTS.get(parts.hostname or "")
        port = parts.port
    except ValueError:
        raise refusal from None
    plain = parts.username is None and port in (None, 443) and parts.scheme == "https"
    if service is None or not plain:
        raise refusal
    return Place(service, _plain(parts.path), parts.query.encode())


def _plain(path: str) -> str:
    return path.rstrip("/") or "/"
