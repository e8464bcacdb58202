"""Standard Webhooks signatures, as the OpenAI clients verify them (`wire/providers.md §7.4`).

The secret of an organisation is derived from the server's own, so that nobody who knows theirs can sign for another.
While a secret is being rotated each event carries one signature for every secret still in force.
"""

import base64
import binascii
import hmac
from collections.abc import Mapping, Sequence

PREFIX = "whsec_"
TOLERANCE_S = 300
ID, TIMESTAMP, SIGNATURE = "webhook-id", "webhook-timestamp", "webhook-signature"


class BadSignature(Exception):  # noqa: N818  (the standard's own term)
    """A webhook whose headers are missing, too old, or signed by somebody else."""


class WebhookSigner:
    """Signs events with the secrets of their organisation, the server secret in force first."""

    def __init__(self, server_secrets: Sequence[bytes]) -> None:
        if not server_secrets or any(len(secret) < 16 for secret in server_secrets):
            raise ValueError("webhooks need at least one server secret of 16 bytes or more")
        self._server_secrets = tuple(server_secrets)

    def secret_of(self, org_id: str) -> str:
        """Return the secret an organisation verifies with: `whsec_` and 32 bytes in base64."""
        return self.secrets_of(org_id)[0]

    def secrets_of(self, org_id: str) -> tuple[str, ...]:
        """Return every secret still in force, the newest first."""
        return tuple(_derived(secret, org_id) for secret in self._server_secrets)

    def headers(self, org_id: str, event_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
        """Return the three headers that go with a body."""
        signatures = [sign(secret, event_id, timestamp_s, body) for secret in self.secrets_of(org_id)]
        return {ID: event_id, TIMESTAMP: str(timestamp_s), SIGNATURE: " ".join(signatures)}


def sign(secret: str, event_id: str, timestamp_s: int, body: bytes) -> str:
    """Return one signature, `v1,` and an HMAC-SHA256 over id, timestamp and body in base64.

    Raises:
        ValueError: the secret is not base64 behind `whsec_`.

    """
    key = base64.b64decode(secret.removeprefix(PREFIX), validate=True)
    mac = hmac.digest(key, f"{event_id}.{timestamp_s}.".encode() + body, "sha256")
    return "v1," + base64.b64encode(mac).decode()


def verify(
    secrets: Sequence[str], headers: Mapping[str, str], body: bytes, *, now_s: float, tolerance_s: int = TOLERANCE_S
) -> str:
    """Check an incoming webhook against several secrets and return its id; header names are lower case.

    Raises:
        BadSignature: it is not from who knows one of the secrets, or is older or newer than the tolerance.

    """
    try:
        event_id, stamp, given = headers[ID], headers[TIMESTAMP], headers[SIGNATURE]
    except KeyError as missing:
        raise BadSignature(f"the header {missing} is missing") from None
    if not (stamp.isascii() and stamp.isdigit() and len(stamp) <= 12):
        raise BadSignature("the timestamp is not a number of seconds")
    if abs(now_s - int(stamp)) > tolerance_s:
        raise BadSignature("the timestamp is too far from now")
    received = [_bytes_of(one) for one in given.split(" ") if one.startswith("v1,")]
    good = False
    for secret in secrets:  # all of them, so that the time does not tell which one fits
        expected = _bytes_of(sign(secret, event_id, int(stamp), body))
        for one in received:
            good |= hmac.compare_digest(expected, one)
    if not good:
        raise BadSignature("no signature fits")
    return event_id


def _derived(server_secret: bytes, org_id: str) -> str:
    key = hmac.digest(server_secret, b"calotype.webhook\x00" + org_id.encode(), "sha256")
    return PREFIX + base64.b64encode(key).decode()


def _bytes_of(signature: str) -> bytes:
    try:
        return base64.b64decode(signature.partition(",")[2], validate=True)
    except (binascii.Error, ValueError):
        return b""
