"""OpenRouter: language models of many hosts, and pictures, videos and sound beside them (`wire/providers.md §6`).

Its answers say what they cost in USD. PHI only goes to hosts that keep nothing (`zdr`) and do not learn from what they
are sent (`data_collection`), and never into the making of videos, which are kept for download.
"""

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from calotype.kernel.clock import Clock
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome
from calotype.kernel.steps import NOT_JSON, HttpResponse, Steps
from calotype.providers.answers import immediately
from calotype.providers.base import Call, Check, Handle, MediaInputs, PollSchedule, Provider
from calotype.providers.errors import Meaning
from calotype.providers.openai_account import Account
from calotype.providers.openai_chat import Manner, chat
from calotype.providers.openai_embeddings import embeddings
from calotype.providers.openrouter_bill import bill, usd
from calotype.providers.openrouter_media import heard, pictures, spoken
from calotype.providers.openrouter_videos import looked, started
from calotype.settings import ProviderSettings

BASE_URL = "https://openrouter.ai/api/v1"
PRIVATE = {"zdr": True, "data_collection": "deny"}
"""Preferences that leave only hosts which keep nothing and learn nothing (`wire/providers.md §6.1`)."""

UNPARSED = {"plugins": [{"id": "file-parser", "pdf": {"engine": "native"}}]}
"""Documents are read by the model itself: OpenRouter's own reading of them is billed by the page, beside the tokens."""

_POLICY = "The provider's content policy refused the request."
_TRANSIENT = "The provider cannot take the request at the moment."
_NO_END = "The provider did not say how the request ended."
_INPUT = "The provider refused the input."
_NO_CREDIT = "The provider's account is out of credit."
_RETRY, _UNKNOWN = FailedKind.RETRY, FailedKind.UNKNOWN
_IN_FLIGHT = "openrouter_in_flight_budget"
_INPUT_TYPES = frozenset(
    {
        "context_length_exceeded",
        "image_too_large",
        "invalid_image",
        "invalid_prompt",
        "payload_too_large",
        "unsupported_image_format",
    }
)

MEANINGS: tuple[Meaning, ...] = (
    Meaning("xxx", FailedKind.MODERATED, _POLICY, types=frozenset({"content_policy_violation", "refusal"})),
    Meaning("xxx", FailedKind.INVALID, _INPUT, types=_INPUT_TYPES),
    Meaning("402", _RETRY, "The provider limits what we spend at once.", types=frozenset({_IN_FLIGHT})),
    Meaning("402", FailedKind.QUOTA, _NO_CREDIT),
    Meaning("401 403", FailedKind.AUTH, "The provider refused our credential."),
    Meaning("404 405 410", FailedKind.GONE, "The provider has no host for this model."),
    Meaning("408 409 524", _UNKNOWN, _NO_END),
    Meaning("425 429", _RETRY, "The provider limits our rate."),
    Meaning("4xx", FailedKind.INVALID, _INPUT),
    Meaning("500", _RETRY, _TRANSIENT, late=_UNKNOWN, silent=_UNKNOWN),
    Meaning("502 503 529", _RETRY, _TRANSIENT, silent=_UNKNOWN),
    Meaning("2xx", FailedKind.UPSTREAM, "The provider reported an error."),
    Meaning("3xx", FailedKind.GONE, "The provider's address has moved."),
    Meaning("xxx", _UNKNOWN, _NO_END),
)
"""The first row that fits decides (`wire/providers.md §6.6`)."""

_MEDIA: dict[Operation, Callable[[Account, Call, dict[str, Any]], Steps[Outcome]]] = {
    Operation.TEXT_TO_IMAGE: pictures,
    Operation.IMAGE_TO_IMAGE: pictures,
    Operation.TEXT_TO_VIDEO: started,
    Operation.IMAGE_TO_VIDEO: started,
    Operation.TEXT_TO_SPEECH: spoken,
    Operation.TRANSCRIPTION: heard,
}
_KEPT = frozenset({Operation.TEXT_TO_VIDEO, Operation.IMAGE_TO_VIDEO})


def type_of(error: dict[str, Any]) -> str:
    """Return the type of an error, which OpenRouter writes into `metadata`."""
    said = error.get("metadata")
    metadata = said if isinstance(said, dict) else {}
    if metadata.get("limit_source") == _IN_FLIGHT:
        return _IN_FLIGHT
    if isinstance(metadata.get("error_type"), str):
        return str(metadata["error_type"])
    return "content_policy_violation" if metadata.get("reasons") else ""


class OpenRouter(Provider):
    """One account at OpenRouter; `base_url` ends before `/chat`.

    Raises:
        ValueError: the base URL cannot be used.

    """

    kind = "openrouter"
    media_inputs = MediaInputs.DATA
    schedule = PollSchedule(first_s=5.0, factor=1.2, max_s=15.0)
    callbacks = True

    def __init__(self, name: str, settings: ProviderSettings, clock: Clock | None = None) -> None:
        self.name = name
        base_url = settings.base_url or BASE_URL
        self._account = Account(
            name, settings, base_url, MEANINGS, clock, example=BASE_URL, must_have_key=True, type_of=type_of
        )
        own = f"{self._account.host}:{self._account.port}"
        self.output_hosts = frozenset({own}) if self._account.base_url != BASE_URL else frozenset()
        self.idempotency = self._account.idempotency
        self._zero_retention = settings.zero_retention

    def submit(self, call: Call) -> Steps[Outcome]:
        """Do what is asked; all but videos are answered at once."""
        lacking = self._account.lacking
        if lacking is not None:
            return immediately(lacking)
        if call.data_class is DataClass.PHI and call.operation in _KEPT:
            reason = "The provider keeps videos for download, which PHI must not be."
            return immediately(Failed(FailedKind.GONE, reason))
        extra = self._preferences(call)
        if call.operation is Operation.CHAT:
            extra |= UNPARSED if _holds_files(call.input.get("messages")) else {}
            return chat(self._account, call, Manner(cost_of=bill, extra=extra, takes_reasoning=True))
        if call.operation is Operation.EMBEDDINGS:
            return embeddings(self._account, call, bill, extra)
        does = _MEDIA.get(call.operation)
        if does is None:
            return immediately(Failed(FailedKind.GONE, f"The provider does no {call.operation}."))
        return does(self._account, call, extra)

    def _preferences(self, call: Call) -> dict[str, Any]:
        """Return which hosts may be used: what the card says, made private where the data or the operator wants it."""
        if call.data_class is not DataClass.PHI and not self._zero_retention:
            return {}
        said = call.input.get("provider")
        return {"provider": {**(said if isinstance(said, dict) else {}), **PRIVATE}}

    def poll(self, handle: Handle) -> Steps[Outcome]:
        """Ask how far a video is."""
        return looked(self._account, handle, _ASKING)

    def cancel(self, handle: Handle) -> Steps[bool]:  # noqa: ARG002
        """Cannot be done: nothing of the kind is documented."""
        return immediately(False)

    def lookup(self, call: Call) -> Steps[Outcome | None]:  # noqa: ARG002
        """Cannot be done: generations are found by their own id only."""
        return immediately(None)

    def callback(self, headers: Mapping[str, str], body: bytes, upstream_id: str) -> Steps[bool]:  # noqa: ARG002
        """Say whether a word names the video; OpenRouter signs nothing."""
        return immediately(upstream_id in _ids(body))

    def check(self) -> Steps[Check | None]:
        """Ask what is left of the account's credit (§6.5)."""
        answer: HttpResponse = yield self._account.get("/credits")
        body = answer.json() if answer.ok else None
        data = body.get("data") if isinstance(body, dict) else None
        bought = usd(data.get("total_credits")) if isinstance(data, dict) else None
        used = usd(data.get("total_usage")) if isinstance(data, dict) else None
        left = None if bought is None or used is None else f"{bought - used:.2f} USD"
        return Check.of(answer.status, left)


def _holds_files(messages: Any) -> bool:
    """Say whether a conversation holds documents."""
    contents = [one.get("content") for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    parts = (part for content in contents if isinstance(content, list) for part in content)
    return any(isinstance(part, dict) and part.get("type") == "file" for part in parts)


_ASKING = Call("", 0, "", Operation.TEXT_TO_VIDEO, "", {})
"""Stands for the call where only a poll's answer is read: it has no words of the caller's."""


def _ids(body: bytes) -> set[str]:
    """Return the ids that a callback's body names."""
    try:
        said = msgspec.json.decode(body)
    except NOT_JSON:
        return set()
    inner = said.get("data") if isinstance(said, dict) else None
    objects = [one for one in (said, inner) if isinstance(one, dict)]
    return {one[name] for one in objects for name in ("id", "generation_id") if isinstance(one.get(name), str)}
