"""Imagen by `:predict` and Veo by `:predictLongRunning` (`wire/providers.md §3.5, §3.6`).

The Gemini API has switched both families off; the enterprise platform and compatible servers still offer them. Answers
of either are read.
"""

import re
from typing import Any

from calotype.kernel.generation import DataClass
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Output, Pending, Succeeded
from calotype.kernel.steps import HttpResponse, Steps
from calotype.providers.base import Call, Handle
from calotype.providers.google_content import prose, ratio_of
from calotype.providers.google_errors import ended, filtered, finished, unreadable
from calotype.providers.google_json import table, tables, word
from calotype.providers.google_media import Medium, media_of
from calotype.providers.google_wire import LONG_RUNNING, PREDICT, VERSION, Line, Target

OPERATION = "operation"
IMAGEN_RATIOS = ("1:1", "3:4", "4:3", "9:16", "16:9")
FAST_S = 900
"""How long an operation is asked for at its usual pace (§10.3); later a look a minute is enough."""
SLOW_POLL_S = 60.0
MAX_NAME_CHARS = 600
_OPERATION = re.compile(r"(?:[\w-][\w.:-]*/)+operations/[\w-][\w.-]*", re.ASCII)
_FIRST = ("image", "image_url", "first_image_url")
_LAST = ("last_image_url", "end_image_url")
_REFERENCES = ("reference_image_urls", "reference_images")


# -- Imagen (§3.5) ----------------------------------------------------------------------------------------------------


def imagen(line: Line, call: Call, target: Target) -> Steps[Outcome]:
    """Ask for pictures; those that its filter holds back are missing in the answer."""
    answer: HttpResponse = yield line.call(target, PREDICT, imagen_body(call.input, call.outputs), outputs=call.outputs)
    if not answer.ok:
        return line.refused(answer, prose(call.input), quiet=call.data_class is DataClass.PHI)
    return imagen_in(line, answer, call.outputs)


def imagen_body(fields: dict[str, Any], outputs: int) -> dict[str, Any]:
    """Write the body; what only the enterprise platform takes (a seed, a negative prompt) is not sent."""
    parameters: dict[str, Any] = {"sampleCount": max(1, outputs), "includeRaiReason": True}
    optional = {
        "aspectRatio": ratio_of(fields, IMAGEN_RATIOS),
        "sampleImageSize": fields.get("image_size"),
        "personGeneration": fields.get("person_generation"),
    }
    parameters |= {name: value for name, value in optional.items() if value is not None}
    if kind := fields.get("output_format"):
        parameters["outputOptions"] = {"mimeType": f"image/{kind}"}
    return {"instances": [{"prompt": fields.get("prompt")}], "parameters": parameters}


def imagen_in(line: Line, answer: HttpResponse, asked: int) -> Outcome:
    """Read the predictions; an item without bytes, or a missing one, was held back."""
    body = answer.json()
    if not isinstance(body, dict):
        return unreadable(answer)
    found = tables(body.get("predictions"))
    outputs = tuple(
        Output(base64=word(one["bytesBase64Encoded"]).encode(), content_type=word(one.get("mimeType")) or None)
        for one in found
        if word(one.get("bytesBase64Encoded"))
    )
    reasons = [one.get("raiFilteredReason") for one in found if one.get("raiFilteredReason")]
    if not outputs:
        return filtered(reasons, (line.key,))
    missing = max(0, asked - len(outputs))
    warnings = (f"{missing} of {asked} pictures were held back by the provider's content policy",) if missing else ()
    return Succeeded(outputs, warnings=warnings)


# -- Veo (§3.6) -------------------------------------------------------------------------------------------------------


def veo(line: Line, call: Call, target: Target) -> Steps[Outcome]:
    """Ask for a video; the answer names an operation."""
    answer: HttpResponse = yield line.call(target, LONG_RUNNING, veo_body(call.input))
    if not answer.ok:
        return line.refused(answer, prose(call.input), quiet=call.data_class is DataClass.PHI)
    body = answer.json()
    name = word(table(body).get("name"))
    if len(name) > MAX_NAME_CHARS or not _OPERATION.fullmatch(name):
        return unreadable(answer)
    handle = {"kind": OPERATION, "name": name, "version": target.version, "since_ms": line.clock.now_ms()}
    return Pending(handle, upstream_id=name.rpartition("/")[2])


def veo_body(fields: dict[str, Any]) -> dict[str, Any]:
    """Write the body: frames and references beside the prompt, everything else as parameters."""
    instance: dict[str, Any] = {"prompt": fields.get("prompt")}
    for name, group in (("image", _FIRST), ("lastFrame", _LAST)):
        if found := media_of(fields, group):
            instance[name] = _frame(found[0])
    if references := media_of(fields, _REFERENCES):
        instance["referenceImages"] = [{"image": _frame(one), "referenceType": "ASSET"} for one in references]
    parameters = {
        "aspectRatio": fields.get("aspect_ratio"),
        "resolution": fields.get("resolution"),
        "durationSeconds": fields.get("seconds"),
        "negativePrompt": fields.get("negative_prompt"),
        "personGeneration": fields.get("person_generation"),
    }
    return {"instances": [instance], "parameters": {k: v for k, v in parameters.items() if v is not None}}


def _frame(medium: Medium) -> dict[str, Any]:
    return {"bytesBase64Encoded": medium.base64, "mimeType": medium.kind}


def veo_poll(line: Line, handle: Handle) -> Steps[Outcome]:
    """Look at an operation; those of the enterprise platform are asked for by a POST of their own."""
    name, version = handle["name"], handle.get("version", VERSION)
    if name.startswith("projects/"):
        path = f"{version}/{name.partition('/operations/')[0]}:fetchPredictOperation"
        answer: HttpResponse = yield line.post(path, {"operationName": name})
    else:
        answer = yield line.get(f"{version}/{name}")
    body = answer.json()
    if not answer.ok or not isinstance(body, dict):
        return line.waiting(answer)
    if body.get("done") is not True:
        return Pending(handle, poll_after_s=_pace(line, handle))
    if isinstance(error := body.get("error"), dict):
        return ended(error, (line.key,))
    return veo_in(line, body.get("response"))


def veo_in(line: Line, response: Any) -> Outcome:
    """Read the result of an operation, with or without its wrapper, or as the enterprise platform has it."""
    said = table(response)
    said = table(said.get("generateVideoResponse")) or said
    items = [one for name in ("generatedSamples", "videos") for one in tables(said.get(name))]
    videos = [table(one.get("video")) or one for one in items]
    outputs = tuple(output for video in videos if (output := _video(line, video)) is not None)
    if outputs:
        return Succeeded(outputs)
    if videos:
        return Failed(FailedKind.UPSTREAM, "The provider left the video where it cannot be fetched.")
    reasons = said.get("raiMediaFilteredReasons")
    if reasons or said.get("raiMediaFilteredCount"):
        return filtered(reasons if isinstance(reasons, list) else (), (line.key,))
    return finished("NOTHING")


def _video(line: Line, video: dict[str, Any]) -> Output | None:
    kind = word(video.get("mimeType")) or "video/mp4"
    if encoded := word(video.get("bytesBase64Encoded")):
        return Output(base64=encoded.encode(), content_type=kind)
    return line.fetched(word(video.get("uri")) or word(video.get("gcsUri")), kind)


def _pace(line: Line, handle: Handle) -> float | None:
    waited_s = (line.clock.now_ms() - handle.get("since_ms", line.clock.now_ms())) / 1000
    return SLOW_POLL_S if waited_s > FAST_S else None
