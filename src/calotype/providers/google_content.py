"""Pictures and speech by `:generateContent`, which answers at once (`wire/providers.md §3.3, §3.4`)."""

import math
from collections.abc import Callable
from typing import Any

from calotype.kernel.generation import DataClass
from calotype.kernel.outcome import Cost, Failed, FailedKind, Outcome, Output, Succeeded
from calotype.kernel.steps import AnswerTooLarge, HttpRequest, HttpResponse, NotSent, Parallel, Steps, TransportError
from calotype.providers.base import Call
from calotype.providers.google_errors import blocked, finished, unreadable, worth_again
from calotype.providers.google_json import count, table, tables, word
from calotype.providers.google_media import Medium, media_of, placed
from calotype.providers.google_sound import sound, speakers_of, spoken
from calotype.providers.google_wire import CONTENT, Line, Target

PICTURE_FIELDS = ("image", "images", "image_url", "image_urls", "image_input")
"""Fields that hold pictures to start from, in the order they are shown to the model."""
RATIOS = ("1:1", "2:3", "3:2", "3:4", "4:3", "4:5", "5:4", "9:16", "16:9", "21:9")
MOST_PICTURES = 10
_GRAVEST = (
    FailedKind.UNKNOWN, FailedKind.UPSTREAM, FailedKind.MODERATED, FailedKind.INVALID, FailedKind.GONE, FailedKind.AUTH,
    FailedKind.QUOTA, FailedKind.RETRY,
)  # fmt: skip
"""When nothing came, the gravest reason decides: one request that may have been taken forbids sending all again."""

Reader = Callable[[HttpResponse], Succeeded | Failed]


# -- pictures (§3.3) --------------------------------------------------------------------------------------------------


def pictures(line: Line, call: Call, target: Target) -> Steps[Outcome]:
    """Ask for pictures: one call makes one, so several are asked for at once, and what came is delivered."""
    media = yield from placed(line, call, media_of(call.input, PICTURE_FIELDS))
    if isinstance(media, Failed):
        return media
    request = line.call(target, CONTENT, picture_body(call.input, media))
    return (yield from gathered(line, call, request, min(max(1, call.outputs), MOST_PICTURES), picture_in))


def picture_body(fields: dict[str, Any], media: list[Medium]) -> dict[str, Any]:
    """Write the body: pictures to start from, then the prompt."""
    parts = [part_of(one) for one in media] + [{"text": word(fields.get("prompt"))}]
    config: dict[str, Any] = {"responseModalities": ["IMAGE"]}
    image = {"aspectRatio": ratio_of(fields), "imageSize": fields.get("image_size")}
    if image := {name: value for name, value in image.items() if value}:
        config["imageConfig"] = image
    config |= {name: fields[name] for name in ("seed", "temperature") if fields.get(name) is not None}
    body: dict[str, Any] = {"contents": [{"role": "user", "parts": parts}], "generationConfig": config}
    if fields.get("google_search"):
        body["tools"] = [{"googleSearch": {}}]
    return body


def part_of(medium: Medium) -> dict[str, Any]:
    """Write a file as a part of a content."""
    if medium.uri:
        return {"fileData": {"fileUri": medium.uri, **({"mimeType": medium.kind} if medium.kind else {})}}
    return {"inlineData": {"mimeType": medium.kind, "data": medium.base64}}


def ratio_of(fields: dict[str, Any], choices: tuple[str, ...] = RATIOS) -> str | None:
    """Return the proportions asked for; of the choices those nearest to a `size`, which Google has no field for."""
    ratio = fields.get("aspect_ratio")
    if isinstance(ratio, str):
        return ratio if ratio != "auto" else None
    width, _, height = word(fields.get("size")).partition("x")
    if not (width.isdecimal() and height.isdecimal() and int(width) and int(height)):
        return None
    wanted = math.log(int(width) / int(height))
    return min(choices, key=lambda one: abs(wanted - math.log(int(one.split(":")[0]) / int(one.split(":")[1]))))


def picture_in(answer: HttpResponse) -> Succeeded | Failed:
    """Read the pictures of one answer; drafts that a thinking model shows are left out."""
    found = _parts(answer)
    if isinstance(found, Failed):
        return found
    parts, reason, body = found
    files = [file for part in parts if isinstance(file := part.get("inlineData"), dict) and word(file.get("data"))]
    if not files:
        return finished(reason)
    text = " ".join(word(part.get("text")) for part in parts).strip() or None
    outputs = tuple(
        Output(base64=word(file["data"]).encode(), content_type=word(file.get("mimeType")) or None, text=text)
        for file in files[:1]
    )
    usage, cost = usage_of(body.get("usageMetadata"), "IMAGE")
    return Succeeded(outputs, usage=usage, cost=cost, upstream_id=word(body.get("responseId")) or None)


# -- speech (§3.4) ----------------------------------------------------------------------------------------------------


def speech(line: Line, call: Call, target: Target) -> Steps[Outcome]:
    """Ask for a recording of a text."""
    wanted = call.input.get("response_format")
    request = line.call(target, CONTENT, speech_body(call.input))
    return (yield from gathered(line, call, request, 1, lambda answer: speech_in(answer, wanted)))


def speech_body(fields: dict[str, Any]) -> dict[str, Any]:
    """Write the body; how it is to be spoken is said in words before the text."""
    text, style = spoken(fields)
    voices = speakers_of(fields)
    config: dict[str, Any] = {}
    if language := fields.get("language"):
        config["languageCode"] = language
    if voices:
        config["multiSpeakerVoiceConfig"] = {
            "speakerVoiceConfigs": [{"speaker": name, "voiceConfig": _voice(voice)} for name, voice in voices]
        }
    else:
        config["voiceConfig"] = _voice(word(fields.get("voice")) or "Zephyr")
    said = f"Say {style}: {text}" if style else text
    modalities = {"responseModalities": ["AUDIO"], "speechConfig": config}
    return {"contents": [{"role": "user", "parts": [{"text": said}]}], "generationConfig": modalities}


def _voice(name: str) -> dict[str, Any]:
    return {"prebuiltVoiceConfig": {"voiceName": name}}


def speech_in(answer: HttpResponse, wanted: str | None) -> Succeeded | Failed:
    """Read the recording of an answer."""
    found = _parts(answer)
    if isinstance(found, Failed):
        return found
    parts, reason, body = found
    for part in parts:
        if isinstance(file := part.get("inlineData"), dict):
            output = sound(word(file.get("data")), word(file.get("mimeType")), wanted)
            if output is not None:
                usage, cost = usage_of(body.get("usageMetadata"), "AUDIO")
                return Succeeded((output,), usage=usage, cost=cost, upstream_id=word(body.get("responseId")) or None)
    return finished(reason)


# -- what both share --------------------------------------------------------------------------------------------------


def gathered(line: Line, call: Call, request: HttpRequest, wanted: int, read: Reader) -> Steps[Outcome]:
    """Send a request so many times at once, those that came to nothing once more (§3.3), and join what came."""
    results: list[Succeeded | Failed] = []
    for _ in range(2):
        answers = yield Parallel((request,) * (wanted - len(results)), each=True)
        last = [_result(line, call, answer, read) for answer in answers]
        again: list[Succeeded | Failed] = [one for one in last if isinstance(one, Failed) and worth_again(one)]
        results += [one for one in last if one not in again]
        if not again:
            return joined(results)
    return joined(results + again)


def _result(line: Line, call: Call, answer: HttpResponse | TransportError, read: Reader) -> Succeeded | Failed:
    if isinstance(answer, NotSent):
        return Failed(FailedKind.RETRY, "The provider could not be reached.", detail=str(answer))
    if isinstance(answer, AnswerTooLarge):
        return Failed(FailedKind.UPSTREAM, "The provider's answer was too large.", detail=str(answer))
    if isinstance(answer, TransportError):
        return Failed(FailedKind.UNKNOWN, "The provider did not answer.", detail=str(answer))
    if not answer.ok:
        return line.refused(answer, prose(call.input), quiet=call.data_class is DataClass.PHI)
    return read(answer)


def joined(results: list[Succeeded | Failed]) -> Outcome:
    """Join the results of one attempt: everything that came, or the gravest reason why nothing did."""
    made = [one for one in results if isinstance(one, Succeeded)]
    failures = sorted((one for one in results if isinstance(one, Failed)), key=lambda one: _GRAVEST.index(one.kind))
    if not made:
        return failures[0]
    if len(made) == 1 and not failures:
        return made[0]
    counted = [name for name in made[0].usage if all(name in one.usage for one in made)]
    usage = {name: sum(one.usage[name] for one in made) for name in counted}
    tokens = sum(int(one.cost.amount or 0) for one in made if one.cost is not None)
    why = {one.message for one in failures}
    warnings = (f"{len(failures)} of {len(results)} were not made: {' '.join(sorted(why))}",) if failures else ()
    return Succeeded(
        tuple(output for one in made for output in one.outputs), usage=usage, warnings=warnings,
        cost=Cost(amount=str(tokens), unit="tokens", source="response") if tokens else None,
        upstream_id=made[0].upstream_id,
    )  # fmt: skip


def _parts(answer: HttpResponse) -> tuple[list[dict[str, Any]], str, dict[str, Any]] | Failed:
    """Return the parts of the first candidate without thoughts, its finish reason, and the whole body."""
    body = answer.json()
    if not isinstance(body, dict):
        return unreadable(answer)
    candidates = tables(body.get("candidates"))
    if not candidates:
        return blocked(body.get("promptFeedback")) or finished("NOTHING")
    parts = parts_of(candidates[0])
    return [part for part in parts if part.get("thought") is not True], word(candidates[0].get("finishReason")), body


def parts_of(candidate: dict[str, Any]) -> list[dict[str, Any]]:
    """Return every part of a candidate."""
    return tables(table(candidate.get("content")).get("parts"))


def usage_of(said: Any, modality: str) -> tuple[dict[str, int], Cost | None]:
    """Return the tokens under the names prices use: those of the wanted modality are the output."""
    if not isinstance(said, dict):
        return {}, None
    given = _by_modality(said.get("promptTokensDetails"))
    made = _by_modality(said.get("candidatesTokensDetails"))
    whole = count(said.get("promptTokenCount"))
    pictures_in = given.get("IMAGE", 0)
    usage = {"output_tokens": made.get(modality) or count(said.get("candidatesTokenCount"))}
    if whole:
        usage["input_tokens"] = max(0, whole - pictures_in)
    if pictures_in:
        usage["input_image_tokens"] = pictures_in
    if not usage["output_tokens"]:  # it was not counted, for something was made: the price table's bound stands
        del usage["output_tokens"]
    total = count(said.get("totalTokenCount")) or sum(usage.values())
    return usage, Cost(amount=str(total), unit="tokens", source="response")


def _by_modality(details: Any) -> dict[str, int]:
    return {word(row.get("modality")): count(row.get("tokenCount")) for row in tables(details)}


def prose(fields: dict[str, Any]) -> tuple[str, ...]:
    """Return the caller's own words, which an error text may quote."""
    return tuple(one for one in fields.values() if isinstance(one, str) and (" " in one or len(one) > 24))
