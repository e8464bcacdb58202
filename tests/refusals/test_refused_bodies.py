"""Bodies that do not fit: each call of each API says the exact status, code and field, and nothing comes of it."""

from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
from refusal_calls import CALLS, Call, Told, told
from refusal_house import MOST_BYTES, Surface

JSON = {"content-type": "application/json"}
NO_JSON = [
    b"", b"{", b"nonsense", b"[1, 2]", b'"text"', b"7", b"null", b"\xff", b'{"prompt": NaN}', b'{"prompt": "x",}',
    b'{"prompt": "\\ud800"}', b"[" * 100_000, b'{"a":' * 20_000 + b"1" + b"}" * 20_000,
]  # fmt: skip
BAD_BODY = {
    "openai": Told(400, "invalid_input", "body"), "jobs": Told(422, "value_error", "body"),
    "image": Told(400, "BAD_REQUEST", "body"), "content": Told(400, "invalid_input", "body"),
    "fal": Told(400, "bad_request"), "platform": Told(400, "validation_error"),
}  # fmt: skip
MISSING = {
    "openai": (400, "invalid_input"), "jobs": (422, "missing"), "image": (400, "MISSING_REQUIRED_FIELD"),
    "content": (400, "invalid_input"), "fal": (422, "missing"), "platform": (400, "validation_error"),
}  # fmt: skip
WRONG = MISSING | {"jobs": (422, "type_error"), "image": (400, "BAD_REQUEST"), "fal": (422, "type_error")}
EMPTY = WRONG | {"jobs": (422, "string_too_short"), "fal": (422, "string_too_short")}
BEYOND = WRONG | {"jobs": (422, "less_than_equal"), "fal": (422, "less_than_equal")}
NO_FORM = {
    "openai": Told(415, "unsupported_media_type", "Content-Type"), "jobs": Told(415, ""),
    "image": Told(415, "BAD_REQUEST", "Content-Type"), "content": Told(415, "unsupported_media_type", "Content-Type"),
    "fal": Told(400, "bad_request"), "platform": Told(400, "validation_error"),
}  # fmt: skip
PACKED = {
    "openai": Told(415, "unsupported_media_type", "Content-Encoding"), "jobs": Told(415, ""),
    "image": Told(415, "BAD_REQUEST", "Content-Encoding"), "fal": Told(415, "unsupported_media_type"),
    "content": Told(415, "unsupported_media_type", "Content-Encoding"), "platform": Told(415, "validation_error"),
}  # fmt: skip
TOO_LARGE = {
    "openai": Told(413, "payload_too_large", "body"), "jobs": Told(413, ""), "image": Told(413, "BAD_REQUEST", "body"),
    "content": Told(413, "payload_too_large", "body"), "fal": Told(413, "payload_too_large"),
    "platform": Told(413, "validation_error"),
}  # fmt: skip
NO_MODEL = {"openai": Told(404, "model_not_found", "model"), "image": Told(400, "INVALID_MODEL", "model")}
NO_MODEL_TYPE = NO_MODEL | {"openai": Told(400, "invalid_input", "model")}
OWN_WORDS = {
    "allowed_apps": "value_error", "character_file_url=''": "string_pattern_mismatch",
}  # fmt: skip
"""Where a field has a rule of its own, the word for it."""
TYPED = frozenset({"name", "alias", "estimate_type", "endpoints"})
"""Fields that are read into a type, where null is another type and not nothing."""

every_call = pytest.mark.parametrize("call", CALLS, ids=lambda call: call.name)


def path_of(asked: Surface, call: Call) -> str:
    return call.path.replace("{key}", asked.plain_id)


def check(asked: Surface, call: Call, body: Any, expected: tuple[int, str], field: str) -> None:
    """Send a body and compare what is said; the Platform API names the field in its sentence."""
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    answer = asked.send(call.method, path_of(asked, call), content=raw, headers=JSON)
    if call.api == "platform":
        assert told(call.api, answer) == Told(*expected) and field in answer.json()["error"]["message"], answer.text
    else:
        assert told(call.api, answer) == Told(*expected, field), answer.text


@every_call
def test_what_is_no_json_object_is_refused(call: Call, asked: Surface) -> None:
    for raw in NO_JSON:
        if raw or not (call.empty or call.api == "fal"):
            answer = asked.send(call.method, path_of(asked, call), content=raw, headers=JSON)
            assert told(call.api, answer) == BAD_BODY[call.api], (raw[:40], answer.text)


@pytest.mark.parametrize(("call", "field"), [(call, field) for call in CALLS for field in call.required])
def test_a_field_that_is_missing_or_of_another_type_is_named(call: Call, field: str, asked: Surface) -> None:
    rest = {name: value for name, value in call.body.items() if name != field}

    def refused(given: Any, words: dict[str, tuple[int, str]]) -> None:
        status, word = words[call.api]
        word = OWN_WORDS.get(field) or OWN_WORDS.get(f"{field}={given!r}") or word
        check(asked, call, rest | ({} if given is ... else {field: given}), (status, word), field)

    refused(..., MISSING)
    if field not in TYPED:
        refused(None, MISSING)
    for wrong in (5, True, *(() if field == "document" else ({"a": 1},))):
        refused(wrong, WRONG)
    if isinstance(call.body[field], str):
        refused("", EMPTY)
        if field != "input":  # which may be a list
            refused([5], WRONG)


@pytest.mark.parametrize(
    ("call", "field", "value"), [(call, *bound) for call in CALLS for bound in call.bounds if bound[1] != float("inf")]
)
def test_a_number_beyond_its_bound_is_refused(call: Call, field: str, value: Any, asked: Surface) -> None:
    whole = msgspec.json.encode(call.body | {field: 0})
    check(asked, call, whole.replace(b":0", f":{value}".encode()), BEYOND[call.api], field)


@pytest.mark.parametrize("call", [one for one in CALLS if one.model], ids=lambda call: call.name)
def test_a_model_that_is_none_is_refused(call: Call, asked: Surface) -> None:
    for name, table in (("zzzzzzzz", NO_MODEL), ("", NO_MODEL), (7, NO_MODEL_TYPE), (["x"], NO_MODEL_TYPE)):
        answer = asked.send(call.method, call.path, json=call.body | {"model": name})
        assert told(call.api, answer) == table[call.api], (name, answer.text)


@every_call
def test_a_body_of_another_type_is_refused(call: Call, asked: Surface) -> None:
    path = path_of(asked, call)
    for kind in ("application/x-www-form-urlencoded", "multipart/form-data; boundary=b"):
        if not call.form:
            answer = asked.send(call.method, path, content=b"prompt=x", headers={"content-type": kind})
            assert told(call.api, answer) == NO_FORM[call.api], answer.text
    packed = asked.send(call.method, path, content=b"\x1f\x8b", headers=JSON | {"content-encoding": "gzip"})
    assert told(call.api, packed) == PACKED[call.api], packed.text


@every_call
def test_a_body_that_is_too_large_is_refused(call: Call, asked: Surface) -> None:
    def pieces() -> Iterator[bytes]:
        for _ in range(MOST_BYTES // 32_768 + 1):
            yield b" " * 32_768

    path = path_of(asked, call)
    for content in (b" " * (MOST_BYTES + 1), pieces()):
        answer = asked.send(call.method, path, content=content, headers=JSON)
        assert told(call.api, answer) == TOO_LARGE[call.api], answer.text
    just = asked.send(call.method, path, content=b" " * MOST_BYTES, headers=JSON)
    assert just.status_code != 413
