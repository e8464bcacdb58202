"""OpenAI's API as its clients see it: pictures, chat, embeddings, speech, transcription (`wire/providers.md §7`).

It stands for every server that speaks as OpenAI does. Any model's name is known but those with `unknown` in them.
Words of chats are in `openai_chat`, of pictures in `openai_images`; in speech they stand in the text.
"""

from typing import Any

import msgspec
from starlette.datastructures import UploadFile
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calotype.kernel.ids import uuid7
from calotype.sandbox.base import reply
from calotype.sandbox.faults import words_in
from calotype.sandbox.openai_chat import asked, completion, stream, usage_of, vectors
from calotype.sandbox.openai_images import OpenAIImages, key_refusal, refused
from calotype.sandbox.openai_sound import CONTENT_TYPES, seconds_of, speech, transcript

MAX_SPEECH = 4096
SHORT = "gpt-"
"""Transcribers of this family answer the short form only."""
BESIDE = ("anthropic", "azure_openai", "fireworks", "infomaniak", "scaleway", "together", "vllm")
"""Provider instances of other hosts, which are led here too."""


class OpenAI(OpenAIImages):
    """Every endpoint of one account."""

    def routes(self) -> list[Route]:
        """Return every address."""
        return [
            *super().routes(),
            self.route("/v1/chat/completions", "submit", self._chat),
            self.route("/v1/embeddings", "submit", self._embed),
            self.route("/v1/audio/speech", "submit", self._speak),
            self.route("/v1/audio/transcriptions", "submit", self._transcribe),
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that lead Calotype's provider `openai` here, and those of hosts that speak alike."""
        found = super().environment()
        for name in BESIDE:
            prefix = f"CALOTYPE_PROVIDERS__{name.upper()}__"
            found |= {
                f"{prefix}KIND": "openai",
                f"{prefix}BASE_URL": f"{self.url}/v1",
                f"{prefix}API_KEY": "sk-sandbox",
            }
        return found

    async def _chat(self, request: Request) -> Response:
        fields = await _fields(request)
        one = None if fields is None else asked(fields)
        if fields is None or one is None:
            return refused("unsupported_parameter", "messages is required.", param="messages")
        if (refusal := _refusal(request, fields, one.words)) is not None:
            return refusal
        if "error" in one.words:
            return reply({"error": {"message": "The model is down.", "type": "server_error", "code": None}})
        ident = self._done(request)
        if fields.get("stream") is not True:
            return reply(completion(one, f"chatcmpl-{ident}"), headers=_headers())
        options = fields.get("stream_options")
        counted = usage_of(one) if isinstance(options, dict) and options.get("include_usage") else None
        body = stream(one, f"chatcmpl-{ident}", counted)
        return Response(body, headers=_headers(), media_type="text/event-stream")

    async def _embed(self, request: Request) -> Response:
        fields = await _fields(request)
        found = None if fields is None else vectors(fields)
        if fields is None or found is None:
            return refused("unsupported_parameter", "input is required.", param="input")
        if (refusal := _refusal(request, fields, words_in(str(fields.get("input"))))) is not None:
            return refusal
        self._done(request)
        return reply(found, headers=_headers())

    async def _speak(self, request: Request) -> Response:
        fields = await _fields(request)
        text = None if fields is None else fields.get("input")
        if fields is None or not isinstance(text, str) or not 1 <= len(text) <= MAX_SPEECH:
            return refused("unsupported_parameter", f"input must have 1 to {MAX_SPEECH} characters.", param="input")
        if (refusal := _refusal(request, fields, words_in(text))) is not None:
            return refusal
        shape = fields.get("response_format") or "mp3"
        if shape not in CONTENT_TYPES:
            return refused("unsupported_parameter", "Invalid value.", param="response_format")
        self._done(request)
        return Response(speech(text, shape), headers=_headers(), media_type=CONTENT_TYPES[shape])

    async def _transcribe(self, request: Request) -> Response:
        form = await request.form()
        file = form.get("file")
        fields = {name: value for name, value in form.items() if isinstance(value, str)}
        if not isinstance(file, UploadFile):
            return refused("unsupported_parameter", "file is required.", param="file")
        if (refusal := _refusal(request, fields, words_in(str(fields.get("prompt"))))) is not None:
            return refusal
        whole = fields.get("response_format") == "verbose_json"
        if whole and str(fields.get("model")).startswith(SHORT):
            return refused("unsupported_parameter", "This model answers json only.", param="response_format")
        self._done(request)
        body = await file.read()
        words = "word" in form.getlist("timestamp_granularities[]")
        usage = {"type": "duration", "seconds": seconds_of(body)}
        return reply({**transcript(body, words=words, whole=whole), "usage": usage}, headers=_headers())

    def _done(self, request: Request) -> str:
        """Note work that is billed, once for each idempotency key, and return its id."""
        key = request.headers.get("idempotency-key") or str(uuid7())
        return str(self.done.setdefault(key, {"id": uuid7()})["id"])


async def _fields(request: Request) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(await request.body(), type=dict[str, Any])
    except msgspec.MsgspecError:
        return None


def _refusal(request: Request, fields: dict[str, Any], words: dict[str, str]) -> Response | None:
    """Return the refusal that the key, the words or the model's name ask for."""
    if (unkeyed := key_refusal(request)) is not None:
        return unkeyed
    if code := "content_filter" if "moderated" in words else words.get("code"):
        return refused(code)
    return refused("model_not_found", param="model") if "unknown" in str(fields.get("model")) else None


def _headers() -> dict[str, str]:
    return {"x-request-id": f"req_{uuid7()}"}
