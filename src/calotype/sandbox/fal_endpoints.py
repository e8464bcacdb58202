"""The endpoints of the emulated fal: what each needs and makes (`wire/products.md E10, E11`), and what it costs here.

Prices that no document of ours tells are the sandbox's own figures and not fal's.
"""

from typing import Any, Literal

from msgspec import Struct

Kind = Literal["images", "files", "image", "video", "audio", "voice", "text", "lora", "finetune"]


class Endpoint(Struct, frozen=True):
    """What an endpoint makes, the fields it cannot do without, its price and the unit of the price.

    Of the fields in `either` one must be there. `extra` is answered beside the files, `file` in a recording.
    """

    makes: Kind = "images"
    required: tuple[str, ...] = ("prompt",)
    price: float = 0.03
    unit: str = "image"
    either: tuple[str, ...] = ()
    extra: dict[str, Any] = {}
    file: dict[str, Any] = {}


def _edit(prompt: bool = False) -> Endpoint:
    return Endpoint("files", ("image_url",), 0.04, extra={"seed": 42} if prompt else {"seed": 7})


def _speech(field: str = "text", price: float = 0.1, **more: Any) -> Endpoint:
    return Endpoint("audio", (field,), price, "1000 characters", **more)


_VIDEO = ("prompt", "image_url")
_AVATAR = ("image_url", "audio_url", "prompt")
_TIMES = {"timestamps": None}
_SOUND_FACTS = {
    "duration": 1.0, "bitrate": "128k", "codec": "pcm_s16le", "container": "wav", "channels": 1, "sample_rate": 8_000,
}  # fmt: skip

ENDPOINTS: dict[str, Endpoint] = {
    # published: wire/products.md A7 before the margin, wire/providers.md §9
    "fal-ai/flux/krea": Endpoint(price=0.03),
    "fal-ai/krea-wan-14b/text-to-video": Endpoint("video", price=0.08, unit="second"),
    "fal-ai/wan-i2v": Endpoint("video", _VIDEO, 0.08, "second"),
    "fal-ai/infinitalk": Endpoint("video", _AVATAR, 0.2, "second"),
    "fal-ai/imagen4/preview": Endpoint(price=0.04, extra={"description": ""}),
    "fal-ai/imagen4/preview/fast": Endpoint(price=0.02, extra={"description": ""}),
    "fal-ai/imagen4/preview/ultra": Endpoint("files", price=0.06, extra={"description": "A lighthouse."}),
    # the sandbox's own
    "fal-ai/flux/dev": Endpoint(price=0.025, unit="megapixel"),
    "fal-ai/flux/schnell": Endpoint(price=0.003, unit="megapixel"),
    "fal-ai/flux-pro/v1.1": Endpoint(price=0.04),
    "fal-ai/flux-pro/v1.1-ultra": Endpoint(price=0.06),
    "fal-ai/flux-pro/kontext/max": Endpoint(required=_VIDEO, price=0.08),
    "fal-ai/flux-kontext/dev": Endpoint(required=_VIDEO, price=0.025),
    "fal-ai/flux-2-pro": Endpoint(price=0.03),
    "fal-ai/flux-2/klein/9b": Endpoint(price=0.015),
    "fal-ai/flux-2/klein/4b": Endpoint(price=0.014),
    "fal-ai/recraft/v3/text-to-image": Endpoint("files", price=0.04),
    "fal-ai/recraft/v4/text-to-image": Endpoint("files", price=0.04),
    "fal-ai/ideogram/v3": Endpoint("files", price=0.06, extra={"seed": 7}),
    "fal-ai/ideogram/v3/reframe": Endpoint("files", ("image_url", "image_size"), 0.06, extra={"seed": 7}),
    "fal-ai/sana/sprint": Endpoint(price=0.0025),
    "fal-ai/hidream-i1-fast": Endpoint(price=0.01),
    "fal-ai/bytedance/seededit/v3/edit-image": Endpoint("image", _VIDEO, 0.03),
    "fal-ai/omnigen-v2": Endpoint(price=0.15),
    "fal-ai/stable-diffusion-v35-large": Endpoint(price=0.065),
    "fal-ai/qwen-image": Endpoint(price=0.02),
    "fal-ai/qwen-image-edit": Endpoint(required=_VIDEO, price=0.03),
    "bytedance/seedream/v5/lite/edit": Endpoint("files", ("prompt", "image_urls"), 0.035, extra={"seed": 7}),
    "fal-ai/birefnet/v2": Endpoint("image", ("image_url",), 0.001, "request"),
    "fal-ai/clarity-upscaler": Endpoint("image", ("image_url",), 0.03, "megapixel"),
    **{
        f"fal-ai/image-editing/{name}": _edit()
        for name in ("professional-photo", "face-enhancement", "color-correction", "cartoonify", "text-removal")
    },
    **{
        f"fal-ai/image-editing/{name}": _edit(prompt=True)
        for name in ("style-transfer", "age-progression", "background-change", "hair-change", "object-removal")
    },
    "comfy/fal-ai/dynamic-lora-loading": Endpoint("files", price=0.0005, unit="compute second"),
    "fal-ai/veo3": Endpoint("video", price=0.4, unit="second"),
    "fal-ai/kling-video/v2.1/master/image-to-video": Endpoint("video", _VIDEO, 0.28, "second"),
    "fal-ai/kling-video/v3/pro/text-to-video": Endpoint("video", price=0.2, unit="second"),
    "fal-ai/kling-video/v3/pro/image-to-video": Endpoint("video", ("prompt", "start_image_url"), 0.2, "second"),
    "wan/v2.6/text-to-video": Endpoint("video", price=0.1, unit="second"),
    "wan/v2.6/image-to-video": Endpoint("video", _VIDEO, 0.1, "second"),
    "fal-ai/minimax/hailuo-02/pro/image-to-video": Endpoint("video", _VIDEO, 0.08, "second"),
    "fal-ai/bytedance/seedance/v1/pro/image-to-video": Endpoint("video", _VIDEO, 0.12, "second"),
    "fal-ai/pixverse/v4.5/image-to-video": Endpoint("video", _VIDEO, 0.2, "video"),
    "fal-ai/vidu/template-to-video": Endpoint("video", ("input_image_urls",), 0.2, "video"),
    "fal-ai/ai-avatar": Endpoint("video", _AVATAR, 0.2, "second"),
    "fal-ai/ai-avatar/multi": Endpoint("video", ("image_url", "first_audio_url", "prompt"), 0.2, "second"),
    "fal-ai/sync-lipsync/v2": Endpoint("video", ("video_url", "audio_url"), 0.05, "second"),
    "fal-ai/kling-video/lipsync/audio-to-video": Endpoint("video", ("video_url", "audio_url"), 0.014, "second"),
    "fal-ai/minimax/speech-02-hd": _speech(extra={"duration_ms": 1000}),
    "fal-ai/elevenlabs/tts/multilingual-v2": _speech(extra=_TIMES),
    "fal-ai/playai/tts/v3": Endpoint("audio", ("input", "voice"), 0.05, "1000 characters"),
    "fal-ai/playai/tts/dialog": _speech("input", 0.05),
    "fal-ai/minimax/voice-clone": Endpoint("voice", ("audio_url",), 1.5, "request"),
    "resemble-ai/chatterboxhd/speech-to-speech": Endpoint(
        "audio", ("source_audio_url",), 0.02, "minute", file=_SOUND_FACTS
    ),
    "fal-ai/playai/inpaint/diffusion": Endpoint(
        "audio", ("audio_url", "text", "output_text", "chunks"), 0.1, "request"
    ),
    "fal-ai/elevenlabs/audio-isolation": Endpoint(
        "audio", (), 0.1, "minute", either=("audio_url", "video_url"), extra=_TIMES
    ),
    "fal-ai/diffrhythm": Endpoint("audio", ("lyrics",), 0.0002, "second"),
    "fal-ai/lyria2": Endpoint("audio", price=0.1, unit="request"),
    "fal-ai/mmaudio-v2/text-to-audio": Endpoint("audio", price=0.001, unit="second"),
    "fal-ai/any-llm": Endpoint("text", price=0.001, unit="request"),
    "fal-ai/any-llm/vision": Endpoint("text", price=0.01, unit="request"),
    "openrouter/router": Endpoint("text", ("prompt", "model"), 0.001, "request"),
    "fal-ai/flux-lora-fast-training": Endpoint("lora", ("images_data_url",), 2.0, "1000 steps"),
    "fal-ai/flux-lora-portrait-trainer": Endpoint("lora", ("images_data_url",), 0.0024, "step"),
    "fal-ai/flux-pro-trainer": Endpoint("finetune", ("data_url", "finetune_comment"), 0.0004, "compute second"),
}  # fmt: skip
"""Every endpoint that is known by name."""

GUESSES: tuple[tuple[str, Endpoint], ...] = (
    ("llm", Endpoint("text")), ("router", Endpoint("text")), ("training", Endpoint("lora", ())),
    ("trainer", Endpoint("lora", ())), ("tts", Endpoint("audio", ())), ("speech", Endpoint("audio", ())),
    ("music", Endpoint("audio", ())), ("audio", Endpoint("audio", ())), ("video", Endpoint("video")),
    ("veo", Endpoint("video")), ("avatar", Endpoint("video")), ("lipsync", Endpoint("video", ())),
    ("upscaler", Endpoint("image", ("image_url",))),
)  # fmt: skip
"""Part of an id → what an endpoint of any other name makes, the first that fits; everything else makes `images`."""


def endpoint_of(name: str) -> Endpoint:
    """Return what is known about an endpoint, or what its name lets one expect."""
    return ENDPOINTS.get(name) or next((guess for part, guess in GUESSES if part in name), Endpoint())


def prices_of(names: list[str]) -> list[dict[str, Any]]:
    """Return what the pricing address answers for these endpoints; unknown ones are left out."""
    known = [(name, ENDPOINTS[name]) for name in names if name in ENDPOINTS]
    return [{"endpoint_id": name, "unit_price": one.price, "unit": one.unit, "currency": "USD"} for name, one in known]
