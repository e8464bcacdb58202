"""Pictures over OpenAI's images API: generations, edits and what their answers hold (`wire/providers.md §7.2`)."""

import re
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Raw, Struct

from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Cost, Failed, FailedKind, Outcome, Output, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse, Part, Steps
from calotype.providers.base import Call
from calotype.providers.long_texts import lift
from calotype.providers.openai_account import Account, count, given
from calotype.providers.openai_errors import MALFORMED
from calotype.providers.openai_forms import form_fields

ReadUsage = Callable[[Any], tuple[dict[str, int], Cost | None]]


def images(account: Account, call: Call) -> Steps[Outcome]:
    """Ask for pictures; the answer is the end."""
    if call.operation is Operation.IMAGE_TO_IMAGE and not call.files:
        return Failed(FailedKind.INVALID, "An image to edit is required.", field="image")
    answer = yield from account.ask(call, _edit(account, call) if call.files else _generate(account, call))
    return answer if isinstance(answer, Failed) else delivered(answer, image_usage)


def _generate(account: Account, call: Call) -> HttpRequest:
    return account.post("/images/generations", call, {"model": call.upstream_model, **given(call.input)})


def _edit(account: Account, call: Call) -> HttpRequest:
    parts = [Part("model", call.upstream_model)]
    for name, value in given(call.input).items():
        if name not in call.files:
            parts += form_fields(name, value)
    masks = [file for name, files in call.files.items() if name.startswith("mask") for file in files]
    pictures = [file for name, files in call.files.items() if not name.startswith("mask") for file in files]
    parts += [Part("image" if len(pictures) == 1 else "image[]", file) for file in pictures]
    parts += [Part("mask", file) for file in masks[:1]]
    return account.form("/images/edits", call, parts)


class _Item(Struct):
    b64_json: str | None = None
    url: Raw = Raw()
    revised_prompt: Any = None
    media_type: Any = None


class _Answer(Struct):
    data: list[_Item]
    usage: Any = None
    output_format: Any = None
    size: Any = None


_ANSWER = msgspec.json.Decoder(_Answer)
_TEXT = msgspec.json.Decoder(str)


def delivered(answer: HttpResponse, read_usage: ReadUsage) -> Outcome:
    """Return the pictures of a good answer; `read_usage` knows the server's words for what they cost."""
    request_id = answer.headers.get("x-generation-id") or answer.headers.get("x-request-id")
    body, pictures = lift(answer.body, "b64_json")
    try:
        said = _ANSWER.decode(body)
        outputs = tuple(output for item in said.data if (output := _output(item, said, pictures)) is not None)
    except (msgspec.MsgspecError, UnicodeDecodeError):
        return Failed(FailedKind.UNKNOWN, MALFORMED, detail=f"HTTP {answer.status}, no images", status=answer.status)
    if not outputs:
        return Failed(FailedKind.UPSTREAM, "The provider delivered no image.", status=answer.status)
    usage, cost = read_usage(said.usage)
    return Succeeded(outputs, usage=usage, cost=cost, upstream_id=request_id)


def _output(item: _Item, said: _Answer, pictures: dict[str, bytes]) -> Output | None:
    kind = f"image/{said.output_format}" if isinstance(said.output_format, str) else None
    kind = item.media_type if isinstance(item.media_type, str) else kind
    size = re.fullmatch(r"(\d{1,5})x(\d{1,5})", said.size) if isinstance(said.size, str) else None
    width, height = (int(size[1]), int(size[2])) if size else (None, None)
    text = item.revised_prompt if isinstance(item.revised_prompt, str) else None
    if encoded := _base64(item.b64_json or "", pictures):
        return Output(base64=encoded, content_type=kind, width=width, height=height, text=text)
    url = _TEXT.decode(item.url) if bytes(item.url) not in (b"", b"null") else ""
    if url.startswith("data:"):
        return Output(base64=url.partition(",")[2].encode(), content_type=kind, width=width, height=height, text=text)
    return Output(url=url, content_type=kind, width=width, height=height, text=text) if url else None


def _base64(text_or_mark: str, pictures: dict[str, bytes]) -> bytes:
    """Return the text as it was written, without `data:` and what belongs to it."""
    text = pictures.get(text_or_mark) or text_or_mark.encode()
    return text.partition(b",")[2] if text.startswith(b"data:") else text


def image_usage(said: Any) -> tuple[dict[str, int], Cost | None]:
    """Return token counts under the names prices use, text and image input apart (`wire/providers.md §7.2`)."""
    if not isinstance(said, dict):
        return {}, None
    details = said.get("input_tokens_details")
    parts = details if isinstance(details, dict) else {}
    pictures = count(parts.get("image_tokens"))
    whole = count(said.get("input_tokens"))
    text = count(parts.get("text_tokens"))
    if text is None and whole is not None:
        text = max(0, whole - (pictures or 0))
    made = count(said.get("output_tokens"))
    counts = {"input_tokens": text, "input_image_tokens": pictures, "output_tokens": made}
    usage = {name: number for name, number in counts.items() if number is not None}
    return usage, Cost(amount=str(sum(usage.values())), unit="tokens", source="response") if usage else None
