"""Bodies as OpenAI's clients send them: JSON, or a form whose files become uploads (`wire/providers.md §7.1`)."""

import hashlib
import re
from typing import Any

import msgspec
import pybase64
from starlette.datastructures import UploadFile

from calotype.dialects.door import Exchange, data_class_of, json_object, refuse_phi_files
from calotype.dialects.multipart import FORM_BYTES, chunks_of, form_of
from calotype.dialects.openai.desk import Desk
from calotype.jobs.inputs import MAX_PHI_BYTES
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass
from calotype.media.uploads import INPUT

MAX_FILES = 17
"""Sixteen pictures and a mask."""
FORMS = (b"multipart/", b"application/x-www-form")
TYPES = {
    "seed": "integer", "fps": "integer", "n": "integer", "output_compression": "integer", "partial_images": "integer",
    "retries": "integer", "timeout": "integer", "temperature": "number", "speed": "number", "stream": "boolean",
    "allow_preview": "boolean",
}  # fmt: skip
"""What the texts of a form mean where the model's schema does not say."""
_NUMBER = re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?\Z")
_NESTED = re.compile(r"([^\[\]]{1,100})\[([^\[\]]{1,100})\]\Z")
_encode = msgspec.json.Encoder().encode


def is_form(x: Exchange) -> bool:
    """Say whether the body is announced as a form."""
    return x.headers.get(b"content-type", b"").lower().startswith(FORMS)


async def json_body(desk: Desk, x: Exchange) -> tuple[bytes, dict[str, Any]]:
    """Read a body that must be a JSON object, as it came and as it is.

    Raises:
        Problem: `unsupported_media_type` for a form, `invalid_input`, `payload_too_large`.

    """
    if is_form(x):
        raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "Send the request as application/json.", field="Content-Type")
    raw = await desk.door.body(x)
    return raw, json_object(raw)


async def any_body(desk: Desk, x: Exchange, org_id: str, *, phi_files: bool = False) -> tuple[bytes, dict[str, Any]]:
    """Read a body that may be a form or JSON.

    A file becomes an upload whose id stands for it in the fields; its digest stands for it in what is returned first,
    by which a request is known when it comes again. `name[]`, and a name that comes twice, is a list; `a[b]` a part
    of an object. Where `phi_files` are taken, those of a PHI request never become uploads: they stay in memory, as data
    URIs.

    Raises:
        Problem: `invalid_input`, `payload_too_large`, `phi_blocked` for files of a PHI request elsewhere.

    """
    if not is_form(x):
        raw = await desk.door.body(x)
        return raw, json_object(raw)
    phi = phi_files and data_class_of(x) is DataClass.PHI
    if not phi:
        refuse_phi_files(x)
    most = MAX_PHI_BYTES if phi else desk.uploads.max_bytes
    form = await form_of(x, max_files=MAX_FILES, max_bytes=most + FORM_BYTES, in_memory=phi)
    given: dict[str, Any] = {}
    marks: list[tuple[str, str]] = []
    try:
        for name, value in form.multi_items():
            if isinstance(value, UploadFile) and phi:
                held = await value.read()
                _put(given, name, f"data:application/octet-stream;base64,{pybase64.b64encode(held).decode()}")
                marks.append((name, hashlib.sha256(held).hexdigest()))
            elif isinstance(value, UploadFile):
                upload = await desk.uploads.create(
                    chunks_of(value), org_id=org_id, filename=value.filename or "input", purpose=INPUT
                )
                _put(given, name, upload.id)
                marks.append((name, upload.sha256))
            else:
                _put(given, name, value)
                marks.append((name, value))
    finally:
        await form.close()
    card = desk.catalog.get(given["model"]) if isinstance(given.get("model"), str) else None
    return _encode(marks), typed(given, card.schema.properties if card is not None else {})


def typed(form: dict[str, Any], properties: dict[str, Any]) -> dict[str, Any]:
    """Read the numbers and truth values of a form, where all is text, as the model's schema means them."""
    return {name: _typed(value, properties.get(name, {}).get("type", TYPES.get(name))) for name, value in form.items()}


def _typed(value: Any, wanted: Any) -> Any:
    if isinstance(value, str):
        if wanted in ("integer", "number") and _NUMBER.match(value):
            return float(value) if "." in value else int(value)
        if wanted == "boolean" and value in ("true", "false"):
            return value == "true"
    return value


def _put(given: dict[str, Any], name: str, value: str) -> None:
    """Add a field of a form to what was given before it."""
    if name.endswith("[]"):
        found = given.setdefault(name[:-2], [])
        if not isinstance(found, list):
            found = given[name[:-2]] = [found]
        found.append(value)
    elif (nested := _NESTED.match(name)) and isinstance(given.get(nested[1], {}), dict):
        given.setdefault(nested[1], {})[nested[2]] = value
    elif name in given:
        found = given[name]
        given[name] = [*found, value] if isinstance(found, list) else [found, value]
    else:
        given[name] = value
