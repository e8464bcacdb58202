"""What a chat model answers, whole or piece by piece (`wire/providers.md §3.9`)."""

from typing import Any

import msgspec

from calotype.kernel.generation import DataClass
from calotype.kernel.outcome import Cost, Delta, Failed, FailedKind, Outcome, Succeeded
from calotype.kernel.steps import Emit, HttpResponse, Listen, Next, ServerEvent, Steps
from calotype.providers.base import Call
from calotype.providers.google_chat import Unusable, chat_body
from calotype.providers.google_content import parts_of
from calotype.providers.google_errors import REFUSED, blocked, ended, finished, unreadable
from calotype.providers.google_json import count, table, tables, word
from calotype.providers.google_wire import CONTENT, Line, Target
from calotype.providers.openai_chat import counted
from calotype.providers.openai_errors import prose

STREAM = "streamGenerateContent"
REASONS = {"STOP": "stop", "MAX_TOKENS": "length"} | dict.fromkeys(REFUSED, "content_filter")


class Reply:
    """An answer as it grows, and what each piece adds to it."""

    def __init__(self, token: str, fields: dict[str, Any]) -> None:
        self.content = ""
        self.reasoning = ""
        self.calls: list[dict[str, Any]] = []
        self.reason = ""
        self.refusal: Failed | None = None
        self.usage: dict[str, Any] = {}
        self.ident: str | None = None
        self._token = token
        self._fields = fields

    def take(self, chunk: dict[str, Any]) -> list[dict[str, Any]]:
        """Take a chunk in and return it as deltas of OpenAI's."""
        self.ident = word(chunk.get("responseId")) or self.ident
        self.usage = table(chunk.get("usageMetadata")) or self.usage
        self.refusal = self.refusal or blocked(chunk.get("promptFeedback"))
        candidates = tables(chunk.get("candidates"))
        if not candidates:
            return []
        self.reason = word(candidates[0].get("finishReason")) or self.reason
        return [delta for part in parts_of(candidates[0]) if (delta := self._piece(part))]

    def _piece(self, part: dict[str, Any]) -> dict[str, Any]:
        text = word(part.get("text"))
        if part.get("thought") is True:
            self.reasoning += text
            return {"reasoning": text} if text else {}
        if isinstance(call := part.get("functionCall"), dict):
            n = len(self.calls)
            arguments = msgspec.json.encode(call.get("args") or {}).decode()
            ident = word(call.get("id")) or f"call_{self._token.replace('-', '')[-16:]}_{n}"
            made = {
                "id": ident,
                "type": "function",
                "function": {"name": word(call.get("name")), "arguments": arguments},
            }
            if signature := word(part.get("thoughtSignature")):
                made["extra_content"] = {"google": {"thought_signature": signature}}
            self.calls.append(made)
            return {"tool_calls": [{"index": n, **made}]}
        self.content += text
        return {"content": text} if text else {}

    def end(self) -> Outcome:
        """Return what the whole came to: a refusal is an end only where nothing was said before it."""
        if self.refusal is not None:
            return self.refusal
        usage, cost = _usage(self.usage)
        if not self.content and not self.calls and self.reason not in ("STOP", "MAX_TOKENS"):
            return finished(self.reason)
        message: dict[str, Any] = {"role": "assistant", "content": self.content or None}
        if self.calls:
            message["tool_calls"] = self.calls
        if self.reasoning:
            message["reasoning"] = self.reasoning
        reason = "tool_calls" if self.calls and self.reason == "STOP" else REASONS.get(self.reason, "stop")
        choice = {"index": 0, "message": message, "finish_reason": reason}
        usage, warnings = counted(usage, self._fields, [choice])
        return Succeeded(
            data={"choices": [choice]}, usage=usage, cost=cost, warnings=warnings, upstream_id=self.ident
        )  # fmt: skip


def chat(line: Line, call: Call, target: Target) -> Steps[Outcome]:
    """Hold a conversation; its pieces are shown where somebody listens."""
    try:
        body = chat_body(call.input, target.model)
    except Unusable as wrong:
        return Failed(FailedKind.INVALID, str(wrong), field=wrong.field)
    reply = Reply(call.token, call.input)
    quiet = call.data_class is DataClass.PHI
    if not call.stream:
        answer: HttpResponse = yield line.call(target, CONTENT, body)
        if not answer.ok:
            return line.refused(answer, tuple(prose(call.input)), quiet=quiet)
        chunk = answer.json()
        if not isinstance(chunk, dict):
            return unreadable(answer)
        reply.take(chunk)
        return reply.end()
    head: HttpResponse = yield Listen(line.call(target, STREAM, body, query="?alt=sse"))
    if not head.ok:
        return line.refused(head, tuple(prose(call.input)), quiet=quiet)
    if head.body:
        return unreadable(head)
    while True:
        event: ServerEvent | None = yield Next()
        if event is None:
            break
        chunk = event.json()
        if isinstance(chunk, list) and len(chunk) == 1:
            chunk = chunk[0]
        if not isinstance(chunk, dict):
            continue
        if isinstance(error := chunk.get("error"), dict):
            return ended(error, (line.key,))
        for delta in reply.take(chunk):
            yield Emit(Delta("chat", delta))
    if not reply.reason and reply.refusal is None:
        return Failed(FailedKind.UPSTREAM, "The provider's answer broke off.", detail="no finishReason")
    return reply.end()


def _usage(said: dict[str, Any]) -> tuple[dict[str, int], Cost | None]:
    """Count tokens: thoughts are paid for as output; cached and thought tokens are parts of the whole."""
    if not said:
        return {}, None
    thoughts, cached = count(said.get("thoughtsTokenCount")), count(said.get("cachedContentTokenCount"))
    usage = {
        "input_tokens": count(said.get("promptTokenCount")) + count(said.get("toolUsePromptTokenCount")),
        "output_tokens": count(said.get("candidatesTokenCount")) + thoughts,
    }
    total = count(said.get("totalTokenCount")) or sum(usage.values())
    if rows := tables(said.get("promptTokensDetails")):
        sounds = (count(row.get("tokenCount")) for row in rows if row.get("modality") == "AUDIO")
        usage["input_audio_tokens"] = sum(sounds)
    usage |= {"reasoning_tokens": thoughts} if thoughts else {}
    usage |= {"cached_tokens": cached} if cached else {}
    return usage, Cost(amount=str(total), unit="tokens", source="response")
