"""Forms that do not fit: cut off, without a boundary, too large, too many; nothing of them is kept."""

from typing import Any

import pytest
from refusal_calls import Told, told
from refusal_house import MOST_FILE_BYTES, Surface

from calotype.dialects.multipart import FORM_BYTES

FORM = "multipart/form-data; boundary=b"
END = b"--b--\r\n"
LACKS = {
    "/v1/files": "file", "/v1/images/edits": "image", "/v1/videos": "prompt", "/v1/videos/edits": "video",
    "/v1/videos/extensions": "video", "/v1/audio/transcriptions": "file", "/api/v1/media/upload": "file",
}  # fmt: skip
"""The calls that take forms, and what each of them misses first in an empty one."""
TAKES_JSON = frozenset(LACKS) - {"/v1/files", "/api/v1/media/upload"}


def part(name: str, body: bytes = b"x", filename: str | None = None) -> bytes:
    named = "" if filename is None else f'; filename="{filename}"'
    return f'--b\r\nContent-Disposition: form-data; name="{name}"{named}\r\n\r\n'.encode() + body + b"\r\n"


UNREADABLE: dict[str, tuple[str, bytes]] = {
    "no boundary": ("multipart/form-data", END), "no form": (FORM, b"nonsense"), "nothing": (FORM, b""),
    "another boundary": (FORM, part("file").replace(b"--b", b"--c")),
    "a boundary that is no text": ("multipart/form-data; boundary=\xff", b"--b\r\n\r\nx"),
    "a boundary that is too long": (f"multipart/form-data; boundary={'b' * 5000}", b"--b\r\n\r\nx"),
    "cut off in a head": (FORM, part("prompt") + b"--b\r\nContent-Disposition: form-da"),
    "cut off in a file": (FORM, part("prompt") + part("image", b"x" * 99, "a.png")[:-50]),
    "cut off behind a part": (FORM, part("prompt") + part("model", b"test/edit")),
    "cut off in the last boundary": (FORM, part("prompt") + b"--b"),
    "a part without a name": (FORM, b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n" + END),
    "a part without a disposition": (FORM, b"--b\r\nContent-Type: text/plain\r\n\r\nx\r\n" + END),
    "too many heads": (FORM, b"--b\r\n" + b"X: y\r\n" * 5000 + b"\r\nx\r\n" + END),
    "too many fields": (FORM, b"".join(part(f"f{n}") for n in range(101)) + END),
    "too many files": (FORM, b"".join(part(f"f{n}", filename="a.png") for n in range(18)) + END),
    "a field that is too large": (FORM, part("prompt", b"x" * ((1 << 20) + 1)) + END),
}  # fmt: skip


def ask(asked: Surface, path: str, kind: str, body: bytes) -> Any:
    headers: Any = {"content-type": kind.encode("latin-1")}
    return asked.send("POST", path, content=body, headers=headers)


def api_of(path: str) -> str:
    return "jobs" if path.startswith("/api/") else "openai"


@pytest.mark.parametrize("why", UNREADABLE)
def test_a_form_that_cannot_be_read_is_refused(why: str, asked: Surface) -> None:
    for path in LACKS:
        answer = ask(asked, path, *UNREADABLE[why])
        bad = Told(422, "value_error", "body") if api_of(path) == "jobs" else Told(400, "invalid_input", "body")
        assert told(api_of(path), answer) == bad, (path, answer.text)


@pytest.mark.parametrize("path", LACKS)
def test_an_empty_form_is_told_what_it_lacks(path: str, asked: Surface) -> None:
    for kind, body in ((FORM, END), ("multipart/mixed; boundary=b", part("file", filename="a.png") + END)):
        answer = ask(asked, path, kind, body)
        jobs = api_of(path) == "jobs"
        lacks = Told(422, "missing", "file") if jobs else Told(400, "invalid_input", LACKS[path])
        assert told(api_of(path), answer) == lacks, answer.text


@pytest.mark.parametrize("path", LACKS)
def test_a_file_is_bounded_and_not_empty(path: str, asked: Surface) -> None:
    jobs = api_of(path) == "jobs"
    for size, field in ((MOST_FILE_BYTES + 1, "file"), (MOST_FILE_BYTES + FORM_BYTES + 1, "body")):
        answer = ask(asked, path, FORM, part("file", b"x" * size, "a.png") + END)
        assert told(api_of(path), answer) == (Told(413, "") if jobs else Told(413, "payload_too_large", field))
    answer = ask(asked, path, FORM, part("file", b"", "a.png") + END)
    empty = Told(422, "value_error", "file") if jobs else Told(400, "invalid_input", "file")
    assert told(api_of(path), answer) == empty, answer.text


@pytest.mark.parametrize("path", LACKS)
def test_what_is_no_form_is_taken_as_json_or_not_at_all(path: str, asked: Surface) -> None:
    for kind, body in (("application/json", b"x"), ("text/plain", b"x"), ("image/png", b"\x89PNG")):
        answer = ask(asked, path, kind, body)
        if path in TAKES_JSON:
            assert told("openai", answer) == Told(400, "invalid_input", "body"), answer.text
        elif api_of(path) == "jobs":
            assert told("jobs", answer) == Told(415, ""), answer.text
        else:
            assert told("openai", answer) == Told(415, "unsupported_media_type", "Content-Type"), answer.text
