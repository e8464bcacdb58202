"""What is sent before a request is one: bounded in bytes and in time, for it costs memory before a key is asked for."""

import contextlib
import select
import socket
import time
from collections.abc import Iterator

import pytest
from refusal_house import Surface

from calotype import listener

PIECE = 60_000
ENDLESS: dict[str, tuple[bytes, bytes]] = {
    "heads": (b"GET /healthz HTTP/1.1\r\nhost: x\r\n", b"x-y: " + b"y" * PIECE + b"\r\n"),
    "one head": (b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-y: ", b"y" * PIECE),
    "the name of a head": (b"GET /healthz HTTP/1.1\r\nhost: x\r\n", b"y" * PIECE),
    "an address": (b"GET /", b"y" * PIECE),
    "trailers": (
        b"POST /v1/files HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n",
        b"x-y: " + b"y" * PIECE + b"\r\n",
    ),
    "the extension of a chunk": (
        b"POST /v1/files HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\n\r\n1;a=", b"y" * PIECE,
    ),
}  # fmt: skip


@pytest.fixture
def wire(asked: Surface) -> Iterator[socket.socket]:
    with socket.create_connection(("127.0.0.1", asked.house.port), timeout=30) as one:
        yield one


@pytest.mark.parametrize("what", ENDLESS)
def test_nobody_sends_endless(what: str, wire: socket.socket) -> None:
    beginning, piece = ENDLESS[what]
    wire.sendall(beginning)
    answer, sent, ended = b"", 0, True
    with contextlib.suppress(ConnectionError):  # a close that leaves what was sent unread resets the connection
        while b" 431 " not in answer and sent < 1000 * PIECE:
            readable, writable, _ = select.select([wire], [wire], [], 30)
            if readable:
                answer += wire.recv(65536)
            elif writable:
                sent += wire.send(piece)
        ended = b"HTTP/1.1 431 " in answer
    assert ended and sent < 1000 * PIECE, answer[:200]


def test_long_heads_and_bodies_of_many_pieces_are_no_matter(asked: Surface, wire: socket.socket) -> None:
    assert asked.http.get("/healthz", headers={"x-long": "y" * 100_000}).status_code == 200
    body = b"".join(b"1\r\n \r\n" for _ in range(50_000)) + b"0\r\n\r\n"
    head = f"POST /fal/run/test/picture HTTP/1.1\r\nhost: x\r\nauthorization: Key {asked.key}\r\n"
    wire.sendall(f"{head}transfer-encoding: chunked\r\n\r\n".encode() + body)
    assert wire.recv(65536).startswith(b"HTTP/1.1 422 "), "a body of blanks lacks its prompt"


@pytest.mark.parametrize("before", [b"", b"G", b"GET /healthz HTTP/1.1\r\nhost: x\r\nx-y"])
def test_a_head_that_never_ends_is_not_waited_for(
    before: bytes, asked: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "HEAD_S", 0.1)
    for first in (b"", b"GET /healthz HTTP/1.1\r\nhost: x\r\n\r\n"):
        if first and not before:
            continue  # a connection that was used may be idle
        with socket.create_connection(("127.0.0.1", asked.house.port), timeout=30) as wire:
            wire.sendall(first)
            if first:
                assert wire.recv(65536).startswith(b"HTTP/1.1 200 ")
            wire.sendall(before)
            assert wire.recv(65536).startswith(b"HTTP/1.1 408 ")
            assert wire.recv(65536) == b""


@pytest.mark.parametrize(
    "head",
    [
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: 50",
        "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ntransfer-encoding: chunked",
        "POST /v1/files HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: 500\r\n"
        "content-type: multipart/form-data; boundary=b",
    ],
)
@pytest.mark.parametrize("begun", [b"", b"--b\r\n"])
def test_a_body_that_falls_silent_is_not_waited_for(
    head: str, begun: bytes, asked: Surface, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(listener, "BODY_S", 0.3)
    with socket.create_connection(("127.0.0.1", asked.house.port), timeout=30) as wire:
        piece = b"5\r\n" + begun + b"\r\n" if begun and "chunked" in head else begun
        wire.sendall(head.format(key=asked.key).encode() + b"\r\n\r\n" + piece)
        assert wire.recv(65536).startswith(b"HTTP/1.1 408 ")
        assert wire.recv(65536) == b""


def test_a_slow_body_that_goes_on_is_waited_for(asked: Surface, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "BODY_S", 3.0)
    body = b'{"model": "nobody/knows", "messages": [{"role": "user", "content": "hi"}]}'
    head = "POST /v1/chat/completions HTTP/1.1\r\nhost: x\r\nauthorization: Bearer {key}\r\ncontent-length: {size}"
    with socket.create_connection(("127.0.0.1", asked.house.port), timeout=30) as wire:
        wire.sendall(head.format(key=asked.key, size=len(body)).encode() + b"\r\n\r\n")
        for at in range(0, len(body), 8):
            time.sleep(0.4)
            wire.sendall(body[at : at + 8])
        assert wire.recv(65536).startswith(b"HTTP/1.1 404 ")


GARBAGE = [
    b"\x00\x01\x02\r\n\r\n", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", b"G ET /healthz HTTP/1.1\r\n\r\n",
    b"GET /healthz HTTP/9.9\r\nhost: x\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    b"GET /healthz HTTP/1.1\r\nhost: x\r\na: b\x00c\r\n\r\n", b"GET /healthz HTTP/1.1\r\nhost: x\r\na: b\r\n c\r\n\r\n",
    b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: -1\r\n\r\n",
    b"POST /v1/files HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n{}",
    b"POST /v1/files HTTP/1.1\r\nhost: x\r\ntransfer-encoding: chunked\r\ncontent-length: 2\r\n\r\n0\r\n\r\n",
    b"CONNECT fal.run:443 HTTP/1.1\r\nhost: fal.run\r\n\r\n",
]  # fmt: skip


@pytest.mark.parametrize("raw", GARBAGE)
def test_what_is_no_http_is_refused(raw: bytes, wire: socket.socket) -> None:
    wire.sendall(raw)
    assert wire.recv(65536).startswith(b"HTTP/1.1 400 ")
