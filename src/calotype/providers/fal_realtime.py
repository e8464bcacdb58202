"""Frames to fal: one after the other over the WebSocket of their session, which is kept between them (§6.3).

A frame is a paid request like any other: it is written down before it is sent, and one whose answer was cut off is
never sent again. A WebSocket on which anything went wrong is not used again either, so that no answer is taken for
that of another frame.
"""

from typing import Any

import msgspec

from calotype.kernel.outcome import Failed, FailedKind, Outcome, Succeeded
from calotype.kernel.steps import Dial, Hear, HttpRequest, HttpResponse, Keep, MaybeSent, NotSent, Say, Steps
from calotype.providers.answers import redacted
from calotype.providers.fal_answers import REFUSALS, delivered, failed

TOKEN_S = 120
MOST_NOTES = 100
"""How many messages that are no result may come before one."""
MOST_BYTES = 64 << 20
NAMESPACES = ("workflows", "comfy")
_UNREADABLE = "The provider's answer could not be read."
_pack = msgspec.msgpack.Encoder().encode
_NOT_TAKEN = frozenset({FailedKind.AUTH, FailedKind.QUOTA, FailedKind.GONE, FailedKind.RETRY})


def framed(
    name: str, token: HttpRequest, address: str, fields: dict[str, Any], key: str, patience_s: float
) -> Steps[Outcome]:
    """Send one frame and return its result.

    `name` is that of the session's WebSocket, `token` asks for leave to open it at `address`; nothing is billed before
    the frame itself.
    """
    try:
        refusal = yield from _on_line(name, token, address, key)
    except (NotSent, MaybeSent) as error:
        return Failed(FailedKind.RETRY, "The provider's session could not be opened.", detail=str(error))
    if refusal is not None:
        return refusal
    yield Say(_pack(fields), commits=True)
    for _ in range(MOST_NOTES):
        body = _read((yield Hear(patience_s)))
        if body is None:
            return Failed(FailedKind.UNKNOWN, _UNREADABLE)
        if body.get("type") == "x-fal-message":
            continue
        if body.get("type") == "x-fal-error" or body.get("status") == "error":
            return _failure(body, key)
        yield Keep()
        return _result(body)
    return Failed(FailedKind.UNKNOWN, _UNREADABLE, detail=f"{MOST_NOTES} messages and no result")


def token_request(url: str, model: str, headers: dict[str, str]) -> HttpRequest:
    """Return the request for a token, which holds the alias only."""
    parts = model.split("/")
    alias = parts[2 if parts[0] in NAMESPACES else 1] if len(parts) > 1 else model
    body = msgspec.json.encode({"allowed_apps": [alias], "token_expiration": TOKEN_S})
    headers = {**headers, "Content-Type": "application/json"}
    return HttpRequest("POST", url, headers, body, read_timeout_s=30.0, max_bytes=1 << 20)


def _on_line(name: str, token: HttpRequest, address: str, key: str) -> Steps[Failed | None]:
    """Take the session's WebSocket, or open one; return why there is none."""
    kept: HttpResponse = yield Dial(name)
    if kept.status == 101 and (yield from _quiet()):
        return None
    answer: HttpResponse = yield token
    if not answer.ok:
        return _unopened(answer, key)
    leave = _token(answer)
    if leave is None:
        return Failed(FailedKind.RETRY, _UNREADABLE, detail="no token")
    url = f"{address}?fal_jwt_token={leave}"
    opened: HttpResponse = yield Dial(name, HttpRequest("GET", url, total_timeout_s=30.0, max_bytes=MOST_BYTES))
    return None if opened.status == 101 else _unopened(opened, key)


def _quiet() -> Steps[bool]:
    """Say whether nothing happened on a kept WebSocket that would be taken for the answer to the next frame."""
    try:
        while (message := (yield Hear(0))) is not None:
            body = _read(message)
            if body is None or body.get("type") != "x-fal-message":
                return False
    except MaybeSent:
        return False
    return True


def _unopened(answer: HttpResponse, key: str) -> Failed:
    refusal = failed(REFUSALS, answer, key)
    if refusal.kind in _NOT_TAKEN:
        return refusal
    return msgspec.structs.replace(refusal, kind=FailedKind.RETRY, message="The provider opened no session.")


def _token(answer: HttpResponse) -> str | None:
    body = answer.json()
    found = body.get("token") or body.get("detail") if isinstance(body, dict) else body
    return found if isinstance(found, str) and found.isascii() and found.replace(".", "").isprintable() else None


def _read(message: str | bytes) -> dict[str, Any] | None:
    try:
        body = msgspec.json.decode(message) if isinstance(message, str) else msgspec.msgpack.decode(message)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    return body if isinstance(body, dict) else None


def _failure(body: dict[str, Any], key: str) -> Failed:
    """Tell what an error in a session means; its text may quote the input and is for the operator only."""
    word = str(body.get("error", ""))
    detail = redacted(f"{word} {body.get('reason', '')}", [key])
    if word == "Unauthorized":
        return Failed(FailedKind.AUTH, "The provider refused our credential.", detail=detail)
    if word == "TIMEOUT":  # the end of an idle session, which crossed our frame
        return Failed(FailedKind.UNKNOWN, "The provider's session ended.", detail=detail)
    return Failed(FailedKind.UPSTREAM, "The provider failed while it worked on the request.", detail=detail)


def _result(body: dict[str, Any]) -> Outcome:
    ident = body.pop("request_id", None)
    outcome = delivered(HttpResponse(200, {}, msgspec.json.encode(_with_urls(body))), None)
    if isinstance(outcome, Succeeded) and isinstance(ident, str):
        return msgspec.structs.replace(outcome, upstream_id=ident[:100])
    return outcome


def _with_urls(value: Any) -> Any:
    """Return a result whose files of bytes are data URIs, as they are everywhere else at fal."""
    if isinstance(value, list):
        return [_with_urls(item) for item in value]
    if not isinstance(value, dict):
        return value
    body = {str(name): _with_urls(item) for name, item in value.items() if name != "content" or not _raw(item)}
    if _raw(raw := value.get("content")):
        text = msgspec.json.encode(raw)[1:-1].decode()
        body["url"] = f"data:{value.get('content_type') or 'image/jpeg'};base64,{text}"
    return body


def _raw(value: Any) -> bool:
    return isinstance(value, bytes)
