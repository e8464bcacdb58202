"""Signed, expiring media URLs: the token alone says which file it opens, until when and as what.

Token = base64url(kind byte, expiry in seconds (5 bytes), content type, NUL, key, the first 16 bytes of an
HMAC-SHA256 over all of that). Nothing is looked up to verify one; the file's name in the URL is decoration.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence
from urllib.parse import quote

from msgspec import Struct

from calotype.kernel.errors import Code, Problem

MAC_BYTES = 16
MAX_TOKEN_CHARS = 600
PATH = "/v1/media"
_PLAIN = b"\x01"
_SIGNED = b"\x02"


class Grant(Struct, frozen=True):
    """What a token opens; where it is `signed` its owner made it for a reader, and no list of readers holds."""

    key: str
    content_type: str
    expires_at_ms: int
    signed: bool = False


class Signer:
    """Signs with the first secret and accepts every one of them, so that secrets can be rotated."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        if not secrets or any(len(secret) < 16 for secret in secrets):
            raise ValueError("media URLs need at least one secret of 16 bytes or more")
        self._secrets = tuple(secrets)

    def sign(self, key: str, content_type: str, expires_at_ms: int, *, signed: bool = False) -> str:
        """Return the token; the expiry is kept in whole seconds, rounded up."""
        expires_s = -(-expires_at_ms // 1000)
        kind = _SIGNED if signed else _PLAIN
        claim = kind + expires_s.to_bytes(5, "big") + content_type.encode() + b"\x00" + key.encode()
        token = base64.urlsafe_b64encode(claim + _mac(self._secrets[0], claim)).rstrip(b"=").decode()
        if len(token) > MAX_TOKEN_CHARS:
            raise ValueError("key and content type are too long for a token")
        return token

    def path(self, key: str, content_type: str, expires_at_ms: int, name: str, *, signed: bool = False) -> str:
        """Return the path of a media URL, to be joined to the server's public address."""
        return f"{PATH}/{self.sign(key, content_type, expires_at_ms, signed=signed)}/{quote(name, safe='')}"

    def verify(self, token: str, now_ms: int) -> Grant:
        """Return what the token opens; raises Problem: `not_found` for a bad token, `gone` for an expired one."""
        grant = self.read(token)
        if grant is None:
            raise Problem(Code.NOT_FOUND, "There is no such file.")
        if grant.expires_at_ms <= now_ms:
            raise Problem(Code.GONE, "This link has expired; ask for the job again to get a new one.")
        return grant

    def read(self, token: str) -> Grant | None:
        """Return what a token with a good signature opens, expired or not; None for any other text."""
        if len(token) > MAX_TOKEN_CHARS or not token.isascii():
            return None
        try:
            raw = base64.b64decode(token + "=" * (-len(token) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            return None
        claim, mac = raw[:-MAC_BYTES], raw[-MAC_BYTES:]
        good = False
        for secret in self._secrets:  # all of them, so that the time does not tell which one fits
            good |= hmac.compare_digest(_mac(secret, claim), mac)
        if not good or claim[:1] not in (_PLAIN, _SIGNED):
            return None
        content_type, _, key = claim[6:].partition(b"\x00")
        until_ms = int.from_bytes(claim[1:6], "big") * 1000
        return Grant(key.decode(), content_type.decode(), until_ms, signed=claim[:1] == _SIGNED)


def _mac(secret: bytes, claim: bytes) -> bytes:
    return hmac.digest(secret, b"calotype.media\x00" + claim, "sha256")[:MAC_BYTES]
