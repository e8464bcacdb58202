"""Signed job ids: whoever shows one may look at its job, and nobody can make one up (`wire/products.md C2`).

`base64url(JSON) + "." + base64url(HMAC-SHA256)`; nothing is looked up to verify one.
"""

import base64
import binascii
import hmac
from collections.abc import Sequence

import msgspec
from msgspec import Struct

from calotype.kernel.ids import JobId, is_uuid

MAX_CHARS = 400
_VERSION = 1
_PURPOSE = b"calotype.content.job\x00"


class _Claim(Struct, frozen=True):
    v: int
    requestId: str  # noqa: N815  (the wire's own name)


_decoder = msgspec.json.Decoder(_Claim)


class Handles:
    """Signs with the first secret and accepts every one of them, so that secrets can be rotated."""

    def __init__(self, secrets: Sequence[bytes]) -> None:
        self._secrets = tuple(secrets)

    def of(self, job_id: JobId) -> str:
        """Return the handle of a job."""
        claim = _text(msgspec.json.encode(_Claim(_VERSION, job_id)))
        return f"{claim}.{_text(self._mac(self._secrets[0], claim))}"

    def read(self, handle: str) -> JobId | None:
        """Return the job that a handle of ours stands for; None for any other text."""
        claim, _, signature = handle.partition(".")
        if len(handle) > MAX_CHARS or not handle.isascii() or not signature:
            return None
        good = False
        for secret in self._secrets:  # all of them, so that the time does not tell which one fits
            good |= hmac.compare_digest(_text(self._mac(secret, claim)), signature)
        if not good:
            return None
        try:
            found = _decoder.decode(base64.urlsafe_b64decode(claim + "=" * (-len(claim) % 4)))
        except (binascii.Error, msgspec.MsgspecError, ValueError):
            return None
        return JobId(found.requestId) if found.v == _VERSION and is_uuid(found.requestId) else None

    def _mac(self, secret: bytes, claim: str) -> bytes:
        return hmac.digest(secret, _PURPOSE + claim.encode(), "sha256")


def _text(raw: bytes) -> str:
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
