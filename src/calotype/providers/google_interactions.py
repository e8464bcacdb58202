"""Videos, music and speech by the Interactions API (`wire/providers.md §3.7, §3.8`)."""

from typing import Any

from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Cost, Failed, FailedKind, Outcome, Output, Pending, Succeeded
from calotype.kernel.steps import HttpResponse, Steps
from calotype.providers.answers import is_name, redacted
from calotype.providers.base import Call, Handle
from calotype.providers.google_content import PICTURE_FIELDS, prose
from calotype.providers.google_errors import MODERATED, NOTHING, POLICY, ended, finished, unreadable, worth_again
from calotype.providers.google_json import count, table, tables, word
from calotype.providers.google_media import Medium, media_of, placed
from calotype.providers.google_predict import FAST_S, SLOW_POLL_S
from calotype.providers.google_sound import sound, speakers_of, spoken
from calotype.providers.google_wire import REVISION, VERSION, Line, Target

INTERACTION = "interaction"
WORKING = frozenset({"queued", "in_progress"})
BAD = frozenset({"failed", "cancelled", "incomplete", "budget_exceeded", "requires_action", "requires_continuation"})
_HEADERS = {"Api-Revision": REVISION}
_KIND: dict[Operation, str] = {
    Operation.TEXT_TO_VIDEO: "video", Operation.IMAGE_TO_VIDEO: "video", Operation.VIDEO_TO_VIDEO: "video",
    Operation.TEXT_TO_MUSIC: "audio", Operation.TEXT_TO_SPEECH: "audio", Operation.TEXT_TO_IMAGE: "image",
}  # fmt: skip
_SOUNDS = {"mp3": "audio/mp3", "opus": "audio/ogg_opus", "wav": "audio/wav"}
"""Formats that Google makes itself (§3.4); `pcm` is what it answers without being asked for one."""
_REFERENCES = ("reference_image_urls", "reference_images")
_VIDEO = ("video_url", "video")


def interact(line: Line, call: Call, target: Target) -> Steps[Outcome]:
    """Begin an interaction: a video is waited for in the background, sound comes with the answer."""
    media: list[Medium] = []
    for kind, names in (("video", _VIDEO), ("image", (*PICTURE_FIELDS, *_REFERENCES))):
        media += [Medium(one.kind or f"{kind}/*", one.base64, one.uri) for one in media_of(call.input, names)]
    kept = yield from placed(line, call, media)
    if isinstance(kept, Failed):
        return kept
    phi = call.data_class is DataClass.PHI
    video = _KIND.get(call.operation) == "video"
    if video and phi:
        return Failed(FailedKind.GONE, "The provider keeps what it works on, where PHI must not be.")
    body = body_of(call, target.model, kept)
    if video and call.callback_url:
        body["webhook_config"] = {"uris": [call.callback_url]}
    answer: HttpResponse = yield line.post(f"{target.version}/interactions", body, _HEADERS, commits=True)
    if not answer.ok:
        return line.refused(answer, prose(call.input), quiet=phi)
    handle = {
        "version": target.version,
        "want": _KIND.get(call.operation, ""),
        "format": call.input.get("response_format"),
    }
    outcome = read(line, answer, handle)
    if not video and isinstance(outcome, Failed) and worth_again(outcome):  # speech is sometimes answered in words
        answer = yield line.post(f"{target.version}/interactions", body, _HEADERS, commits=True)
        if not answer.ok:
            return line.refused(answer, prose(call.input), quiet=phi)
        outcome = read(line, answer, handle)
    return outcome


def body_of(call: Call, model: str, media: list[Medium]) -> dict[str, Any]:
    """Write the body for what is to be made."""
    fields = call.input
    match call.operation:
        case Operation.TEXT_TO_SPEECH:
            return {"model": model, "store": False, **_speech(fields)}
        case Operation.TEXT_TO_MUSIC:
            return {"model": model, "store": False, "input": _input(fields, media)}
    wanted = {"type": "video", "delivery": "uri"}
    for name, value in (("aspect_ratio", fields.get("aspect_ratio")), ("resolution", fields.get("resolution"))):
        if value is not None:
            wanted[name] = value
    if fields.get("seconds") is not None:
        wanted["duration"] = f"{fields['seconds']}s"
    config: dict[str, Any] = {"video_config": {"task": _task(call)}}
    if fields.get("seed") is not None:
        config["seed"] = fields["seed"]
    return {
        "model": model, "input": _input(fields, media), "background": True, "store": True,
        "response_modalities": ["video"], "response_format": wanted, "generation_config": config,
    }  # fmt: skip


def _task(call: Call) -> str:
    if call.operation is Operation.VIDEO_TO_VIDEO or media_of(call.input, _VIDEO):
        return word(call.input.get("task")) or "edit"
    if media_of(call.input, _REFERENCES):
        return "reference_to_video"
    return "image_to_video" if media_of(call.input, PICTURE_FIELDS) else "text_to_video"


def _input(fields: dict[str, Any], media: list[Medium]) -> Any:
    prompt = word(fields.get("prompt"))
    if not media:
        return prompt
    return [*(_block(one) for one in media), {"type": "text", "text": prompt}]


def _block(medium: Medium) -> dict[str, Any]:
    kind = medium.kind.partition("/")[0]
    place = {"uri": medium.uri} if medium.uri else {"data": medium.base64}
    return {"type": kind, **place, **({} if medium.kind.endswith("/*") else {"mime_type": medium.kind})}


def _speech(fields: dict[str, Any]) -> dict[str, Any]:
    text, style = spoken(fields)
    said: dict[str, Any] = {"type": "text", "text": text}
    if style:
        said["annotations"] = [{"type": "speech_metadata", "style": style}]
    voices = [{"speaker": name, "voice": voice} for name, voice in speakers_of(fields)]
    voices = voices or [{"voice": word(fields.get("voice")) or "Zephyr"}]
    if language := word(fields.get("language")):
        voices = [{**voice, "language": language} for voice in voices]
    wanted = {"type": "audio"}
    if kind := _SOUNDS.get(word(fields.get("response_format"))):
        wanted["mime_type"] = kind
    return {
        "input": [{"type": "user_input", "content": [said]}], "response_format": wanted,
        "generation_config": {"speech_config": voices},
    }  # fmt: skip


# -- answers ----------------------------------------------------------------------------------------------------------


def read(line: Line, answer: HttpResponse, handle: Handle) -> Outcome:
    """Read an interaction wherever it stands; an unknown status means that it goes on."""
    body = answer.json()
    if not isinstance(body, dict):
        return unreadable(answer)
    status, ident = word(body.get("status")), word(body.get("id"))
    if status == "completed":
        return _made(line, body, handle)
    if status in BAD:
        return _failed(line, body, status)
    if not is_name(ident, 400):
        return unreadable(answer)
    now_ms = line.clock.now_ms()
    began = {"kind": INTERACTION, "id": ident, "since_ms": now_ms, **handle}
    slow = now_ms - began["since_ms"] > FAST_S * 1000
    return Pending(began, upstream_id=ident, poll_after_s=SLOW_POLL_S if slow else None)


def poll(line: Line, handle: Handle) -> Steps[Outcome]:
    """Look at an interaction."""
    path = f"{handle.get('version', VERSION)}/interactions/{handle['id']}"
    answer: HttpResponse = yield line.get(path, _HEADERS)
    if not answer.ok or not isinstance(answer.json(), dict):
        return line.waiting(answer)
    return read(line, answer, handle)


def cancel(line: Line, handle: Handle) -> Steps[bool]:
    """Stop an interaction; True when it says that it was cancelled."""
    path = f"{handle.get('version', VERSION)}/interactions/{handle['id']}/cancel"
    answer: HttpResponse = yield line.post(path, {}, _HEADERS)
    body = answer.json()
    return answer.ok and isinstance(body, dict) and body.get("status") == "cancelled"


def _made(line: Line, body: dict[str, Any], handle: Handle) -> Outcome:
    """Take what was asked for by its type, never by its place (§3.8); texts beside it are kept as data."""
    want = word(handle.get("want"))
    blocks = [
        block
        for step in tables(body.get("steps"))
        if step.get("type") == "model_output"
        for block in tables(step.get("content"))
    ]
    outputs = [_output(line, block, handle) for block in blocks if block.get("type") == want]
    found = tuple(output for output in outputs if output is not None)
    usage, cost = _usage(body.get("usage"), want)
    ident = word(body.get("id")) or None
    if not found:
        if outputs:
            return Failed(FailedKind.UPSTREAM, "The provider left the result where it cannot be fetched.", cost=cost)
        return _failed(line, body, "completed") if body.get("errors") else finished("NOTHING")
    texts = "\n".join(word(block.get("text")) for block in blocks if block.get("type") == "text").strip()
    return Succeeded(found, {"text": texts} if texts else {}, usage=usage, cost=cost, upstream_id=ident)


def _output(line: Line, block: dict[str, Any], handle: Handle) -> Output | None:
    kind, data = word(block.get("mime_type")), word(block.get("data"))
    if not data:
        return line.fetched(word(block.get("uri")), kind or None)
    if block.get("type") == "audio":
        return sound(data, kind, handle.get("format"))
    return Output(base64=data.encode(), content_type=kind or None)


def _failed(line: Line, body: dict[str, Any], status: str) -> Failed:
    errors = tables(body.get("errors"))
    first = errors[0] if errors else table(body.get("error"))
    if ended(first, ()).kind is FailedKind.MODERATED or "safety" in word(first.get("code")).lower():
        return Failed(FailedKind.MODERATED, POLICY, code=MODERATED)
    said = f"{status} {word(first.get('code'))} {word(first.get('message'))}"
    message = "The request was canceled at the provider." if status == "cancelled" else NOTHING
    return Failed(FailedKind.UPSTREAM, message, detail=redacted(said, (line.key,)), code=status)


def _usage(said: Any, want: str) -> tuple[dict[str, int], Cost | None]:
    if not isinstance(said, dict):
        return {}, None
    rows = tables(said.get("output_tokens_by_modality"))
    made = {word(one.get("modality")).lower(): count(one.get("tokens")) for one in rows}
    usage = {
        "input_tokens": count(said.get("total_input_tokens")),
        "output_tokens": made.get(want) or count(said.get("total_output_tokens")),
    }
    usage = {name: number for name, number in usage.items() if number}  # what is nought was not counted
    total = count(said.get("total_tokens")) or sum(usage.values())
    return usage, Cost(amount=str(total), unit="tokens", source="response")
