"""What KIE's answers mean: its envelope, its codes and the records of its three families (`wire/providers.md §5`).

Everything is `{"code", "msg", "data"}`, mostly with HTTP status 200: the truth is the code. Moderation has no code of
its own and is known by the text.
"""

import re
from collections.abc import Iterable
from decimal import ROUND_CEILING, Decimal
from typing import Any

import msgspec
from msgspec import Struct

from calotype.kernel.outcome import Cost, Failed, FailedKind, Outcome, Output, Pending, Succeeded
from calotype.kernel.steps import NOT_JSON, HttpResponse
from calotype.providers.answers import redacted
from calotype.providers.base import Handle
from calotype.providers.errors import ErrorBody, Meaning, meaning_of

CREDIT_MICRO = 5_000
"""What a credit of KIE's costs in micro-USD (§5.6)."""
POLICY_WORDS = re.compile(
    r"policy|policies|sensitive|nsfw|moderat|flagged|prohibited|unsafe|\bminors?\b|prominent people", re.IGNORECASE
)
"""By these a text is one of content policy (§5.7); settings add further words."""
RECORD_GRACE_MS = 30_000
"""How long a new task may have no record (§5.2)."""
CALLBACK_GRACE_MS = 600_000
"""How long music may still be made after KIE could not tell us about a part of it."""
_THEMES = (
    ("paused", re.compile(r"\bpaused\b", re.IGNORECASE)),
    ("no_model", re.compile(r"\bmodel\b.{0,60}\bnot (?:supported|found|exist|available)|unsupported model", re.I)),
)
_POLICY, _PAUSED, _NO_MODEL = (frozenset({name}) for name in ("policy", "paused", "no_model"))
_REFUSED = "The provider's content policy refused the request."
_INPUT = "The provider refused the input."
_FETCH = "The provider could not fetch an input file."
_SIZE = "The provider does not take a file of this size."
_BROKE = "The provider failed while it worked on the request."
_NO_END = "The provider did not say how the request ended."
_MISSING = "The provider does not have this model."
_UNREADABLE = "The provider's answer could not be read."
_AUTH, _QUOTA, _GONE, _RETRY = FailedKind.AUTH, FailedKind.QUOTA, FailedKind.GONE, FailedKind.RETRY
_INVALID, _UPSTREAM, _UNKNOWN = FailedKind.INVALID, FailedKind.UPSTREAM, FailedKind.UNKNOWN

REFUSALS: tuple[Meaning, ...] = (
    Meaning("400 422 451 501", FailedKind.MODERATED, _REFUSED, types=_POLICY),
    Meaning("500", _GONE, "The provider has paused this model.", types=_PAUSED),
    Meaning("422", _GONE, _MISSING, types=_NO_MODEL),
    Meaning("401 403", _AUTH, "The provider refused our credential."),
    Meaning("402", _QUOTA, "The provider's account is out of credit."),
    Meaning("433", _QUOTA, "The budget of our key at the provider is used up."),
    Meaning("404 505", _GONE, _MISSING),
    Meaning("408", _UNKNOWN, _NO_END),
    Meaning("413", _INVALID, _SIZE),
    Meaning("429", _RETRY, "The provider limits our rate."),
    Meaning("451", _INVALID, _FETCH),
    Meaning("455", _RETRY, "The provider is under maintenance."),
    Meaning("4xx", _INVALID, _INPUT),
    Meaning("501", _UPSTREAM, _BROKE),
    Meaning("xxx", _UNKNOWN, _NO_END),
)
"""What the code of an answer to a create means (§5.7); the first row that fits decides."""

FRONT: tuple[Meaning, ...] = (
    Meaning("2xx", _UNKNOWN, _UNREADABLE),
    Meaning("3xx", _GONE, "The provider's address has moved."),
    Meaning("401", _AUTH, "The provider refused our credential."),
    Meaning("404 405 410", _GONE, _MISSING),
    Meaning("408", _UNKNOWN, _NO_END),
    Meaning("413", _INVALID, _SIZE),
    # a bare 403 is Cloudflare's word about our client, not KIE's about our key (§5.1)
    Meaning("4xx", _RETRY, "The provider's front does not let us through."),
    Meaning("xxx", _UNKNOWN, _NO_END),
)
"""What an answer without KIE's envelope means, by its HTTP status."""

FAILURES: tuple[Meaning, ...] = (
    Meaning("xxx", FailedKind.MODERATED, _REFUSED, types=_POLICY),
    Meaning("413", _INVALID, _SIZE),
    Meaning("451", _INVALID, _FETCH),
    Meaning("400 422", _INVALID, _INPUT),
    Meaning("408", _UPSTREAM, "The provider did not come to an end in time."),
    Meaning("xxx", _UPSTREAM, _BROKE),
)
"""What the code of a task that was accepted and failed means: never "try again"."""


class Envelope(Struct, frozen=True):
    """KIE's answer: `code` is 200 where all is well."""

    code: int
    text: str
    data: Any

    @property
    def ok(self) -> bool:
        """Whether KIE did what was asked."""
        return self.code == 200


def envelope_of(answer: HttpResponse) -> Envelope | None:
    """Return the envelope; None when something else answered. A code of 200 does not outweigh an HTTP error."""
    body = answer.json() if len(answer.body) <= 1 << 22 else None
    code = body.get("code") if isinstance(body, dict) else None
    if not isinstance(body, dict) or not isinstance(code, int) or isinstance(code, bool) or not 0 < code < 1000:
        return None
    said = body.get("msg") or body.get("message")
    text = said if isinstance(said, str) else ""
    return Envelope(answer.status if code == 200 and not answer.ok else code, text, body.get("data"))


class Reader:
    """Reads answers for one account: what is secret is left out of its words, `words` add to the policy's."""

    def __init__(self, secrets: Iterable[str], words: Iterable[str] = ()) -> None:
        self._secrets = tuple(secrets)
        self._words = tuple(word.lower() for word in words if word)

    def refusal(self, answer: HttpResponse, prose: Iterable[str] = ()) -> Failed:
        """Return what an answer means that did not accept the work; `prose` is the caller's own words."""
        envelope = envelope_of(answer)
        if envelope is None:
            kind, message = meaning_of(FRONT, answer.status, None, late=False)
            said = answer.body.decode(errors="replace")
            words = redacted(f"HTTP {answer.status} {said}", [*self._secrets, *prose])[:200]
            return Failed(kind, message, detail=words, status=answer.status)
        return self._failed(REFUSALS, envelope.code, envelope.text, prose=prose)

    def record(self, handle: Handle, answer: HttpResponse, now_ms: int) -> Outcome:
        """Return where a task stands. Only KIE's own word about the task ends it; a read that fails does not."""
        envelope = envelope_of(answer)
        if envelope is None or not envelope.ok:
            return self._unread(handle, answer, envelope, now_ms)
        data = envelope.data
        if not isinstance(data, dict):
            return Failed(_RETRY, _UNREADABLE, detail="the record is empty")
        match handle["family"]:
            case "veo":
                return self._veo(handle, data)
            case "music":
                return self._music(handle, data, now_ms)
            case _:
                return self._job(handle, data)

    def _unread(self, handle: Handle, answer: HttpResponse, envelope: Envelope | None, now_ms: int) -> Outcome:
        if envelope is not None and envelope.code in (404, 422):
            if now_ms - handle["at_ms"] < RECORD_GRACE_MS:
                return Pending(handle)
            detail = redacted(f"code {envelope.code} {envelope.text}", self._secrets)
            return Failed(_GONE, "The provider does not know the task.", detail=detail)
        if envelope is not None and handle["family"] == "veo" and envelope.code in (400, 451, 501):
            return self._failed(FAILURES, envelope.code, envelope.text)
        refusal = self.refusal(answer)
        if refusal.kind in (_AUTH, _QUOTA):
            return refusal
        return msgspec.structs.replace(refusal, kind=_RETRY, message="The provider could not be asked.")

    # -- the families -------------------------------------------------------------------------------------------------

    def _job(self, handle: Handle, data: dict[str, Any]) -> Outcome:
        """Read a record of the unified jobs (§5.2); a state that is not known is one of waiting."""
        state, cost = data.get("state"), cost_of(data)
        if state == "fail":
            return self._failed(FAILURES, _code(data.get("failCode")), _word(data.get("failMsg")), cost=cost)
        if state != "success":
            return Pending(handle)
        result = _decoded(data.get("resultJson"))
        if (character := _character(result)) is not None:
            return Succeeded(data={"character_id": character}, cost=cost, upstream_id=handle["id"])
        urls = _urls(result.get("resultUrls")) if isinstance(result, dict) else ()
        return _delivered(handle, [Output(url=url) for url in urls], {}, cost)

    def _veo(self, handle: Handle, data: dict[str, Any]) -> Outcome:
        """Read a record of Veo (§5.3); the film before it was fitted to the format comes second."""
        flag, cost = data.get("successFlag"), cost_of(data)
        if flag in (2, 3):
            return self._failed(FAILURES, _code(data.get("errorCode")), _word(data.get("errorMessage")), cost=cost)
        if flag != 1:
            return Pending(handle)
        answer = data.get("response")
        response = answer if isinstance(answer, dict) else {}
        made = _urls(response.get("resultUrls"))
        origins = tuple(url for url in _urls(response.get("originUrls")) if url not in made)
        resolution = response.get("resolution")
        facts: dict[str, Any] = {"resolution": resolution} if isinstance(resolution, str) else {}
        if made and origins:
            facts["files"] = [*_named("video", made), *_named("origin_video", origins)]
        return _delivered(handle, [Output(url=url) for url in (*made, *origins) if made], facts, cost)

    def _music(self, handle: Handle, data: dict[str, Any], now_ms: int) -> Outcome:
        """Read a record of Suno (§5.4). That KIE could not call us says nothing about the music."""
        status, cost = data.get("status"), cost_of(data)
        answer = data.get("response")
        listed = answer.get("sunoData") if isinstance(answer, dict) else None
        songs = [song for song in listed if isinstance(song, dict)] if isinstance(listed, list) else []
        ready = [song for song in songs if _urls([song.get("audioUrl")])]
        match status:
            case "SUCCESS":
                return _recorded(handle, ready, cost)
            case "CALLBACK_EXCEPTION":
                late = now_ms - handle["at_ms"] > CALLBACK_GRACE_MS
                return _recorded(handle, ready, cost) if late or len(ready) >= handle["outputs"] else Pending(handle)
            case "SENSITIVE_WORD_ERROR":
                return Failed(FailedKind.MODERATED, _REFUSED, detail=status, code="sensitive_word_error", cost=cost)
            case "CREATE_TASK_FAILED" | "GENERATE_AUDIO_FAILED":
                text = f"{status} {_word(data.get('errorMessage'))}"
                return self._failed(FAILURES, _code(data.get("errorCode")), text, cost=cost)
            case _:
                return Pending(handle)

    # -- failures -----------------------------------------------------------------------------------------------------

    def _failed(
        self,
        table: tuple[Meaning, ...],
        code: int,
        text: str,
        *,
        prose: Iterable[str] = (),
        cost: Cost | None = None,
    ) -> Failed:
        kind, message = meaning_of(table, code, ErrorBody(str(code), self._theme(text), text), late=False)
        detail = redacted(f"code {code} {text}", [*self._secrets, *prose])
        if cost is not None and cost.micro:  # whether KIE gives them back is not published (§5.7): the amount is kept
            cost = msgspec.structs.replace(cost, micro=None)
        return Failed(kind, message, detail=detail, code=str(code) if code else None, status=code or None, cost=cost)

    def _theme(self, text: str) -> str:
        if POLICY_WORDS.search(text) or any(word in text.lower() for word in self._words):
            return "policy"
        return next((name for name, pattern in _THEMES if pattern.search(text)), "")


def cost_of(data: dict[str, Any]) -> Cost | None:
    """Return the credits that KIE says it took; not every record says so."""
    said = data.get("creditsConsumed")
    if not isinstance(said, int | float) or isinstance(said, bool) or not 0 <= said < 10**9:
        return None
    amount = Decimal(str(said))
    micro = int((amount * CREDIT_MICRO).to_integral_value(ROUND_CEILING))
    return Cost(micro=micro, amount=f"{amount:f}", unit="kie_credit", source="response")


def _delivered(handle: Handle, outputs: list[Output], facts: dict[str, Any], cost: Cost | None) -> Outcome:
    if not outputs:
        return Failed(_UPSTREAM, "The provider delivered nothing.", cost=cost)
    return Succeeded(
        tuple(outputs), facts, cost=cost, warnings=tuple(handle.get("warnings", ())), upstream_id=handle["id"]
    )


def _recorded(handle: Handle, songs: list[dict[str, Any]], cost: Cost | None) -> Outcome:
    outputs, tracks = [], []
    for song in songs:
        said = song.get("duration")
        seconds = float(said) if isinstance(said, int | float) and not isinstance(said, bool) and said > 0 else None
        title = _word(song.get("title")) or None
        outputs.append(Output(url=song["audioUrl"], duration_s=seconds, text=title))
        tracks.append({"title": title, "tags": _word(song.get("tags")) or None, "duration": seconds})
    return _delivered(handle, outputs, {"tracks": tracks}, cost)


def _character(result: Any, depth: int = 0) -> str | None:
    """Find the id of a character; under which key KIE writes it is not settled (§5.2)."""
    if not isinstance(result, dict) or depth > 3:
        return None
    for name in ("character_id", "characterId"):
        if isinstance(found := result.get(name), str) and found:
            return found
    return next((found for value in result.values() if (found := _character(value, depth + 1)) is not None), None)


def _decoded(value: Any) -> Any:
    """Decode a result, which is JSON inside a JSON text."""
    if not isinstance(value, str):
        return value
    try:
        return msgspec.json.decode(value)
    except NOT_JSON:
        return None


def _urls(value: Any) -> tuple[str, ...]:
    items = value if isinstance(value, list) else ()
    return tuple(item for item in items if isinstance(item, str) and item.startswith(("https://", "http://")))


def _named(name: str, urls: tuple[str, ...]) -> list[str]:
    return [name] if len(urls) == 1 else [f"{name}s.{n}" for n in range(len(urls))]


def _code(value: Any) -> int:
    text = str(value)
    return int(text) if text.isdecimal() and len(text) <= 3 else 0


def _word(value: Any) -> str:
    return value if isinstance(value, str) else ""
