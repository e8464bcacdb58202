"""What fal's models take and give back, as far as a client can tell (`wire/fal.md §8, §13`, `wire/products.md E11`)."""

from base64 import b64encode
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from calotype.sandbox import media
from calotype.sandbox.fal_endpoints import Endpoint, endpoint_of

SIZES = {
    "square_hd": (1024, 1024), "square": (512, 512), "portrait_4_3": (768, 1024), "portrait_16_9": (576, 1024),
    "landscape_4_3": (1024, 768), "landscape_16_9": (1024, 576),
}  # fmt: skip
"""Presets of `image_size` (`wire/fal.md §13`)."""
PLATFORM_ERRORS = {
    "request_timeout": 504, "startup_timeout": 504, "runner_scheduling_failure": 503, "runner_connection_timeout": 503,
    "runner_disconnected": 503, "runner_connection_refused": 503, "runner_connection_error": 503,
    "runner_incomplete_response": 502, "runner_server_error": 500, "client_disconnected": 499, "client_cancelled": 499,
    "bad_request": 400, "internal_error": 500,
}  # fmt: skip
"""`error_type` → status of platform errors (`wire/fal.md §8`, family 2)."""
MODEL_ERRORS = {
    "internal_server_error": 500, "generation_timeout": 504, "downstream_service_error": 400,
    "downstream_service_unavailable": 500,
}  # fmt: skip
"""`type` → status of model errors (family 1); every other type is a 422."""
CONTEXT: dict[str, dict[str, Any]] = {
    "image_too_small": {"min_height": 256, "min_width": 256},
    "image_too_large": {"max_height": 4096, "max_width": 4096},
    "file_too_large": {"max_size": 10485760}, "sequence_too_short": {"min_length": 1},
    "sequence_too_long": {"max_length": 1000}, "audio_duration_too_long": {"max_duration": 60, "provided_duration": 90},
    "one_of": {"expected": ["480p", "720p"]}, "unsupported_image_format": {"supported_formats": ["png", "jpeg"]},
}  # fmt: skip


class Ending(Struct, frozen=True):
    """How a request ends: the status, headers and body of its result, and what is billed."""

    status: int
    body: Any
    headers: dict[str, str] = {}
    units: float | None = None

    @property
    def error(self) -> str | None:
        """The text that the status address shows beside COMPLETED, None after success."""
        return None if self.status < 300 else f"Invalid status code: {self.status}"

    @property
    def error_type(self) -> str | None:
        """The type beside it, where the body names one."""
        if self.status < 300:
            return None
        detail = self.body.get("detail")
        return str(detail[0]["type"]) if isinstance(detail, list) else self.body.get("error_type")


Store = Callable[[bytes, str, str], str]
"""Keeps a file (body, content type, name) and returns its public URL."""


def model_error(kind: str, loc: tuple[str, ...] = ("body", "prompt"), message: str | None = None) -> Ending:
    """Return a failure inside the model (family 1)."""
    detail: dict[str, Any] = {
        "loc": loc, "msg": message or kind.replace("_", " ").capitalize(), "type": kind,
        "url": f"https://docs.fal.ai/errors#{kind}",
    }  # fmt: skip
    if kind in CONTEXT:
        detail["ctx"] = CONTEXT[kind]
    headers = {"x-fal-needs-retry": "0", "x-fal-retryable": "false"}
    return Ending(MODEL_ERRORS.get(kind, 422), {"detail": [detail]}, headers, units=0)


def missing_fields(names: list[str]) -> Ending:
    """Return the refusal of an input without these fields, one line for each."""
    first, *others = [model_error("missing", ("body", name), "Field required") for name in names]
    first.body["detail"] += [detail for other in others for detail in other.body["detail"]]
    return first


def platform_error(kind: str, message: str | None = None) -> Ending:
    """Return a failure of the platform (family 2)."""
    headers = {"x-fal-error-type": kind}
    if kind == "request_timeout":
        headers["x-fal-request-timeout-type"] = "user"
    text = message or kind.replace("_", " ").capitalize()
    return Ending(PLATFORM_ERRORS[kind], {"detail": text, "error_type": kind}, headers)


def ending_of(
    endpoint: str,
    request_id: str,
    fields: dict[str, Any],
    words: dict[str, str],
    store: Store,
    known: Callable[[str], bool],
) -> Ending:
    """Run a model: what its input and the words in it ask for. `known` says whether a file of ours exists."""
    if "moderated" in words:
        return model_error("content_policy_violation", message="The content could not be processed.")
    if kind := words.get("type"):
        return platform_error(kind) if kind in PLATFORM_ERRORS else model_error(kind)
    what = endpoint_of(endpoint)
    missing = [name for name in what.required if fields.get(name) in (None, "", [])]
    if what.either and all(fields.get(name) is None for name in what.either):
        missing.append(what.either[0])
    if missing:
        return missing_fields(missing)
    for name, value in fields.items():
        if name.endswith(("_url", "_urls")):
            for url in value if isinstance(value, list) else [value]:
                if not isinstance(url, str) or not (url.startswith("data:") or known(url)):
                    return model_error("file_download_error", ("body", name), "Failed to download the file.")
    return _made(what, request_id, fields, words, store)


def _made(what: Endpoint, request_id: str, fields: dict[str, Any], words: dict[str, str], store: Store) -> Ending:
    seed = fields.get("seed") or 196619188014358660
    match what.makes:
        case "images" | "files":
            count = int(fields.get("num_images") or 1)
            images = [_picture(f"{request_id}-{n}", fields, words, store) for n in range(count)]
            body: dict[str, Any] = {"images": images}
            if what.makes == "images":
                body |= {
                    "timings": {"inference": 0.42}, "seed": seed, "has_nsfw_concepts": ["nsfw" in words] * count,
                    "prompt": fields.get("prompt", ""),
                }  # fmt: skip
            return Ending(200, body | what.extra, units=count)
        case "image":
            body = {"image": _picture(request_id, fields, words, store), "seed": seed, "timings": {}}
            if fields.get("output_mask"):
                body["mask_image"] = _picture(f"{request_id}-mask", fields, words, store)
            return Ending(200, body, units=1)
        case "video":
            seconds = _seconds(fields)
            film = _file(media.mp4(seconds, name=request_id), "video/mp4", "output.mp4", store)
            return Ending(200, {"video": film, "seed": seed}, units=seconds if what.unit == "second" else 1)
        case "audio":
            sound = _file(media.wav(1.0, request_id), "audio/wav", "output.wav", store) | what.file
            return Ending(200, {words.get("field", "audio"): sound, **what.extra}, units=_units(what, fields))
        case "voice":
            body = {"custom_voice_id": f"Voice{request_id[-12:]}"}
            if fields.get("text"):
                body["audio"] = _file(media.wav(1.0, request_id), "audio/wav", "preview.wav", store)
            return Ending(200, body, units=1)
        case "text":
            said = {"output": "A lighthouse.", "reasoning": "Far out." if fields.get("reasoning") else None}
            return Ending(200, {**said, "partial": False, "error": None}, units=1)
        case "lora":
            weights = _file(b"weights", "application/octet-stream", "lora.safetensors", store)
            config = _file(b"{}", "application/json", "config.json", store)
            return Ending(200, {"diffusers_lora_file": weights, "config_file": config}, units=_units(what, fields))
        case "finetune":
            return Ending(200, {"finetune_id": f"ft-{request_id[-12:]}"}, units=42)


def _units(what: Endpoint, fields: dict[str, Any]) -> float:
    """Count what is billed; a recording here is a second long."""
    counts: dict[str, float] = {
        "1000 characters": len(str(fields.get(what.required[0]) if what.required else "")) / 1000,
        "1000 steps": int(fields.get("steps") or 1000) / 1000,
        "step": int(fields.get("steps") or 1000),
        "minute": 1 / 60,
    }
    return counts.get(what.unit, 1)


def _picture(name: str, fields: dict[str, Any], words: dict[str, str], store: Store) -> dict[str, Any]:
    size = fields.get("image_size")
    if isinstance(size, dict):
        width, height = int(size.get("width", 512)), int(size.get("height", 512))
    else:
        width, height = SIZES.get(str(size), SIZES["landscape_4_3"])
    body = media.png(width, height, "black" if "nsfw" in words else name)
    if fields.get("sync_mode") is True:
        return {"url": f"data:image/png;base64,{b64encode(body).decode()}", "width": width, "height": height}
    return {**_file(body, "image/png", f"{name}.png", store), "width": width, "height": height}


def _file(body: bytes, content_type: str, name: str, store: Store) -> dict[str, Any]:
    return {
        "url": store(body, content_type, name),
        "content_type": content_type,
        "file_name": name,
        "file_size": len(body),
    }


def _seconds(fields: dict[str, Any]) -> float:
    frames = fields.get("num_frames")
    if isinstance(frames, int):
        return min(frames / 16, 2.0)
    text = str(fields.get("duration") or "1").rstrip("s")
    return min(float(text) if text.replace(".", "").isdigit() else 1.0, 2.0)
