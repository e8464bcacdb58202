"""Who is in the storm: a model for each way to each provider, and what a caller sends it.

Each model costs a price of its own, so that a charge says what it is for.
"""

import base64
import json
from collections.abc import Mapping
from typing import Any

from msgspec import Struct

from calotype.sandbox import media

IMAGES, QUEUE = "/v1/images/generations", "/fal/queue"
FIRST_MICRO, STEP_MICRO = 11_000, 1_000
WAV = base64.b64encode(media.wav(0.2)).decode()
PORTRAIT = f"data:image/png;base64,{base64.b64encode(media.png(64, 64, 'portrait')).decode()}"
SIZE = {"type": "string", "x-size": {"min": 64, "max": 1024}}
TEXT = {"type": "string"}


class Shape(Struct, frozen=True):
    """What models of an operation make and take."""

    output: str
    required: tuple[str, ...]
    properties: dict[str, Any]


SHAPES: dict[str, Shape] = {
    "text-to-image": Shape("image", ("prompt",), {"prompt": TEXT, "size": SIZE}),
    "text-to-video": Shape("video", ("prompt",), {"prompt": TEXT, "seconds": {"type": "integer"}, "size": SIZE}),
    "text-to-music": Shape("audio", ("prompt",), {"prompt": TEXT}),
    "text-to-speech": Shape("audio", ("input",), {"input": TEXT}),
    "talking-avatar": Shape(
        "video", ("image_url", "audio_url"),
        {
            "prompt": TEXT, "image_url": {"type": "string", "x-media": "image"},
            "audio_url": {"type": "string", "x-media": "audio"},
        },
    ),
    "transcription": Shape(
        "text", ("audio_url",), {"audio_url": {"type": "string", "x-media": "audio"}, "prompt": TEXT}
    ),
    "ocr": Shape("data", ("document",), {"document": {"type": "string", "x-media": "document"}}),
    "chat": Shape("text", ("messages",), {"messages": {"type": "array", "items": {"type": "object"}}}),
    "embeddings": Shape("data", ("input",), {"input": TEXT}),
}  # fmt: skip
SAMPLES: dict[str, Any] = {
    "prompt": "x", "input": "x", "messages": [{"role": "user", "content": "x"}], "document": "https://example.com/a.pdf",
    "image_url": "https://example.com/a.png", "audio_url": "https://example.com/a.wav",
}  # fmt: skip


class Way(Struct, frozen=True):
    """A route: the provider instance, its kind, the model there, and how the fields are written there."""

    provider: str
    kind: str
    upstream: str
    fields: dict[str, str] = {}
    constants: dict[str, Any] = {}


class Line(Struct, frozen=True):
    """A model of the storm: what it does, where, how often it is asked for, and what is sent beside the words."""

    name: str
    operation: str
    ways: tuple[Way, ...]
    weight: int = 3
    more: dict[str, Any] = {}
    outputs: int = 1
    phi: bool = False
    keyed: bool = False
    """Whether the upstream does the same call once however often it is sent."""

    @property
    def model(self) -> str:
        return f"soak/{self.name}"

    @property
    def waits(self) -> bool:
        """Whether the caller waits for the end; everyone else gets a request id."""
        return self.operation == "text-to-image"

    def ask(self, words: str) -> tuple[str, dict[str, Any], dict[str, str]]:
        """Return path, body and headers of a request that carries these words to the upstream."""
        body: dict[str, Any] = dict(self.more)
        match self.operation:
            case "text-to-speech" | "embeddings":
                body["input"] = words
            case "chat":
                body["messages"] = [{"role": "user", "content": words}]
            case "ocr":
                document = base64.b64encode(f"%PDF-1.4 {words}".encode()).decode()
                body["document"] = f"data:application/pdf;base64,{document}"
            case _:
                body["prompt"] = words
        if not self.waits:
            return f"{QUEUE}/{self.model}", body, {}
        body["model"] = self.model
        return IMAGES, body | ({"response_format": "b64_json"} if self.phi else {}), {"X-PHI": str(self.phi).lower()}


def at(provider: str, upstream: str, kind: str = "", fields: dict[str, str] | None = None, **constants: Any) -> Way:
    return Way(provider, kind or provider, upstream, fields or {}, constants)


SMALL = {"size": "256x256"}
AS_FAL = {"size": "image_size"}
KREA_WAN = at("fal", "fal-ai/krea-wan-14b/text-to-video", fields={"seconds": "num_frames@16"})
BFL, KREA, GPT = at("bfl", "flux-2-pro"), at("fal", "fal-ai/flux/krea", fields=AS_FAL), at("openai", "gpt-image-2")
WORKER = at("comfyui", "flux-krea-dev@1")
LINES: tuple[Line, ...] = (
    Line("fal-picture", "text-to-image", (KREA,), 6, SMALL),
    Line("fal-film", "text-to-video", (KREA_WAN,), more={"seconds": 1}),
    Line(
        "fal-avatar", "talking-avatar", (at("fal", "fal-ai/infinitalk", num_frames=41),), 1,
        {"image_url": PORTRAIT, "audio_url": f"data:audio/wav;base64,{WAV}"},
    ),
    Line("openai-picture", "text-to-image", (GPT,), more=SMALL),
    Line("openai-keyed", "text-to-image", (at("openai-keyed", "gpt-image-2", "openai"),), more=SMALL, keyed=True),
    Line("openai-chat", "chat", (at("openai", "gpt-4o"),)),
    Line("openai-vectors", "embeddings", (at("openai", "text-embedding-3-small"),)),
    Line("openai-speech", "text-to-speech", (at("openai", "tts-1", voice="alloy"),)),
    Line(
        "openai-heard", "transcription", (at("openai", "gpt-transcribe"),),
        more={"audio_url": f"data:audio/wav;base64,{WAV}"},
    ),
    Line("openrouter-picture", "text-to-image", (at("openrouter", "sandbox/painter"),), more=SMALL),
    Line(
        "openrouter-film", "text-to-video", (at("openrouter", "sandbox/film", fields={"seconds": "duration"}),),
        more={"seconds": 1},
    ),
    Line("openrouter-chat", "chat", (at("openrouter", "openai/gpt-4o"),)),
    Line("google-picture", "text-to-image", (at("google", "imagen-4.0-fast-generate-001"),)),
    Line("google-film", "text-to-video", (at("google", "veo-3.1-fast-generate-preview"),), 2, {"seconds": 4}),
    Line("google-told", "text-to-video", (at("google", "gemini-omni-1.1-flash:interactions"),), 2),
    Line("google-chat", "chat", (at("google", "gemini-3.8-flash"),)),
    Line("google-speech", "text-to-speech", (at("google", "gemini-3.8-flash-tts:interactions"),)),
    Line("bfl", "text-to-image", (BFL,), more=SMALL),
    Line("bfl-eu", "text-to-image", (at("bfl-eu", "flux-2-pro", "bfl"),), more=SMALL),
    Line("bfl-us", "text-to-image", (at("bfl-us", "flux-2-pro", "bfl"),), more=SMALL),
    Line("kie-picture", "text-to-image", (at("kie", "z-image", aspect_ratio="1:1"),)),
    Line("kie-film", "text-to-video", (at("kie", "veo3_fast"),), 2),
    Line("kie-songs", "text-to-music", (at("kie", "suno", model="V5"),), 2, outputs=2),
    Line(
        "minimax-film", "text-to-video", (at("minimax", "MiniMax-Hailuo-2.3", duration=6, resolution="768P"),), 2
    ),
    Line("mistral-speech", "text-to-speech", (at("mistral", "voxtral-mini-tts-3-0", voice="gb_jane_neutral"),)),
    Line("mistral-read", "ocr", (at("mistral", "mistral-ocr-latest"),)),
    Line(
        "azure-speech", "text-to-speech", (at("azure-eu", "neural", "azure", voice="en-US-AvaMultilingualNeural"),)
    ),
    Line("azure-read", "ocr", (at("azure-eu", "prebuilt-read", "azure"),)),
    Line("worker-picture", "text-to-image", (WORKER,), 5, SMALL, keyed=True),
    Line("worker-film", "text-to-video", (at("comfyui", "wan22-t2v@1"),), 2, {"seconds": 1, **SMALL}, keyed=True),
    Line("painter", "text-to-image", (at("http", "painter"),), 4, SMALL, keyed=True),
    Line("sketch", "text-to-image", (at("local", "sketch"),), 2, SMALL, keyed=True),
    Line("anywhere", "text-to-image", (BFL, KREA, GPT, WORKER), 6, SMALL),
    Line("phi-picture", "text-to-image", (GPT,), 3, SMALL, phi=True),
    Line("phi-worker", "text-to-image", (WORKER,), 2, SMALL, phi=True, keyed=True),
    Line("phi-painter", "text-to-image", (at("http", "painter"),), 1, SMALL, phi=True, keyed=True),
    Line("phi-sketch", "text-to-image", (at("local", "sketch"),), 1, SMALL, phi=True, keyed=True),
)  # fmt: skip
PRICES: Mapping[str, int] = {line.model: FIRST_MICRO + n * STEP_MICRO for n, line in enumerate(LINES)}


def cards() -> str:
    """Return the storm's cards."""
    text = []
    for line in LINES:
        shape = SHAPES[line.operation]
        price = {"unit": "request", "micro": PRICES[line.model]}
        found: dict[str, Any] = {
            "id": line.model,
            "title": line.name,
            "operation": line.operation,
            "output": shape.output,
        }
        found |= {"price": price, "outputs": line.outputs}
        found["input"] = {"required": list(shape.required), "properties": shape.properties}
        found["example"] = {name: SAMPLES[name] for name in shape.required}
        text.append("[[cards]]\n" + _toml(found))
        text += [f"[[cards.routes]]\n{_toml(_route(way))}" for way in line.ways]
    return "\n".join(text)


def _route(way: Way) -> dict[str, Any]:
    return {
        "provider": way.provider, "kind": way.kind, "upstream": way.upstream, "fields": way.fields,
        "constants": way.constants,
    }  # fmt: skip


def _toml(table: Mapping[str, Any]) -> str:
    return "".join(f"{name} = {_value(value)}\n" for name, value in table.items())


def _value(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{json.dumps(k)} = {_value(v)}" for k, v in value.items()) + " }"
    return "[" + ", ".join(map(_value, value)) + "]" if isinstance(value, list) else json.dumps(value)
