"""Work at Google that takes its time: Veo's operations and interactions (`wire/providers.md §3.6, §3.7, §3.8`).

Words: `@moderated` and `@filtered` (held back), `@rpc=13` (the operation fails with that code), `@bare` and `@vertex`
(a result without its wrapper, or as the enterprise platform has it), `@lost` (a result that lies where nobody can fetch
it), `@end=failed` (an interaction ends with that status), `@words` (speech is answered in words), `@polls=3`,
`@work=1.5`.
"""

import time
from base64 import b64encode
from typing import Any

from msgspec import Struct

from calotype.kernel.ids import uuid7
from calotype.sandbox import media
from calotype.sandbox.google_errors import Bad
from calotype.sandbox.google_sounds import TOKENS_PER_S, VOICES, length_s, recording

SIZES = {"360p": (640, 360), "720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}
DRAWN = 10
"""Videos are drawn at this fraction of their size, so that they stay small."""
TOKENS_PER_VIDEO_S = 5_792
ONLY_ELSEWHERE = frozenset({"seed", "fps", "generateAudio", "mask", "resizeMode", "storageUri", "compressionQuality"})
"""Parameters of Veo that only the enterprise platform takes (§3.6)."""
KNOWN = frozenset(
    {
        "model", "input", "background", "store", "stream", "previousInteractionId", "responseModalities",
        "responseFormat", "generationConfig", "webhookConfig", "serviceTier", "labels", "tools", "systemInstruction",
    }
)  # fmt: skip
TASKS = frozenset({"text_to_video", "image_to_video", "reference_to_video", "edit", "extend", "upscale"})
SONG_S, CLIP_S = 4.0, 2.0
"""Songs are this long here; the real ones take minutes and half a minute."""


class Work(Struct):
    """One accepted piece of work: `body` is in camelCase, `name` what it is asked for by."""

    name: str
    model: str
    body: dict[str, Any]
    text: str
    words: dict[str, str]
    created_s: float
    polls: int
    work_s: float
    looks: int = 0
    canceled: bool = False
    file: str = ""

    def done(self) -> bool:
        """Look at it: whether it has ended."""
        self.looks += 1
        if self.canceled:
            return True
        return time.monotonic() - self.created_s >= self.work_s if self.work_s else self.looks > self.polls


# -- Veo (§3.6) -------------------------------------------------------------------------------------------------------


def check_video(body: dict[str, Any]) -> None:
    """Refuse a request that Veo does not take.

    Raises:
        Bad: what is wrong with it.

    """
    parameters = body.get("parameters") or {}
    if wrong := sorted(set(parameters) & ONLY_ELSEWHERE):
        raise Bad(f"{wrong[0]} parameter is not supported in Gemini API.")
    if parameters.get("durationSeconds", 8) not in (4, 6, 8):
        raise Bad("The number value for `durationSeconds` is out of bound. Please provide 4, 6 or 8.")
    if parameters.get("aspectRatio", "16:9") not in ("16:9", "9:16"):
        raise Bad("aspectRatio must be 16:9 or 9:16.")
    if parameters.get("resolution", "720p") not in ("720p", "1080p", "4k"):
        raise Bad("resolution must be 720p, 1080p or 4k.")
    for instance in body.get("instances") or [{}]:
        pictures = [instance.get("image"), instance.get("lastFrame")]
        pictures += [one.get("image") for one in instance.get("referenceImages") or ()]
        if any(one and not {"bytesBase64Encoded", "mimeType"} <= set(one) for one in pictures if one is not None):
            raise Bad("`image` must have `bytesBase64Encoded` and `mimeType`.")
        if not instance.get("prompt") and not instance.get("image"):
            raise Bad("A prompt or an image is required.")


def operation_answer(work: Work, url: str) -> dict[str, Any]:
    """Return what a look at an operation shows; `url` is where its video is."""
    if not work.done():
        return {"name": work.name, "metadata": {"@type": "type.googleapis.com/PredictLongRunningMetadata"}}
    ended: dict[str, Any] = {"name": work.name, "done": True}
    if "moderated" in work.words:
        text = "The prompt could not be submitted. It violates Google's Responsible AI practices. Please rephrase it."
        return ended | {"error": {"code": 3, "message": text}}
    if "rpc" in work.words:
        return ended | {"error": {"code": int(work.words["rpc"]), "message": "An error has occurred."}}
    if "filtered" in work.words:
        reasons = ["We encountered an issue with the audio for your prompt. You will not be charged for this attempt."]
        held = {"raiMediaFilteredCount": 1, "raiMediaFilteredReasons": reasons}
        return ended | {"response": {"generateVideoResponse": held}}
    place = "gs://nobody/video.mp4" if "lost" in work.words else url
    samples: dict[str, Any] = {"generatedSamples": [{"video": {"uri": place}}]}
    if "vertex" in work.words:
        body = b64encode(film(work.body.get("parameters") or {}, work.name)).decode()
        samples = {"videos": [{"bytesBase64Encoded": body, "mimeType": "video/mp4"}]}
    if "bare" in work.words or "vertex" in work.words:
        return ended | {"response": samples}
    kind = "type.googleapis.com/google.ai.generativelanguage.v1beta.PredictLongRunningResponse"
    return ended | {"response": {"@type": kind, "generateVideoResponse": samples}}


def film(asked: dict[str, Any], name: str) -> bytes:
    """Return the video for what was asked, in proportion but small."""
    wide, high = SIZES[str(asked.get("resolution", "720p"))]
    if asked.get("aspectRatio") == "9:16":
        wide, high = high, wide
    seconds = asked.get("durationSeconds") or str(asked.get("duration", "8s")).rstrip("s")
    return media.mp4(float(seconds), wide // DRAWN, high // DRAWN, name[-4:])


# -- interactions (§3.7, §3.8) ----------------------------------------------------------------------------------------


def check_interaction(body: dict[str, Any]) -> None:
    """Refuse an interaction that the API does not take.

    Raises:
        Bad: what is wrong with it.

    """
    if unknown := sorted(set(body) - KNOWN):
        raise Bad(f"Unknown parameter: '{unknown[0]}'.")
    if not body.get("input"):
        raise Bad("input is required.")
    config = body.get("generationConfig") or {}
    task = (config.get("videoConfig") or {}).get("task")
    if task is not None and task not in TASKS:
        raise Bad(f"Unknown task: '{task}'.")
    speakers = config.get("speechConfig") or []
    for one in speakers if isinstance(speakers, list) else [speakers]:
        if str(one.get("voice", "Kore")).capitalize() not in VOICES:
            raise Bad(f"Unknown voice: '{one.get('voice')}'.")
    if isinstance(body["input"], list) and any(not isinstance(one, dict) or "type" not in one for one in body["input"]):
        raise Bad("Every block of input must have a type.")
    wanted = body.get("responseFormat") or {}
    if wanted.get("resolution", "720p") not in SIZES:
        raise Bad("resolution must be 360p, 720p, 1080p or 4k.")


def said_in(body: dict[str, Any]) -> str:
    """Return the texts of an interaction's input."""
    given = body.get("input")
    if isinstance(given, str):
        return given
    blocks = [block for one in given or () for block in (one.get("content") or [one])]
    return " ".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")


def interaction_answer(work: Work, url: str) -> dict[str, Any]:
    """Return what a look at an interaction shows; `url` is where its video is."""
    shown: dict[str, Any] = {"id": work.name, "object": "interaction", "model": work.model, "role": "model"}
    if not work.done():
        return shown | {"status": "in_progress"}
    if work.canceled:
        return shown | {"status": "cancelled"}
    if "end" in work.words:
        errors = [{"code": "internal", "message": "As you wished."}]
        return shown | {"status": work.words["end"], "errors": errors}
    if "moderated" in work.words:
        errors = [{"code": "safety", "message": "The prompt violates the usage policy."}]
        return shown | {"status": "failed", "errors": errors}
    blocks, kind, tokens = _made(work, url)
    steps = [
        {"type": "user_input", "content": [{"type": "text", "text": work.text}]},
        {"type": "thought", "signature": "c2lnbmF0dXJl"},
        {"type": "model_output", "content": blocks},
    ]
    given = len(work.text) // 4 + 1
    usage = {
        "total_input_tokens": given, "total_output_tokens": tokens, "total_tokens": given + tokens,
        "output_tokens_by_modality": [{"modality": kind, "tokens": tokens}],
    }  # fmt: skip
    return shown | {"status": "completed", "steps": steps, "usage": usage}


def _made(work: Work, url: str) -> tuple[list[dict[str, Any]], str, int]:
    """Return the blocks of the result, their modality and their tokens."""
    wanted = work.body.get("responseFormat") or {}
    if "words" in work.words:
        return [{"type": "text", "text": "I can only talk about that."}], "text", 8
    if work.model.startswith("lyria"):
        kind, data = recording("audio/mp3", CLIP_S if "clip" in work.model else SONG_S, len(work.text))
        block = {"type": "audio", "mime_type": kind, "data": data}
        return [{"type": "text", "text": "[Verse]\nla la la"}, block], "audio", 0
    if "tts" in work.model:
        seconds = length_s(work.text)
        kind, data = recording(wanted.get("mimeType"), seconds, len(work.text))
        return [{"type": "audio", "mime_type": kind, "data": data}], "audio", round(seconds * TOKENS_PER_S)
    seconds = float(str(wanted.get("duration", "8s")).rstrip("s"))
    block = {"type": "video", "mime_type": "video/mp4"}
    if wanted.get("delivery") == "uri" or "lost" in work.words:
        block["uri"] = "gs://nobody/video.mp4" if "lost" in work.words else url
    else:
        block["data"] = b64encode(film(wanted, work.name)).decode()
    return [block], "video", round(seconds * TOKENS_PER_VIDEO_S)


def new_name(prefix: str) -> str:
    """Return a name for a new piece of work."""
    return prefix + uuid7().replace("-", "")
