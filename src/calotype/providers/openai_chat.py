"""Chat completions as OpenAI, OpenRouter and most language-model servers speak them (`wire/providers.md §6.1, §7.4`).

A stream is only asked for when somebody listens. Its pieces are shown as they come and gathered; the whole is the
result. A stream that breaks off after its first piece is a failure that is not tried again: a part of an answer is not
a delivered result, and a second attempt would repeat what the caller has already read.
"""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from calotype.kernel.outcome import Cost, Delta, Failed, FailedKind, Outcome, Succeeded
from calotype.kernel.steps import Emit, HttpResponse, Listen, Next, ServerEvent, Steps, TransportError
from calotype.providers.base import Call
from calotype.providers.openai_account import Account, count, given
from calotype.providers.openai_errors import MALFORMED, texts_in
from calotype.providers.openai_replies import Reply, spoken

DONE = "[DONE]"
_BROKE_OFF = "The provider's answer broke off."
_PRICED = ("input_tokens", "output_tokens")

CostOf = Callable[[dict[str, Any]], Cost | None]


class Manner(Struct, frozen=True):
    """How one kind of server speaks: what every request carries, whether it takes reasoning back, what it bills.

    `extra` is added to each body. A server that does not know the fields of reasoning refuses them in the messages it
    is sent; they are left out unless it `takes_reasoning`. `cost_of` reads the bill in a `usage` object. Most servers
    count the tokens of a stream only when asked to; one that always does may refuse the question (Mistral), and is not
    asked where `asks_usage` is off.
    """

    cost_of: CostOf
    extra: dict[str, Any] = {}
    takes_reasoning: bool = False
    asks_usage: bool = True


def token_cost(usage: dict[str, Any]) -> Cost | None:
    """Return the tokens that the server counted; what they cost is in the card's table."""
    used = token_usage(usage)
    whole = used.get("input_tokens", 0) + used.get("output_tokens", 0)
    return Cost(amount=str(whole), unit="tokens", source="response") if used else None


def token_usage(said: Any) -> dict[str, int]:
    """Return token counts under the names prices use; `cached_tokens` and `reasoning_tokens` are parts of them."""
    if not isinstance(said, dict):
        return {}
    details = [said.get("prompt_tokens_details"), said.get("completion_tokens_details")]
    taken, made = (part if isinstance(part, dict) else {} for part in details)
    counts = {
        "input_tokens": count(said.get("prompt_tokens")),
        "output_tokens": count(said.get("completion_tokens")),
        "cached_tokens": count(taken.get("cached_tokens")),
        "reasoning_tokens": count(made.get("reasoning_tokens")),
    }
    return {name: number for name, number in counts.items() if number is not None}


def chat(account: Account, call: Call, manner: Manner) -> Steps[Outcome]:
    """Hold a conversation's next turn."""
    body = {"model": call.upstream_model, **_fields(call, manner), **manner.extra}
    if call.stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}} if manner.asks_usage else {"stream": True}
    accept = "text/event-stream, application/json" if call.stream else "application/json"
    request = account.post_slow("/chat/completions", call, body, accept=accept)
    started_ms = account.clock.now_ms()
    answer: HttpResponse = yield Listen(request) if call.stream else request
    if not answer.ok:
        return account.refusals.failed(call, answer, late=account.late(started_ms))
    listening = _Listening(account, call, manner, answer, started_ms)
    if call.stream and not answer.body and _is_stream(answer):
        return (yield from listening.pieces())
    return (yield from listening.whole())


def _fields(call: Call, manner: Manner) -> dict[str, Any]:
    fields = given(call.input)
    messages = fields.get("messages")
    if isinstance(messages, list) and not manner.takes_reasoning:
        kept = [
            {name: value for name, value in message.items() if not name.startswith("reasoning")}
            if isinstance(message, dict)
            else message
            for message in messages
        ]
        fields["messages"] = kept
    return fields


class _Listening:
    """One answer that is being read."""

    def __init__(self, account: Account, call: Call, manner: Manner, answer: HttpResponse, started_ms: int) -> None:
        self._account = account
        self._call = call
        self._manner = manner
        self._answer = answer
        self._started_ms = started_ms
        self._reply = Reply()
        self._usage: dict[str, Any] = {}
        self._id: str | None = None
        self._begun = False

    def whole(self) -> Steps[Outcome]:
        """Read an answer that came at once; where somebody listens it is shown in one piece."""
        body = self._answer.json()
        if not isinstance(body, dict):
            return self._failed(FailedKind.UNKNOWN, MALFORMED)
        if body.get("error"):
            return self._refused(body)
        self._note(body)
        choices = body.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                self._reply.take(choice, choice.get("message"))
        if self._call.stream and (delta := self._reply.shown()):
            yield Emit(Delta("chat", delta))
        return self._ended()

    def pieces(self) -> Steps[Outcome]:
        """Read a stream to its end and show its pieces."""
        done = False
        while not done:
            try:
                event: ServerEvent | None = yield Next()
            except TransportError as error:
                if not self._begun:
                    raise
                return self._failed(FailedKind.UPSTREAM, _BROKE_OFF, str(error))
            if event is None:
                break
            done = event.data.strip() == DONE
            body = None if done else event.json()
            if not isinstance(body, dict):
                continue
            if body.get("error"):
                return self._refused(body)
            self._note(body)
            for delta in self._taken(body):
                self._begun = True
                yield Emit(Delta("chat", delta))
        if not done and not self._reply.finished:
            kind = FailedKind.UPSTREAM if self._begun else FailedKind.UNKNOWN
            return self._failed(kind, _BROKE_OFF, "the stream ended without an end")
        return self._ended()

    def _taken(self, body: dict[str, Any]) -> list[dict[str, Any]]:
        """Gather a piece and return what of it is shown: that of the first choice."""
        choices = body.get("choices")
        shown = []
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, dict):
                delta = self._reply.take(choice, choice.get("delta"))
                if delta and choice.get("index", 0) == 0:
                    shown.append(delta)
        return shown

    def _note(self, body: dict[str, Any]) -> None:
        if isinstance(body.get("id"), str) and body["id"]:
            self._id = body["id"]
        if isinstance(body.get("usage"), dict):
            self._usage = body["usage"]

    def _ended(self) -> Outcome:
        choices = self._reply.choices()
        cost = self._manner.cost_of(self._usage)
        if not choices:
            return self._failed(FailedKind.UPSTREAM, "The provider answered nothing.")
        reasons = {choice["finish_reason"] for choice in choices}
        if reasons == {"error"}:
            return self._failed(FailedKind.UPSTREAM, "The provider failed while it answered.")
        if reasons == {"content_filter"} and not any(spoken(choice["message"]) for choice in choices):
            return self._failed(FailedKind.MODERATED, "The provider's content policy withheld the answer.")
        usage, warnings = counted(token_usage(self._usage), self._call.input, choices)
        return Succeeded(data={"choices": choices}, usage=usage, cost=cost, warnings=warnings, upstream_id=self._id)

    def _refused(self, body: dict[str, Any]) -> Failed:
        late = self._account.late(self._started_ms)
        return self._account.refusals.inside(self._call, self._answer, body, begun=self._begun, late=late)

    def _failed(self, kind: FailedKind, message: str, detail: str | None = None) -> Failed:
        return Failed(
            kind, message, detail=detail or f"HTTP {self._answer.status}", status=self._answer.status,
            cost=self._manner.cost_of(self._usage),
        )  # fmt: skip


def counted(
    usage: dict[str, int], fields: dict[str, Any], choices: list[dict[str, Any]]
) -> tuple[dict[str, int], tuple[str, ...]]:
    """Return the tokens that were counted, with estimates for those that were not, and what is to be said of them.

    Nought for a text that was there is no count.
    """
    if any(spoken(choice["message"]) for choice in choices):
        usage = {name: number for name, number in usage.items() if number or name not in _PRICED}
    if all(name in usage for name in _PRICED):
        return usage, ()
    said = "the provider did not say how many tokens were used; they are estimated from the text"
    return {**_estimated(fields, choices), **usage, "estimated": 1}, (said,)


def _estimated(fields: dict[str, Any], choices: list[dict[str, Any]]) -> dict[str, int]:
    """Count tokens where the server does not: a token for each started four bytes of text, as is usual in English."""
    asked = sum(len(text.encode()) for text in texts_in(fields.get("messages")) if not text.startswith("data:"))
    answered = sum(len(text.encode()) for choice in choices for text in texts_in(choice["message"]))
    return {"input_tokens": -(-asked // 4), "output_tokens": -(-answered // 4)}


def _is_stream(answer: HttpResponse) -> bool:
    return answer.headers.get("content-type", "").partition(";")[0].strip().lower() == "text/event-stream"
