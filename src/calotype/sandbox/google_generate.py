"""What `:generateContent` and `:predict` make of a body in camelCase (`wire/providers.md §3.3, §3.4, §3.5, §3.9`).

Words: `@moderated` (the prompt is blocked), `@block=OTHER`, `@finish=IMAGE_SAFETY` (an end without a result),
`@filtered` (every picture of Imagen is held back), `@partial` (one of them is), `@draft` (a thought with a picture
first), `@call` (the first declared function is called), `@think` (a thought before the text).
"""

from base64 import b64encode
from typing import Any
from zlib import crc32

from calotype.kernel.ids import uuid7
from calotype.sandbox import media
from calotype.sandbox.google_errors import Bad
from calotype.sandbox.google_sounds import TOKENS_PER_S, VOICES, length_s, recording

RATIOS = frozenset(
    {"1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9", "1:4", "4:1", "1:8", "8:1"}
)
SIDES = {"512": 512, "1K": 1024, "2K": 2048, "4K": 4096}
TOKENS_OF = {"512": 747, "1K": 1120, "2K": 1680, "4K": 2520}
"""Tokens of a picture by size, except of `gemini-2.5-flash-image`, which has one size."""
ONE_SIZE, ONE_SIZE_TOKENS = "gemini-2.5-flash-image", 1290
TOKENS_PER_PICTURE = 258
"""Tokens of a picture in the input."""
VECTOR, MOST_TEXTS = 3_072, 100
KNOWN = frozenset(
    {
        "contents", "systemInstruction", "generationConfig", "safetySettings", "tools", "toolConfig", "cachedContent",
        "model",
    }
)  # fmt: skip
CONFIG = frozenset(
    {
        "responseModalities", "imageConfig", "speechConfig", "temperature", "topP", "topK", "seed", "maxOutputTokens",
        "stopSequences", "candidateCount", "responseMimeType", "responseSchema", "responseJsonSchema",
        "presencePenalty", "frequencyPenalty", "thinkingConfig", "mediaResolution",
    }
)  # fmt: skip
ONLY_ELSEWHERE = frozenset({"seed", "negativePrompt", "addWatermark", "enhancePrompt", "labels", "storageUri"})
"""Parameters of Imagen that only the enterprise platform takes (§3.5)."""


def texts_of(body: dict[str, Any]) -> str:
    """Return all that is said in a request."""
    parts = [part for content in body.get("contents") or () for part in content.get("parts") or ()]
    said = " ".join(str(part["text"]) for part in parts if "text" in part)
    return said or " ".join(str(item.get("prompt", "")) for item in body.get("instances") or ())


def checked(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of the last turn.

    Raises:
        Bad: the body is not one that the API takes.

    """
    if unknown := sorted(set(body) - KNOWN):
        raise Bad(f'Invalid JSON payload received. Unknown name "{unknown[0]}": Cannot find field.')
    if unknown := sorted(set(body.get("generationConfig") or {}) - CONFIG):
        raise Bad(
            f"Invalid JSON payload received. Unknown name \"{unknown[0]}\" at 'generation_config': Cannot find field."
        )
    contents = body.get("contents")
    if not isinstance(contents, list) or not contents:
        raise Bad("* GenerateContentRequest.contents: contents is not specified")
    for content in contents:
        if content.get("role", "user") not in ("user", "model", "function"):
            raise Bad("Please use a valid role: user, model.")
        for part in content.get("parts") or [{}]:
            held = set(part) & {"text", "inlineData", "fileData", "functionCall", "functionResponse"}
            if len(held) != 1:
                raise Bad("* GenerateContentRequest.contents.parts: required oneof field 'data' must have one value")
            if "inlineData" in part and not {"mimeType", "data"} <= set(part["inlineData"]):
                raise Bad("Unable to process input image. Please retry or report.")
    parts: list[dict[str, Any]] = contents[-1]["parts"]
    return parts


def content_answer(model: str, body: dict[str, Any], words: dict[str, str]) -> dict[str, Any]:
    """Return the answer to a request: pictures, speech or text, as its modalities say.

    Raises:
        Bad: the body is not one that the API takes.

    """
    parts = checked(body)
    config = body.get("generationConfig") or {}
    wanted = [str(one).upper() for one in config.get("responseModalities") or ["TEXT"]]
    if "moderated" in words or "block" in words:
        return _blocked(model, words.get("block", "PROHIBITED_CONTENT"))
    if "finish" in words:
        return _answer(model, [], words["finish"], {})
    given = _given(body)
    if "AUDIO" in wanted:
        return _speech(model, parts, config.get("speechConfig") or {}, given)
    if "IMAGE" in wanted:
        return _picture(model, config.get("imageConfig") or {}, given, words)
    return _text(model, body, given, words)


def _picture(model: str, config: dict[str, Any], given: dict[str, int], words: dict[str, str]) -> dict[str, Any]:
    ratio, size = config.get("aspectRatio", "1:1"), config.get("imageSize", "1K")
    if ratio not in RATIOS:
        raise Bad(f"aspect_ratio must be one of {', '.join(sorted(RATIOS))}.")
    if size not in SIDES or ("imageSize" in config and model == ONE_SIZE):
        raise Bad("image_size is not supported for this model.")
    parts = [_inline("image/png", _png(ratio, size))]
    if "draft" in words:
        parts = [{"thought": True, **_inline("image/png", _png("1:1", "512"))}, {"text": "Here it is."}, *parts]
    made = ONE_SIZE_TOKENS if model == ONE_SIZE else TOKENS_OF[size]
    return _answer(model, parts, "STOP", given, {"IMAGE": made})


def _speech(model: str, parts: list[dict[str, Any]], config: dict[str, Any], given: dict[str, int]) -> dict[str, Any]:
    several = (config.get("multiSpeakerVoiceConfig") or {}).get("speakerVoiceConfigs")
    if several is not None and (len(several) != 2 or "voiceConfig" in config):
        raise Bad("Multi-speaker voice config must have exactly two speakers and excludes voice_config.")
    voices = [one.get("voiceConfig") or {} for one in several or [config]]
    names = [((one.get("prebuiltVoiceConfig") or {}).get("voiceName") or "").capitalize() for one in voices]
    if wrong := [name for name in names if name and name not in VOICES]:
        raise Bad(f"Voice name {wrong[0].lower()} is not supported. Allowed voice names are: {', '.join(VOICES)}.")
    seconds = length_s(str(parts[-1].get("text", "")))
    kind, data = recording(None, seconds, len(names[0]))
    made = {"AUDIO": round(seconds * TOKENS_PER_S)}
    return _answer(model, [{"inlineData": {"mimeType": kind, "data": data}}], "STOP", given, made)


def _text(model: str, body: dict[str, Any], given: dict[str, int], words: dict[str, str]) -> dict[str, Any]:
    said = texts_of(body)
    declared = [one for tool in body.get("tools") or () for one in tool.get("functionDeclarations") or ()]
    parts: list[dict[str, Any]] = []
    if "think" in words:
        parts.append({"text": "Let me think about that.", "thought": True})
    if "call" in words and declared:
        parts.append(
            {"functionCall": {"name": declared[0]["name"], "args": {"place": "Geneva"}}, "thoughtSignature": "c2ln"}
        )
    else:
        parts.append({"text": f"You said: {said.split('@')[0].strip()}"})
    limit = (body.get("generationConfig") or {}).get("maxOutputTokens")
    made = {"TEXT": sum(len(str(part.get("text", ""))) // 4 + 1 for part in parts if "thought" not in part)}
    answer = _answer(model, parts, "STOP", given, made)
    if isinstance(limit, int) and limit < made["TEXT"] and "text" in parts[-1]:
        parts[-1]["text"] = parts[-1]["text"][: limit * 4]
        answer = _answer(model, parts, "MAX_TOKENS", given, {"TEXT": limit})
    if "think" in words:
        answer["usageMetadata"]["thoughtsTokenCount"] = 7
        answer["usageMetadata"]["totalTokenCount"] += 7
    return answer


def vectors(body: dict[str, Any]) -> dict[str, Any]:
    """Return a vector for each text; the same text always has the same one.

    Raises:
        Bad: the body is not one that the API takes.

    """
    requests = body.get("requests") or []
    if not 1 <= len(requests) <= MOST_TEXTS:
        raise Bad(f"* BatchEmbedContentsRequest.requests: at most {MOST_TEXTS} requests can be in one batch")
    texts = [texts_of({"contents": [one.get("content") or {}]}) for one in requests]
    if not all(texts):
        raise Bad("* EmbedContentRequest.content: contents is not specified")
    made = []
    for one, text in zip(requests, texts, strict=True):
        length = one.get("outputDimensionality") or VECTOR
        if not 1 <= length <= VECTOR:
            raise Bad(f"outputDimensionality must be between 1 and {VECTOR}.")
        seed = crc32(text.encode())
        made.append({"values": [round(((seed >> n % 24) & 255) / 128 - 1, 6) for n in range(length)]})
    return {"embeddings": made, "usageMetadata": {"promptTokenCount": sum(len(text) // 4 + 1 for text in texts)}}


def predictions(body: dict[str, Any], words: dict[str, str]) -> dict[str, Any]:
    """Return Imagen's answer; what its filter holds back is replaced by an item without bytes, or left out.

    Raises:
        Bad: the body is not one that the API takes.

    """
    parameters = body.get("parameters") or {}
    if wrong := sorted(set(parameters) & ONLY_ELSEWHERE):
        raise Bad(f"{wrong[0]} parameter is not supported in Gemini API.")
    count, ratio = parameters.get("sampleCount", 4), parameters.get("aspectRatio", "1:1")
    if not isinstance(count, int) or not 1 <= count <= 4:
        raise Bad("sampleCount must be between 1 and 4.")
    if ratio not in ("1:1", "3:4", "4:3", "9:16", "16:9"):
        raise Bad(f"Aspect ratio {ratio} is not supported.")
    size = str(parameters.get("sampleImageSize", "1K"))
    if size not in ("1K", "2K"):
        raise Bad("sampleImageSize must be 1K or 2K.")
    if "moderated" in words:
        return {}
    reason = {"raiFilteredReason": "Unable to show generated images. Support codes: 39322892"}
    if "filtered" in words:
        return {"predictions": [reason]}
    made: list[dict[str, Any]] = [
        {"mimeType": "image/png", "bytesBase64Encoded": b64encode(_png(ratio, size)).decode()} for _ in range(count)
    ]
    if "partial" in words:
        made[-1] = reason
    return {"predictions": made}


def _answer(
    model: str, parts: list[dict[str, Any]], reason: str, given: dict[str, int], made: dict[str, int] | None = None
) -> dict[str, Any]:
    candidate: dict[str, Any] = {"index": 0, "finishReason": reason}
    if parts:
        candidate["content"] = {"role": "model", "parts": parts}
    usage: dict[str, Any] = {
        "promptTokenCount": sum(given.values()),
        "candidatesTokenCount": sum((made or {}).values()),
        "promptTokensDetails": [{"modality": name, "tokenCount": count} for name, count in given.items() if count],
    }
    if made:
        usage["candidatesTokensDetails"] = [{"modality": name, "tokenCount": n} for name, n in made.items()]
    usage["totalTokenCount"] = usage["promptTokenCount"] + usage["candidatesTokenCount"]
    return {"candidates": [candidate], "usageMetadata": usage, "modelVersion": model, "responseId": _ident()}


def _blocked(model: str, reason: str) -> dict[str, Any]:
    feedback = {"blockReason": reason, "safetyRatings": []}
    return {"promptFeedback": feedback, "usageMetadata": {"promptTokenCount": 9}, "modelVersion": model}


def _given(body: dict[str, Any]) -> dict[str, int]:
    parts = [part for content in body["contents"] for part in content.get("parts") or ()]
    pictures = sum("inlineData" in part or "fileData" in part for part in parts)
    return {"TEXT": len(texts_of(body)) // 4 + 1, "IMAGE": TOKENS_PER_PICTURE * pictures}


def _png(ratio: str, size: str) -> bytes:
    """Return a picture of these proportions whose area is that of the size's square, in steps of 8 pixels."""
    wide, high = (int(part) for part in ratio.split(":"))
    scale = SIDES[size] / (wide * high) ** 0.5
    return media.png(round(wide * scale / 8) * 8, round(high * scale / 8) * 8, _ident())


def _inline(kind: str, body: bytes) -> dict[str, Any]:
    return {"inlineData": {"mimeType": kind, "data": b64encode(body).decode()}}


def _ident() -> str:
    return uuid7().replace("-", "")[-24:]
