"""Videos over OpenRouter: submitted once, then polled (`wire/providers.md §6.3`)."""

from typing import Any

from yarl import URL

from calotype.kernel.outcome import Failed, FailedKind, Outcome, Output, Pending, Succeeded
from calotype.kernel.steps import HttpResponse, Steps
from calotype.providers.answers import is_name, redacted
from calotype.providers.base import Call, Handle
from calotype.providers.openai_account import Account, given
from calotype.providers.openai_errors import MALFORMED, error_of
from calotype.providers.openrouter_bill import bill
from calotype.providers.openrouter_media import pointer, with_references

FRAMES = {"image_url": "first_frame", "end_image_url": "last_frame"}
"""Fields of the input that are frames of the video rather than pictures to look at."""
ENDS: dict[str, str] = {
    "failed": "The provider failed while it made the video.",
    "cancelled": "The request was canceled at the provider.",
    "expired": "The provider did not come to an end in time.",
}
_POLICY = frozenset({"content_policy_violation", "refusal", "moderation_blocked"})


def started(account: Account, call: Call, extra: dict[str, Any]) -> Steps[Outcome]:
    """Put a video into OpenRouter's queue."""
    fields = given(call.input)
    frames = [{**pointer(fields.pop(name)), "frame_type": kind} for name, kind in FRAMES.items() if fields.get(name)]
    if (seconds := fields.pop("seconds", None)) is not None:
        fields["duration"] = int(seconds)
    body = {"model": call.upstream_model, **with_references(fields), **extra}
    if frames:
        body["frame_images"] = frames
    if call.callback_url is not None and call.callback_url.startswith("https://"):
        body["callback_url"] = call.callback_url
    answer = yield from account.ask(call, account.post("/videos", call, body))
    if isinstance(answer, Failed):
        return answer
    said = answer.json()
    ident = said.get("id") if isinstance(said, dict) else None
    if not is_name(ident, 100):
        detail = f"HTTP {answer.status} without an id"
        return Failed(FailedKind.UNKNOWN, MALFORMED, detail=detail, status=answer.status)
    return _read(account, {"id": ident}, said)


def looked(account: Account, handle: Handle, call: Call) -> Steps[Outcome]:
    """Ask how far a video is. The address is built from its id: our key goes nowhere else."""
    answer: HttpResponse = yield account.get(f"/videos/{handle['id']}")
    body = answer.json()
    if answer.ok and isinstance(body, dict) and isinstance(body.get("status"), str):
        return _read(account, handle, body)
    refusal = account.refusals.failed(call, answer, late=False)
    its_own = isinstance(body, dict) and bool(body.get("error"))  # and not that of something on the way
    gone = answer.status in (404, 410) and its_own
    if refusal.kind in (FailedKind.AUTH, FailedKind.QUOTA) or (refusal.kind is FailedKind.GONE and gone):
        return refusal
    return Failed(
        FailedKind.RETRY, "The provider could not be asked.", detail=refusal.detail, status=answer.status,
        retry_after_s=refusal.retry_after_s,
    )  # fmt: skip


def _read(account: Account, handle: Handle, body: dict[str, Any]) -> Outcome:
    """Return what a video object says; a status that nobody has written down means: still at work."""
    status, cost = body.get("status"), bill(body.get("usage"))
    if status in ENDS:
        error = error_of(body)
        policy = error.code in _POLICY or error.type in _POLICY
        kind = FailedKind.MODERATED if policy else FailedKind.UPSTREAM
        message = "The provider's content policy refused the request." if policy else ENDS[status]
        return Failed(kind, message, detail=redacted(f"{status} {error.code} {error.message}"), cost=cost)
    if status != "completed":
        return Pending(handle, upstream_id=handle["id"])
    return Succeeded(_outputs(account, handle, body), cost=cost, upstream_id=handle["id"])


def _outputs(account: Account, handle: Handle, body: dict[str, Any]) -> tuple[Output, ...]:
    """Return the films: signed addresses first; others want the key, which only goes to OpenRouter itself."""
    signed = _urls(body.get("urls"))
    if signed:
        return tuple(Output(url=url, content_type="video/mp4") for url in signed)
    own = URL(account.base_url).origin()
    keyed = [url for url in _urls(body.get("unsigned_urls")) if URL(url).origin() == own]
    keyed = keyed or [f"{account.base_url}/videos/{handle['id']}/content?index=0"]
    return tuple(Output(url=url, content_type="video/mp4", url_headers=account.authorized()) for url in keyed)


def _urls(value: Any) -> list[str]:
    return [url for url in value if isinstance(url, str) and _whole(url)] if isinstance(value, list) else []


def _whole(url: str) -> bool:
    """Say whether a text is the address of something at a host."""
    try:
        found = URL(url)
        port = found.port
    except ValueError:
        return False
    return found.scheme in ("http", "https") and bool(found.host) and port is not None
