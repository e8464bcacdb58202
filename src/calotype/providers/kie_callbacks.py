"""KIE's callbacks: whether one is about a task of ours and, where the account has a key, signed with it (§5.5).

The signature covers the task's id and the time, not the body: a callback is a hint, and what became of the task is
always read from KIE itself.
"""

import hashlib
import hmac
from base64 import b64encode
from collections.abc import Mapping
from typing import Any

import msgspec

from calotype.kernel.steps import NOT_JSON

TOLERANCE_S = 300
MAX_BODY_BYTES = 1 << 20


def proven(headers: Mapping[str, str], body: bytes, task_id: str, secret: str, now_s: float) -> bool:
    """Say whether a callback names this task and, with a secret, was signed for it just now.

    Header names are lower case. The signature is base64; a public client writes it in hex, which proves as much.
    """
    if task_id not in _tasks(body):
        return False
    if not secret:
        return True
    at, signature = headers.get("x-webhook-timestamp", ""), headers.get("x-webhook-signature", "").strip()
    if not at.isdecimal() or len(at) > 12 or abs(int(at) - now_s) > TOLERANCE_S:
        return False
    digest = hmac.new(secret.encode(), f"{task_id}.{at}".encode(), hashlib.sha256)
    wanted = (b64encode(digest.digest()), digest.hexdigest().encode())
    return any(hmac.compare_digest(signature.encode(), one) for one in wanted)


def _tasks(body: bytes) -> set[Any]:
    """Return the ids that a callback names; music writes them with an underscore."""
    try:
        said = msgspec.json.decode(body) if len(body) <= MAX_BODY_BYTES else None
    except NOT_JSON:
        return set()
    if not isinstance(said, dict):
        return set()
    data = said.get("data")
    places = (said, data) if isinstance(data, dict) else (said,)
    named = (place.get(name) for place in places for name in ("taskId", "task_id"))
    return {one for one in named if isinstance(one, str)}
