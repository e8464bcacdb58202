"""Addresses of ours that an upstream may call when it is done, each good for one attempt of one job.

A callback is a hint: it makes the job due, and what the poll then reads is the truth. The address is signed, so nothing
is looked up for a stranger, and the adapter still proves that the upstream itself has written.
"""

import base64
import binascii
import hmac
import uuid
from collections.abc import Callable, Sequence
from typing import ClassVar, Self

from msgspec import Struct

from calotype.db import Sql, Tx
from calotype.kernel.errors import Problem
from calotype.kernel.ids import JobId
from calotype.providers.base import Runtime

PATH = "/callbacks"
MAC_BYTES = 12
TOKEN_CHARS = 40
_LOOPBACK = ("127.0.0.1:", "localhost:", "[::1]:", "::1:")
_HASTEN = Sql(
    "UPDATE job SET next_at_ms = :now_ms WHERE id = :id AND attempt = :attempt AND state = 'running'"
    " AND lease_by IS NULL AND next_at_ms > :now_ms"
)
_STANDS = Sql("SELECT state, attempt, lease_by, next_at_ms FROM job WHERE id = :id")


class Callbacks:
    """Makes and reads the addresses. Signs with the first secret and accepts every one of them.

    `public_url` is where the world reaches this server; without it only an upstream on this very machine, such as an
    emulator, is given an address (`local_url`).
    """

    def __init__(self, secrets: Sequence[bytes], public_url: str | None, local_url: Callable[[], str]) -> None:
        self._secrets = tuple(secrets)
        self._public_url = public_url.rstrip("/") if public_url else None
        self._local_url = local_url

    def url(self, runtime: Runtime, job_id: JobId, attempt: int) -> str | None:
        """Return the address for an attempt; None where the upstream takes none or could not reach it."""
        if not runtime.callbacks:
            return None
        here = bool(runtime.output_hosts) and all(host.startswith(_LOOPBACK) for host in runtime.output_hosts)
        base = self._public_url or (self._local_url() if here else None)
        return None if base is None else f"{base}{PATH}/{self._token(self._secrets[0], job_id, attempt)}"

    def read(self, token: str) -> tuple[JobId, int] | None:
        """Return the job and the attempt that a token names; None for any other text."""
        if len(token) != TOKEN_CHARS or not token.isascii():
            return None
        try:
            claim = base64.b64decode(token, altchars=b"-_", validate=True)[:-MAC_BYTES]
            job_id, attempt = JobId(str(uuid.UUID(bytes=claim[:16]))), int.from_bytes(claim[16:], "big")
        except (binascii.Error, ValueError):
            return None
        good = False
        for secret in self._secrets:
            good |= hmac.compare_digest(token, self._token(secret, job_id, attempt))
        return (job_id, attempt) if good else None

    @staticmethod
    def _token(secret: bytes, job_id: JobId, attempt: int) -> str:
        claim = uuid.UUID(job_id).bytes + min(attempt, 0xFFFF).to_bytes(2, "big")
        mac = hmac.digest(secret, b"callback" + claim, "sha256")[:MAC_BYTES]
        return base64.urlsafe_b64encode(claim + mac).decode()


class Hasten(Struct, frozen=True):
    """Make a job due that waits for its next poll.

    The answer: `True`, it is due now (or was); `False`, this attempt does not wait for an upstream any more; None,
    somebody is just looking, so that the word may have come too late for that look.
    """

    point: ClassVar[str | None] = None

    job_id: JobId
    attempt: int
    now_ms: int

    @property
    def locks(self) -> tuple[str, ...]:
        """No money is touched."""
        return ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> list[bool | Problem | None]:
        """Make each one due."""
        return [one._hasten(tx) for one in batch]

    def _hasten(self, tx: Tx) -> bool | None:
        if tx.execute(_HASTEN, {"id": self.job_id, "attempt": self.attempt, "now_ms": self.now_ms}) == 1:
            return True
        row = tx.row(_STANDS, {"id": self.job_id})
        if row is None or row[1] != self.attempt or row[0] not in ("submitting", "running"):
            return False
        return True if row[0] == "running" and row[2] is None and row[3] <= self.now_ms else None
