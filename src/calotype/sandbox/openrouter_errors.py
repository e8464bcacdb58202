"""Refusals of the emulated OpenRouter (`wire/providers.md §6.6`)."""

from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from calotype.sandbox.base import reply

MESSAGES = {
    400: "Invalid request.", 401: "No auth credentials found", 402: "Insufficient credits", 403: "Forbidden",
    404: "No endpoints found that match your data policy.", 408: "Request timed out", 413: "Request too large",
    429: "Rate limit exceeded", 502: "Provider returned error", 503: "No available model provider",
}  # fmt: skip


async def fields_of(request: Request) -> dict[str, Any] | None:
    """Read a JSON body; None when it is none."""
    try:
        return msgspec.json.decode(await request.body(), type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def refusal_of(request: Request, fields: dict[str, Any], words: dict[str, str]) -> Response | None:
    """Return the refusal that the key, the words or the model's name ask for."""
    if (without := unkeyed(request)) is not None:
        return without
    if "moderated" in words:
        return refused(403, {"reasons": ["violence"], "flagged_input": "…", "provider_name": "Sandbox"})
    if "inflight" in words:
        held = refused(402, {"limit_source": "openrouter_in_flight_budget"})
        held.headers["retry-after"] = "1"
        return held
    if (code := words.get("code", "")).isdigit():
        return refused(int(code))
    return refused(404) if "unknown" in str(fields.get("model")) else None


def refused(status: int, metadata: dict[str, Any] | None = None) -> Response:
    """Word a refusal with this status."""
    error: dict[str, Any] = {"code": status, "message": MESSAGES.get(status, "As you wished.")}
    if metadata is not None:
        error["metadata"] = metadata
    return reply({"error": error, "user_id": "user_sandbox"}, status)


def unkeyed(request: Request) -> Response | None:
    """Refuse a request without a key that works."""
    scheme, _, key = request.headers.get("authorization", "").partition(" ")
    if scheme != "Bearer" or not key.startswith("sk-or-") or key.startswith("sk-or-unknown"):
        return refused(401)
    return refused(402) if key.startswith("sk-or-empty") else None
