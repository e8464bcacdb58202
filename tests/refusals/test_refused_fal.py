"""What is fal's alone: uploads in parts and whole, permissions whose time is over, prompts for conversations."""

import socket
import time
from typing import Any

import httpx2
import pytest
from refusal_calls import PNG, Told, told
from refusal_house import MOST_BYTES, MOST_FILE_BYTES, Surface

from calotype.dialects.fal.tickets import Ticket, Tickets
from calotype.dialects.fal.tokens import Pass, _encode
from calotype.kernel.clock import SystemClock

CDN = "/fal/cdn"
GONE = Told(404, "not_found")
BAD = Told(400, "bad_request")


def tickets(asked: Surface) -> Tickets:
    return Tickets(asked.house.app.secrets.get("fal_tickets"), SystemClock())


def ticket(asked: Surface, kind: Any, left_s: int = 60) -> str:
    """Make a permission as the server does, with an end of our own."""
    until_s = int(time.time()) + left_s
    ident = "file_" + "0" * 32
    return tickets(asked).issue(Ticket(kind, asked.account.org.id, ident, "a.png", until_s))


def put(asked: Surface, path: str, body: Any = PNG) -> httpx2.Response:
    return asked.http.put(CDN + path, content=body)


@pytest.mark.parametrize("number", ["0", "10001", "00000", "99999"])
def test_a_part_has_a_number_that_counts(number: str, asked: Surface) -> None:
    own = ticket(asked, "parts")
    for path in (f"/upload/{own}/{number}", f"/files/t/a.png/multipart/{own}/{number}"):
        assert told("fal", put(asked, path)) == Told(422, "value_error", "part_number")
    for odd in ("x", "-1", "1.5", "%C2%B2", "999999", ""):
        answer = put(asked, f"/upload/{own}/{odd}")
        assert answer.status_code in (404, 422), answer.text


COMPLETIONS: list[tuple[bytes, Told]] = [
    *((raw, Told(422, "value_error", "parts")) for raw in (
        b"", b"{", b"[]", b"null", b"\xff", b"{}", b'{"parts": null}', b'{"parts": {}}', b'{"parts": [1]}',
        b'{"parts": []}', b'{"parts": [{"partNumber": 1}]}', b'{"parts": [{"partNumber": "1", "etag": "x"}]}',
        b'{"parts": [{"partNumber": 1, "etag": 1}]}', b'{"parts": [{"partNumber": 1, "etag": "x"}]}',
        b'{"parts": [{"partNumber": 99999999999999999999, "etag": "x"}]}',
        b'{"parts": [{"partNumber": -1, "etag": ""}]}', b"[" * 100_000,
    )),
    (b" " * (MOST_BYTES + 1), Told(413, "payload_too_large")),
]  # fmt: skip


def test_parts_are_put_together_only_from_what_was_sent(asked: Surface) -> None:
    own = ticket(asked, "parts")
    for raw, expected in COMPLETIONS:
        for path in (f"/upload/{own}/complete", f"/files/t/a.png/multipart/{own}/complete"):
            answer = asked.http.post(CDN + path, content=raw)
            assert told("fal", answer) == expected, (raw[:60], answer.text)


def test_a_permission_whose_time_is_over_is_none(asked: Surface) -> None:
    over = {kind: ticket(asked, kind, -1) for kind in ("put", "parts", "cdn", "file")}
    good = {kind: ticket(asked, kind) for kind in ("put", "parts", "cdn", "file")}
    for put_it in (over["put"], good["parts"], good["cdn"], good["file"], "x", "A" * 9000):
        assert told("fal", put(asked, f"/upload/{put_it}")) == GONE
    for parts in (over["parts"], good["put"], good["cdn"], "x"):
        assert told("fal", put(asked, f"/upload/{parts}/1")) == GONE
        assert told("fal", asked.http.post(f"{CDN}/upload/{parts}/complete", json={"parts": []})) == GONE
    for file in (over["file"], good["put"], "x"):
        assert told("fal", asked.http.get(f"{CDN}/files/{file}/a.png")) == GONE
    for cdn in (over["cdn"], good["put"], "x"):
        answer = asked.http.post(f"{CDN}/files/upload", content=PNG, headers={"authorization": f"Bearer {cdn}"})
        assert told("fal", answer) == Told(401, "unauthorized")


def test_a_file_is_bounded_whether_its_size_is_said_or_not(asked: Surface) -> None:
    def pieces() -> Any:
        for _ in range(MOST_FILE_BYTES // 65_536 + 1):
            yield b"x" * 65_536

    for body in (b"x" * (MOST_FILE_BYTES + 1), pieces()):
        answer = asked.send("POST", f"{CDN}/files/upload", content=body)
        assert told("fal", answer) == Told(413, "payload_too_large"), answer.text
    for path in (f"/upload/{ticket(asked, 'put')}", f"/upload/{ticket(asked, 'parts')}/1"):
        for body in (b"x" * (MOST_FILE_BYTES + 1), pieces()):
            assert told("fal", put(asked, path, body)) == Told(413, "payload_too_large")
    assert told("fal", asked.send("POST", f"{CDN}/files/upload", content=b"")) == Told(422, "value_error", "file")
    assert told("fal", put(asked, f"/upload/{ticket(asked, 'put')}", b"")) == Told(422, "value_error", "file")
    packed = asked.send("POST", f"{CDN}/files/upload", content=b"\x1f\x8b", headers={"content-encoding": "gzip"})
    assert told("fal", packed) == Told(415, "unsupported_media_type")


def test_an_upload_that_breaks_off_leaves_nothing(asked: Surface) -> None:
    folder = asked.house.app.store.temp_path().parent
    for path in (f"/upload/{ticket(asked, 'put')}", f"/upload/{ticket(asked, 'parts')}/1"):
        with socket.create_connection(("127.0.0.1", asked.house.port), timeout=30) as wire:
            head = f"PUT {CDN}{path} HTTP/1.1\r\nhost: x\r\ncontent-length: 500000\r\n\r\n"
            wire.sendall(head.encode() + b"x" * 200_000)
    assert asked.send("GET", "/readyz").status_code == 200
    until_s = time.monotonic() + 30
    while list(folder.iterdir()):
        assert time.monotonic() < until_s, list(folder.iterdir())
        time.sleep(0.01)


@pytest.mark.parametrize(
    ("given", "field"),
    [
        ({"image_urls": 5}, "image_urls"), ({"image_urls": True}, "image_urls"),
        ({"image_urls": {"a": 1}}, "image_urls"), ({"image_urls": [5]}, "image_urls"),
        ({"image_urls": [{"url": None}]}, "image_urls"), ({"system_prompt": 5}, "system_prompt"),
        ({"system_prompt": {"a": 1}}, "system_prompt"), ({"prompt": 5}, "messages"), ({"prompt": None}, "messages"),
        ({"messages": "hi"}, "messages"), ({"messages": [5]}, "messages.0"), ({"max_tokens": 0}, "max_tokens"),
    ],
)  # fmt: skip
def test_a_conversation_from_a_prompt_names_the_field_that_is_wrong(
    given: dict[str, Any], field: str, asked: Surface
) -> None:
    answer = asked.send("POST", "/fal/queue/test/chat", json={"prompt": "hi", **given})
    found = told("fal", answer)
    assert (found.status, found.field) == (422, field), answer.text


def test_a_token_that_is_no_token_streams_nothing(asked: Surface) -> None:
    over = tickets(asked).passes.close(_encode(Pass(asked.plain_id, ("picture",), int(time.time()) - 1)))
    elsewhere = tickets(asked).passes.close(_encode(Pass(asked.plain_id, ("other",), int(time.time()) + 60)))
    for text in (over, elsewhere, "", "x", "A" * 9000, ticket(asked, "cdn")):
        answer = asked.http.post(f"/fal/run/test/picture/stream?fal_jwt_token={text}", json={"prompt": "x"})
        assert told("fal", answer) == Told(401, "unauthorized"), answer.text


TARGETS = (
    "https://evil.example/", "http://fal.run/x", "https://fal.run:444/x", "https://fal.run:99999/x", "https://[::1",
    "https://user@fal.run/x", "https://fal.run@evil.example/x", "//fal.run/x", "fal.run", "https://fal.run.evil.example",
    "file:///etc/passwd", "", "https://auth.fal.ai/x", "https://\xff.fal.run/",
)  # fmt: skip


@pytest.mark.parametrize("target", [None, *TARGETS])
def test_the_proxy_leads_to_fals_names_only(target: str | None, asked: Surface) -> None:
    given = {} if target is None else {"x-fal-target-url": target.encode("latin-1")}
    for method in ("GET", "POST", "PUT", "DELETE"):
        answer = asked.http.request(method, "/api/fal/proxy", headers=given)  # type: ignore[arg-type]
        assert (answer.status_code, answer.json()["detail"]) == (400, "Invalid request")
