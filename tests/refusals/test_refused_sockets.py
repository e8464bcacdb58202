"""WebSockets that break the protocol: each is closed with the code RFC 6455 has for it, and nothing comes of it."""

import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from raw_socket import BINARY, CLOSE, HANDSHAKE, MORE, PING, PONG, TEXT, RawSocket, frame
from refusal_house import MOST_BYTES, Surface

REALTIME, CALLS = "/fal/run/test/picture/realtime", "/fal/ws/test/picture"
MOST_FRAME = 16 << 20
PROTOCOL, TEXT_ERROR, TOO_BIG = 1002, 1007, 1009
BROKEN: dict[str, tuple[tuple[bytes, ...], int]] = {
    "not masked": ((frame(TEXT, b"{}", masked=False),), PROTOCOL),
    "an opcode of data that is none": ((frame(3, b"{}"),), PROTOCOL),
    "an opcode of control that is none": ((frame(11),), PROTOCOL),
    "a ping in pieces": ((frame(PING, b"a", fin=False),), PROTOCOL),
    "a close in pieces": ((frame(CLOSE, fin=False),), PROTOCOL),
    "a pong that is too long": ((frame(PONG, b"a" * 126),), PROTOCOL),
    "a reserved bit": ((frame(TEXT, b"{}", reserved=4),), PROTOCOL),
    "every reserved bit": ((frame(BINARY, b"{}", reserved=7),), PROTOCOL),
    "a continuation of nothing": ((frame(MORE, b"{}"),), PROTOCOL),
    "a message inside another": ((frame(TEXT, b"{", fin=False), frame(TEXT, b"}")), PROTOCOL),
    "a close of one byte": ((frame(CLOSE, b"\x03"),), PROTOCOL),
    "a close with a code that is none": ((frame(CLOSE, b"\x03\xed"),), PROTOCOL),
    "a close with a code below all": ((frame(CLOSE, b"\x00\x01"),), PROTOCOL),
    "a text that is no UTF-8": ((frame(TEXT, b"\xff\xfe"),), TEXT_ERROR),
    "a text that ends within a character": ((frame(TEXT, b"\xc3", fin=False), frame(MORE, b"\x28")), TEXT_ERROR),
    "more than a frame may hold": ((frame(BINARY, b"", said=MOST_FRAME + 1),), TOO_BIG),
    "more than there is": ((frame(BINARY, b"", said=1 << 62),), TOO_BIG),
    "pieces that are more together": (
        (frame(BINARY, b"x", fin=False), frame(MORE, b"", said=MOST_FRAME)), TOO_BIG,
    ),
}  # fmt: skip


def opened(asked: Surface, path: str, **more: str) -> RawSocket:
    return RawSocket(asked.house.port, path, HANDSHAKE | {"Authorization": f"Key {asked.key}"} | more)


def settled(asked: Surface) -> None:
    """Wait until no session is open any more."""
    sessions: Any = asked.house.app.asgi._fal._desk.sessions  # type: ignore[attr-defined]
    until_s = time.monotonic() + 30
    while sessions._taken:
        assert time.monotonic() < until_s, sessions._taken
        time.sleep(0.01)


@pytest.mark.parametrize("path", [REALTIME, CALLS])
@pytest.mark.parametrize("why", BROKEN)
def test_a_frame_against_the_protocol_ends_its_session_with_the_right_code(why: str, path: str, asked: Surface) -> None:
    pieces, code = BROKEN[why]
    with opened(asked, path) as raw:
        assert raw.status == 101
        raw.send(*pieces)
        assert raw.close_code() == code
    settled(asked)


@pytest.mark.parametrize("path", [REALTIME, CALLS])
@pytest.mark.parametrize("piece", [b"", b"\x81", b"\x82\xfe", frame(TEXT, b'{"prompt"', said=400), frame(PING)[:3]])
def test_a_caller_who_leaves_in_the_middle_of_a_frame_leaves_nothing_behind(
    piece: bytes, path: str, asked: Surface
) -> None:
    with opened(asked, path) as raw:
        assert raw.status == 101
        raw.send(piece)
    settled(asked)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Sec-WebSocket-Version": "12"}, 400), ({"Sec-WebSocket-Key": "short"}, 400), ({"Sec-WebSocket-Key": ""}, 400),
        ({"Authorization": "Key a:b"}, 401), ({"Authorization": "Basic eA=="}, 401), ({"Authorization": ""}, 401),
        ({"X-PHI": "perhaps"}, 101), ({"Sec-WebSocket-Extensions": "permessage-deflate; bogus=7"}, 101),
        ({"Sec-WebSocket-Protocol": "x, y"}, 101),
    ],
)  # fmt: skip
def test_a_handshake_is_answered_as_a_request_is(changed: dict[str, str], status: int, asked: Surface) -> None:
    with opened(asked, REALTIME, **changed) as raw:
        assert raw.status == status
    settled(asked)


WRONG: list[tuple[Callable[[], bytes], str, int]] = [
    (lambda: frame(TEXT, b"no json"), "INVALID_INPUT", 400),
    (lambda: frame(TEXT, b"[]"), "INVALID_INPUT", 400),
    (lambda: frame(TEXT, b""), "INVALID_INPUT", 400),
    (lambda: frame(BINARY, b""), "INVALID_INPUT", 400),
    (lambda: frame(BINARY, b'{"prompt": "JSON in bytes"}'), "INVALID_INPUT", 400),
    (lambda: frame(BINARY, b"\xc1"), "INVALID_INPUT", 400),
    (lambda: frame(BINARY, b"\x81\xa6prompt"), "INVALID_INPUT", 400),
    (lambda: frame(BINARY, b"\x81\xa6prompt\xc4\x01x"), "INVALID_INPUT", 422),
    (lambda: frame(BINARY, b"\x81\xa6prompt\x05"), "INVALID_INPUT", 422),
    (lambda: frame(BINARY, b"\x80"), "INVALID_INPUT", 422),
    (lambda: frame(BINARY, b"\xdf\xff\xff\xff\xff"), "INVALID_INPUT", 400),
    (lambda: frame(BINARY, b"\x91" * 5000), "INVALID_INPUT", 400),
    (lambda: frame(TEXT, b'{"prompt": "' + b"x" * MOST_BYTES + b'"}'), "PAYLOAD_TOO_LARGE", 413),
]


def test_a_frame_that_does_not_fit_is_refused_and_the_session_goes_on(asked: Surface) -> None:
    with opened(asked, REALTIME) as raw:
        for made, word, status in WRONG:
            raw.send(made())
            opcode, body = raw.frame()
            told = json.loads(body)
            assert (opcode, told["type"], told["error"]) == (TEXT, "x-fal-error", word), body
            assert told["status"] == status and told["reason"] and told["detail"], body
        raw.send(frame(CLOSE, b"\x03\xe8"))
        assert raw.close_code() == 1000
    settled(asked)


def test_a_call_over_a_socket_is_refused_as_over_http(asked: Surface) -> None:
    with opened(asked, CALLS) as raw:
        for body, status in ((b"no json", 400), (b"[]", 400), (b"{}", 422), (b'{"prompt": 5}', 422), (b"\xff", 400)):
            raw.send(frame(BINARY if body == b"\xff" else TEXT, body))
            start, answer, end = (json.loads(raw.frame()[1]) for _ in range(3))
            assert (start["type"], start["status"], end["type"], end["status"]) == ("start", status, "end", status)
            assert start["request_id"] == end["request_id"] and answer["detail"] and answer["error"]["code"]
    settled(asked)


def test_the_listener_still_answers(asked: Surface) -> None:
    assert asked.send("GET", "/readyz").status_code == 200
