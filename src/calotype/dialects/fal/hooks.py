"""The end of a request as fal's webhook tells it, signed with Ed25519 (`wire/fal.md §10`)."""

import base64
import hashlib
import hmac
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

import msgspec

from calotype.dialects.fal.desk import UrlOf
from calotype.dialects.fal.errors import failure_of, media_of, refused
from calotype.dialects.fal.outputs import body_of, file_of, forgotten
from calotype.jobs.types import JobView
from calotype.kernel.job import JobState

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

JWKS = "/.well-known/jwks.json"
_encode = msgspec.json.Encoder().encode


class HookKeys:
    """The keys that sign webhooks, one for each of the server's secrets; the first signs, all of them are published."""

    def __init__(self, server_secrets: Sequence[bytes]) -> None:
        self._secrets = tuple(server_secrets)

    @cached_property
    def _keys(self) -> "tuple[Ed25519PrivateKey, ...]":
        from cryptography.hazmat.primitives.asymmetric.ed25519 import (  # noqa: PLC0415  (15 ms, 5 MiB: when used)
            Ed25519PrivateKey,
        )

        return tuple(
            Ed25519PrivateKey.from_private_bytes(hmac.digest(secret, b"calotype.fal.webhook", "sha256"))
            for secret in self._secrets
        )

    def jwks(self) -> dict[str, Any]:
        """Return the public keys as receivers fetch them."""
        return {"keys": [_public(key) for key in self._keys]}

    def headers(self, request_id: str, user_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
        """Return the headers that go with a body; the signature is over id, user, time and the body's digest."""
        digest = hashlib.sha256(body).hexdigest()
        signed = f"{request_id}\n{user_id}\n{timestamp_s}\n{digest}".encode()
        return {
            "X-Fal-Webhook-Request-Id": request_id,
            "X-Fal-Webhook-User-Id": user_id,
            "X-Fal-Webhook-Timestamp": str(timestamp_s),
            "X-Fal-Webhook-Signature": self._keys[0].sign(signed).hex(),
        }


class FalHooks:
    """Writes the webhooks of this dialect; `urls` makes a function that signs media URLs."""

    def __init__(self, keys: HookKeys, urls: Callable[[], UrlOf]) -> None:
        self._keys = keys
        self._urls = urls

    def letter(self, view: JobView, timestamp_s: int) -> tuple[dict[str, str], bytes]:
        """Return the headers and the body that announce how a request ended."""
        body = _encode(announcement(view, self._urls()))
        return self._keys.headers(view.id, view.job.org_id, timestamp_s, body), body


def announcement(view: JobView, url_of: UrlOf) -> dict[str, Any]:
    """Write the body: the model's output, or the error that the result answers."""
    told: dict[str, Any] = {"request_id": view.id, "gateway_request_id": view.id}
    if forgotten(view):
        gone = "The payload is not kept any more."
        return told | {"status": "OK", "error": None, "payload": None, "payload_error": gone}
    if view.state is JobState.SUCCEEDED:
        payload = body_of(view, [file_of(artifact, url_of) for artifact in view.artifacts])
        return told | {"status": "OK", "error": None, "payload": payload}
    found = refused(failure_of(view), media_of(view))
    return told | {"status": "ERROR", "error": f"Invalid status code: {found.status}", "payload": found.body}


def _public(key: "Ed25519PrivateKey") -> dict[str, str]:
    raw = key.public_key().public_bytes_raw()
    x = base64.urlsafe_b64encode(raw).rstrip(b"=").decode()
    return {"kty": "OKP", "crv": "Ed25519", "kid": hashlib.sha256(raw).hexdigest()[:16], "x": x}
