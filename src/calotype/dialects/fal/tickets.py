"""Permissions inside URLs and short tokens, signed by us: to upload a file, and to read one (`wire/fal.md §7`)."""

import base64
import binascii
import hmac
from collections.abc import Sequence
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from msgspec import Struct

from calotype.kernel.clock import Clock

Kind = Literal["put", "parts", "cdn", "file"]
MAC_BYTES = 16
MAX_CHARS = 8000
"""A file with the longest name and the longest list of readers fits in."""
FILES = "/files/"
_encode = msgspec.msgpack.Encoder().encode


class Ticket(Struct, frozen=True, array_like=True):
    """What a ticket allows: to put a file or its parts, to use the upload service, or to read one file.

    `until_s` is Unix time, 0 for no end of its own; `keep_s` is how long the caller wants the file kept,
    `acl` who may read it.
    """

    kind: Kind
    org_id: str
    file_id: str = ""
    name: str = ""
    until_s: int = 0
    keep_s: int | None = None
    acl: str | None = None


_decoder = msgspec.msgpack.Decoder(Ticket)


class Seal:
    """Signs with the first secret and accepts every one of them, so that secrets can be rotated.

    What is sealed for one purpose is good for no other.
    """

    def __init__(self, secrets: Sequence[bytes], purpose: bytes) -> None:
        self._secrets = tuple(secrets)
        self._purpose = purpose

    def close(self, claim: bytes) -> str:
        """Return a claim and its signature as text, fit for a path."""
        return base64.urlsafe_b64encode(claim + self._mac(self._secrets[0], claim)).rstrip(b"=").decode()

    def open(self, text: str) -> bytes | None:
        """Return the claim of a text that was signed here; None for any other text."""
        if len(text) > MAX_CHARS or not text.isascii():
            return None
        try:
            raw = base64.b64decode(text + "=" * (-len(text) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        claim, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        good = False
        for secret in self._secrets:  # all of them, so that the time does not tell which one fits
            good |= hmac.compare_digest(self._mac(secret, claim), mac)
        return claim if good else None

    def _mac(self, secret: bytes, claim: bytes) -> bytes:
        return hmac.digest(secret, self._purpose + b"\x00" + claim, "sha256")[:MAC_BYTES]


class Tickets:
    """Tickets sealed by the installation's secrets; `passes` is the seal of tokens for callers without a key."""

    def __init__(self, secrets: Sequence[bytes], clock: Clock) -> None:
        self._seal = Seal(secrets, b"calotype.fal.ticket")
        self.passes = Seal(secrets, b"calotype.fal.pass")
        self._clock = clock

    def issue(self, ticket: Ticket) -> str:
        """Return the ticket's text, fit for a path."""
        return self._seal.close(_encode(ticket))

    def read(self, text: str, kind: Kind) -> Ticket | None:
        """Return a ticket of this kind that is in force; None for any other text."""
        claim = self._seal.open(text)
        if claim is None:
            return None
        ticket = _decoder.decode(claim)
        over = ticket.until_s and ticket.until_s * 1000 <= self._clock.now_ms()
        return ticket if ticket.kind == kind and not over else None

    def file_in(self, url: str) -> Ticket | None:
        """Return the ticket in the URL of an uploaded file, whichever of our names stands in front."""
        if FILES not in url or not url.startswith(("http://", "https://")):
            return None
        try:
            path = urlsplit(url).path
        except ValueError:
            return None
        return self.read(path.partition(FILES)[2].partition("/")[0], "file")
