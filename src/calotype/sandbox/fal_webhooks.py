"""Webhooks as fal sends them: signed with Ed25519 (`wire/fal.md §10`)."""

import hashlib
import http.client
import time
from base64 import urlsafe_b64encode
from typing import Any
from urllib.parse import urlsplit

from calotype.sandbox.ed25519 import SigningKey

USER_ID = "sandbox"
TIMEOUT_S = 15.0


class Webhooks:
    """The key they are signed with and where they went: `sent` holds the target and the answer, 0 for none."""

    def __init__(self) -> None:
        self.key = SigningKey()
        self.sent: list[tuple[str, int]] = []

    def jwks(self) -> dict[str, Any]:
        """Return the public key as receivers fetch it."""
        x = urlsafe_b64encode(self.key.public).rstrip(b"=").decode()
        return {"keys": [{"kty": "OKP", "crv": "Ed25519", "kid": "sandbox", "x": x}]}

    def post(self, target: str, raw: bytes, request_id: str) -> None:
        """Send one; blocks."""
        self.sent.append((target, _post(target, raw, self.headers(request_id, raw))))

    def headers(self, request_id: str, raw: bytes, at_s: int | None = None) -> dict[str, str]:
        """Return the headers of a webhook, its signature among them."""
        at = str(int(time.time()) if at_s is None else at_s)
        signed = "\n".join((request_id, USER_ID, at, hashlib.sha256(raw).hexdigest()))
        return {
            "Content-Type": "application/json", "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": USER_ID, "X-Fal-Webhook-Timestamp": at,
            "X-Fal-Webhook-Signature": self.key.sign(signed.encode()).hex(),
        }  # fmt: skip


def _post(target: str, raw: bytes, headers: dict[str, str]) -> int:
    """Send a webhook; a redirect is not followed, and no answer is 0."""
    url = urlsplit(target)
    connection = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    try:
        link = connection(url.hostname or "", url.port, timeout=TIMEOUT_S)
        link.request("POST", f"{url.path or '/'}{'?' + url.query if url.query else ''}", raw, headers)
        return link.getresponse().status
    except (OSError, http.client.HTTPException):
        return 0
