"""OpenRouter as its clients see it: chat, embeddings, sound, bills, lists (`wire/providers.md §6`).

Its traps: comments between the events of a stream, errors inside answers with status 200, a stream that fails in the
middle, generations whose bill is unknown at first. Keys: `sk-or-…` work, `sk-or-unknown…` is refused, `sk-or-empty…`
has no credit. Words beside those of `openai_chat`: `@moderated`, `@code=502` for an error with that status, `@inflight`
for the limit of what is spent at once, `@byok` for a host that is used with its own key.
"""

from base64 import b64decode
from typing import Any, ClassVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calotype.kernel.ids import uuid7
from calotype.sandbox.base import Emulator, reply
from calotype.sandbox.faults import Fault, words_in
from calotype.sandbox.openai_chat import asked, completion, stream, usage_of, vectors
from calotype.sandbox.openai_sound import CONTENT_TYPES, seconds_of, speech, transcript
from calotype.sandbox.openrouter_errors import MESSAGES, fields_of, refusal_of, refused, unkeyed
from calotype.sandbox.openrouter_media import Media, pictures

BASE = "/api/v1"
COMMENT = "OPENROUTER PROCESSING"
PROMPT_USD, COMPLETION_USD = 0.0000005, 0.000003
SPEECH_USD_PER_CHARACTER, HEARING_USD_PER_S = 0.000015, 0.0001
BOUGHT_USD = 25.0
MODELS = ("openrouter/auto", "google/gemini-3-flash-preview", "qwen/qwen3-embedding-8b", "openai/gpt-4o-mini")


class OpenRouter(Emulator):
    """One account."""

    name = "openrouter"
    hosts: ClassVar = {"openrouter.ai": ""}
    defaults: ClassVar = {"late": 1.0, "polls": 2.0}
    """How often a generation's bill is unknown when it is asked for, and how often a video is not ready."""

    def __init__(self) -> None:
        self.bills: dict[str, float] = {}
        """What each generation cost, in USD."""
        self.asked: dict[str, int] = {}
        self.media = Media(self)
        super().__init__()

    def routes(self) -> list[Route]:
        """Return every address."""
        return [
            self.route(f"{BASE}/chat/completions", "submit", self._chat),
            self.route(f"{BASE}/embeddings", "submit", self._embed),
            self.route(f"{BASE}/images", "submit", self._images),
            self.route(f"{BASE}/audio/speech", "submit", self._speak),
            self.route(f"{BASE}/audio/transcriptions", "submit", self._transcribe),
            self.route(f"{BASE}/generation", "bill", self._generation, "GET"),
            self.route(f"{BASE}/credits", "account", self._credits, "GET"),
            self.route(f"{BASE}/key", "account", self._key, "GET"),
            self.route(f"{BASE}/models", "models", self._models, "GET"),
            *self.media.routes(BASE),
        ]

    def environment(self) -> dict[str, str]:
        """Return the variables that lead Calotype's provider `openrouter` here."""
        return {"OPENROUTER_API_KEY": "sk-or-sandbox", "OPENROUTER_API_BASE": f"{self.url}{BASE}"}

    def refusal(self, fault: Fault) -> Response:
        """Word an error of this status as the API does."""
        return refused(fault.status)

    def state(self) -> dict[str, Any]:
        """Tell how many generations were made and what they cost."""
        return {"generations": len(self.bills), "usd": round(sum(self.bills.values()), 6)}

    def reset(self) -> None:
        """Forget generations and videos too."""
        super().reset()
        self.bills.clear()
        self.asked.clear()
        self.media.reset()

    def bill(self, usd: float) -> str:
        """Note a generation with its cost and return its id."""
        ident = f"gen-{uuid7()}"
        self.bills[ident] = round(usd, 9)
        return ident

    async def _chat(self, request: Request) -> Response:
        fields = await fields_of(request)
        one = None if fields is None else asked(fields)
        if fields is None or one is None:
            return refused(400)
        if (refusal := refusal_of(request, fields, one.words)) is not None:
            return refusal
        if "error" in one.words:
            return reply({"error": {"code": 502, "message": MESSAGES[502], "metadata": {"provider_name": "Sandbox"}}})
        counted = usage_of(one)
        usd = counted["prompt_tokens"] * PROMPT_USD + counted["completion_tokens"] * COMPLETION_USD
        ident = self.bill(usd)
        usage = {**counted, **_paid(usd, own_key="byok" in one.words)}
        headers = {"x-generation-id": ident}
        if fields.get("stream") is True:
            body = stream(one, ident, usage, reasoning="reasoning", comment=COMMENT)
            return Response(body, headers=headers, media_type="text/event-stream")
        return reply({**completion(one, ident, reasoning="reasoning"), "usage": usage}, headers=headers)

    async def _embed(self, request: Request) -> Response:
        fields = await fields_of(request)
        found = None if fields is None else vectors(fields)
        if fields is None or found is None:
            return refused(400)
        if (refusal := refusal_of(request, fields, words_in(str(fields.get("input"))))) is not None:
            return refusal
        usd = found["usage"]["prompt_tokens"] * PROMPT_USD
        found["usage"] |= {"cost": usd}
        return reply(found, headers={"x-generation-id": self.bill(usd)})

    async def _images(self, request: Request) -> Response:
        fields = await fields_of(request)
        if fields is None or not isinstance(fields.get("prompt"), str):
            return refused(400)
        words = words_in(fields["prompt"])
        if (refusal := refusal_of(request, fields, words)) is not None:
            return refusal
        if "error" in words:
            return reply({"error": {"code": 502, "message": MESSAGES[502]}})
        body = pictures(fields)
        return reply(body, headers={"x-generation-id": self.bill(body["usage"]["cost"])})

    async def _speak(self, request: Request) -> Response:
        fields = await fields_of(request)
        text = None if fields is None else fields.get("input")
        if fields is None or not isinstance(text, str) or fields.get("response_format", "mp3") not in ("mp3", "pcm"):
            return refused(400)
        if (refusal := refusal_of(request, fields, words_in(text))) is not None:
            return refusal
        shape = fields.get("response_format", "mp3")
        ident = self.bill(len(text) * SPEECH_USD_PER_CHARACTER)
        return Response(speech(text, shape), headers={"x-generation-id": ident}, media_type=CONTENT_TYPES[shape])

    async def _transcribe(self, request: Request) -> Response:
        fields = await fields_of(request)
        sound = None if fields is None else fields.get("input_audio")
        if fields is None or not isinstance(sound, dict) or not isinstance(sound.get("data"), str):
            return refused(400)
        if (refusal := refusal_of(request, fields, words_in(str(fields.get("prompt"))))) is not None:
            return refusal
        body = b64decode(sound["data"])
        seconds = seconds_of(body)
        usd = seconds * HEARING_USD_PER_S
        words = "word" in (fields.get("timestamp_granularities") or ())
        said = transcript(body, words=words, whole=fields.get("response_format") == "verbose_json")
        usage = {"seconds": seconds, "cost": usd}
        return reply({**said, "usage": usage}, headers={"x-generation-id": self.bill(usd)})

    async def _generation(self, request: Request) -> Response:
        ident = request.query_params.get("id", "")
        self.asked[ident] = self.asked.get(ident, 0) + 1
        if ident not in self.bills or self.asked[ident] <= self.settings["late"]:
            return refused(404)
        return reply({"data": {"id": ident, "total_cost": self.bills[ident], "provider_name": "Sandbox"}})

    async def _credits(self, request: Request) -> Response:
        used = round(sum(self.bills.values()), 9)
        data = {"total_credits": BOUGHT_USD, "total_usage": used}
        return unkeyed(request) or reply({"data": data})

    async def _key(self, request: Request) -> Response:
        data = {"label": "sandbox", "limit": None, "usage": round(sum(self.bills.values()), 9), "is_free_tier": False}
        return unkeyed(request) or reply({"data": data})

    async def _models(self, request: Request) -> Response:
        pricing = {"prompt": f"{PROMPT_USD:.7f}", "completion": f"{COMPLETION_USD:.6f}", "request": "0", "image": "0"}
        auto = dict.fromkeys(pricing, "-1")
        data = [
            {"id": model, "name": model, "context_length": 131_072, "pricing": auto if "auto" in model else pricing}
            for model in MODELS
        ]
        data[-1]["expiration_date"] = "2027-03-31"
        return unkeyed(request) or reply({"data": data})


def _paid(usd: float, *, own_key: bool) -> dict[str, Any]:
    if not own_key:
        return {"cost": round(usd, 9), "is_byok": False}
    details = {"upstream_inference_cost": round(usd, 9)}
    return {"cost": round(usd * 0.05, 9), "is_byok": True, "cost_details": details}
