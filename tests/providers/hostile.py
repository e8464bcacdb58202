"""Adapters of every kind in front of an upstream that answers what no upstream should."""

from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct
from pydantic import SecretStr
from yarl import URL

from calotype.kernel.clock import Clock
from calotype.kernel.generation import Operation as Op
from calotype.kernel.steps import FileRef, HttpRequest, HttpResponse, Listen, Parallel, TransportError, Wait
from calotype.providers.azure import Azure
from calotype.providers.base import Call, Provider
from calotype.providers.bfl import Bfl
from calotype.providers.fal import Fal
from calotype.providers.google import Google
from calotype.providers.kie import Kie
from calotype.providers.minimax import MiniMax
from calotype.providers.mistral import Mistral
from calotype.providers.openai import OpenAI
from calotype.providers.openrouter import OpenRouter
from calotype.settings import ProviderSettings

KEY = "key-5f0c2ad1beef-not-to-be-seen"
PROMPT = "a very private garden by the sea"
FILES: dict[str, tuple[FileRef, ...]] = {"audio_url": (FileRef(Path("a.wav"), "audio/wav", "a.wav"),)}
DOCUMENTS = {"document": (FileRef(Path("a.pdf"), "application/pdf", "a.pdf"),)}
TALK = {"messages": [{"role": "user", "content": PROMPT}]}
WAV = "data:audio/wav;base64,AAAA"
ADAPTERS: dict[str, tuple[Callable[[str, ProviderSettings, Clock | None], Provider], str]] = {
    "azure": (Azure, "https://resource.cognitiveservices.azure.com"),
    "bfl": (Bfl, "https://api.bfl.ai"),
    "fal": (Fal, "https://queue.fal.run"),
    "google": (Google, "https://generativelanguage.googleapis.com"),
    "kie": (Kie, "https://api.kie.ai"),
    "minimax": (MiniMax, "https://api.minimax.io"),
    "mistral": (Mistral, "https://api.mistral.ai/v1"),
    "openai": (OpenAI, "https://api.openai.com/v1"),
    "openrouter": (OpenRouter, "https://openrouter.ai/api/v1"),
}
"""Kind → adapter and the base URL it is given."""


class Way(Struct, frozen=True):
    """One conversation that costs money."""

    kind: str
    operation: Op
    upstream: str
    fields: dict[str, Any] = {}
    files: dict[str, tuple[FileRef, ...]] = {}
    stream: bool = False

    @property
    def name(self) -> str:
        return f"{self.kind}-{self.operation.value}-{self.upstream.rpartition('/')[2]}{'-stream' * self.stream}"

    @property
    def call(self) -> Call:
        fields = self.fields or {"prompt": PROMPT}
        return Call("job", 1, "job-1", self.operation, self.upstream, fields, files=self.files, stream=self.stream)


T2I, T2V, SPEECH, HEARD, CHAT, VECTORS = (
    Op.TEXT_TO_IMAGE, Op.TEXT_TO_VIDEO, Op.TEXT_TO_SPEECH, Op.TRANSCRIPTION, Op.CHAT, Op.EMBEDDINGS,
)  # fmt: skip
SPOKEN, VECTOR = {"input": PROMPT, "voice": "alloy"}, {"input": PROMPT}
WAYS: tuple[Way, ...] = (
    Way("azure", HEARD, "fast-transcription", files=FILES),
    Way("azure", SPEECH, "neural", SPOKEN),
    Way("azure", Op.OCR, "prebuilt-read", files=DOCUMENTS),
    Way("bfl", T2I, "flux-2-pro"),
    Way("fal", T2I, "fal-ai/flux/krea"),
    Way("fal", T2I, "fal-ai/flux/krea", stream=True),
    Way("fal", CHAT, "fal-ai/any-llm", TALK, stream=True),
    Way("google", T2I, "gemini-3.1-flash-image"),
    Way("google", T2I, "imagen-4.0-generate-001"),
    Way("google", T2V, "veo-3.1-generate-preview"),
    Way("google", T2V, "gemini-omni-1.1-flash:interactions"),
    Way("google", SPEECH, "gemini-3.8-flash-tts:generateContent", {"input": PROMPT}),
    Way("google", SPEECH, "gemini-3.8-flash-tts:interactions", {"input": PROMPT}),
    Way("google", Op.TEXT_TO_MUSIC, "lyria-3.5:interactions"),
    Way("google", CHAT, "gemini-3.8-flash", TALK),
    Way("google", CHAT, "gemini-3.8-flash", TALK, stream=True),
    Way("google", VECTORS, "gemini-embedding-2", VECTOR),
    Way("kie", T2I, "z-image"),
    Way("kie", T2V, "veo3"),
    Way("kie", Op.TEXT_TO_MUSIC, "suno"),
    Way("minimax", T2V, "MiniMax-Hailuo-02"),
    Way("mistral", HEARD, "voxtral-mini-latest", {"audio_url": WAV}),
    Way("mistral", SPEECH, "voxtral-mini-tts", SPOKEN),
    Way("mistral", Op.OCR, "mistral-ocr", {"document": "data:application/pdf;base64,AAAA"}),
    Way("mistral", CHAT, "mistral-large", TALK),
    Way("openai", T2I, "gpt-image-2"),
    Way("openai", CHAT, "gpt-4o", TALK),
    Way("openai", CHAT, "gpt-4o", TALK, stream=True),
    Way("openai", VECTORS, "text-embedding-3-small", VECTOR),
    Way("openai", SPEECH, "tts-1", SPOKEN),
    Way("openai", HEARD, "gpt-transcribe", files=FILES),
    Way("openrouter", T2I, "sandbox/painter"),
    Way("openrouter", T2V, "sandbox/film"),
    Way("openrouter", CHAT, "openai/gpt-4o", TALK),
    Way("openrouter", CHAT, "openai/gpt-4o", TALK, stream=True),
    Way("openrouter", VECTORS, "sandbox/vectors", VECTOR),
    Way("openrouter", SPEECH, "sandbox/voice", SPOKEN),
    Way("openrouter", HEARD, "sandbox/ears", {"audio_url": WAV}),
)


def adapter(kind: str, clock: Clock | None = None) -> Provider:
    """Return an adapter of this kind with a credential."""
    build, base_url = ADAPTERS[kind]
    return build(kind, ProviderSettings(kind=kind, base_url=base_url, api_key=SecretStr(KEY)), clock)


def answer(body: Any, status: int = 200, **headers: str) -> HttpResponse:
    """Return an answer with a JSON body, or with bytes as they are."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    return HttpResponse(status, {name.replace("_", "-"): value for name, value in headers.items()}, raw)


def held(
    steps: Generator[Any, Any, Any], reply: Callable[[HttpRequest], HttpResponse]
) -> tuple[list[HttpRequest], Any]:
    """Drive a conversation in which every request gets this reply; return the requests and the end."""
    asked: list[HttpRequest] = []
    value: Any = None
    failure: TransportError | None = None
    for _ in range(100):
        try:
            step = steps.send(value) if failure is None else steps.throw(failure)
        except StopIteration as end:
            return asked, end.value
        value, failure = None, None
        match step:
            case HttpRequest() | Listen():
                request = step.request if isinstance(step, Listen) else step
                asked.append(request)
                value = reply(request)
            case Wait():
                pass
            case Parallel(requests=requests):
                asked += requests
                value = tuple(reply(request) for request in requests)
    raise AssertionError("the conversation has no end")


def origins(asked: list[HttpRequest]) -> set[str]:
    """Return where a credential of ours went."""
    return {str(URL(one.url).origin()) for one in asked if any(KEY in value for value in one.headers.values())}
