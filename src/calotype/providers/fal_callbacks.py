"""fal's webhooks: which request one is about, once its Ed25519 signature is proven (`wire/fal.md §10`).

A webhook is a hint that a request may be over; what became of it is always read from fal itself.
"""

import binascii
import hashlib
import re
from base64 import urlsafe_b64decode
from collections.abc import Mapping, Sequence
from typing import Any

TOLERANCE_S = 300
MAX_KEYS = 16
_PREFIX = "x-fal-webhook-"
_SHAPES = {
    "request-id": r"[\w.-]{1,100}",
    "user-id": r"[^\r\n]{1,200}",
    "timestamp": r"\d{1,12}",
    "signature": r"[0-9a-f]{128}",
}


def keys_of(jwks: Any) -> tuple[bytes, ...]:
    """Return the Ed25519 keys of a key set; what is none is passed over."""
    listed = jwks.get("keys") if isinstance(jwks, dict) else None
    keys: list[bytes] = []
    for jwk in listed[:MAX_KEYS] if isinstance(listed, list) else ():
        if isinstance(jwk, dict) and jwk.get("kty") == "OKP" and jwk.get("crv") == "Ed25519":
            try:
                key = urlsafe_b64decode(f"{jwk.get('x')}==")
            except (binascii.Error, ValueError):
                continue
            if len(key) == 32:
                keys.append(key)
    return tuple(keys)


def plausible(headers: Mapping[str, str], now_s: float) -> bool:
    """Say whether the headers have the shape and the age of a webhook: before that no key need be fetched."""
    values = {name: headers.get(_PREFIX + name, "") for name in _SHAPES}
    if not all(re.fullmatch(shape, values[name]) for name, shape in _SHAPES.items()):
        return False
    return abs(int(values["timestamp"]) - now_s) <= TOLERANCE_S


def proven(headers: Mapping[str, str], body: bytes, keys: Sequence[bytes], now_s: float) -> str | None:
    """Return the id of the request that a webhook is about; None unless one of the keys signed it just now.

    Header names are lower case.
    """
    if not plausible(headers, now_s):
        return None
    request_id, user_id, at = (headers[_PREFIX + name] for name in ("request-id", "user-id", "timestamp"))
    message = "\n".join((request_id, user_id, at, hashlib.sha256(body).hexdigest())).encode()
    signature = bytes.fromhex(headers[f"{_PREFIX}signature"])
    from cryptography.exceptions import InvalidSignature  # noqa: PLC0415  (15 ms, 5 MiB: when used)
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey  # noqa: PLC0415

    for key in keys:
        try:
            Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
        except InvalidSignature:
            continue
        return request_id
    return None
