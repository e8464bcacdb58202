"""A WebSocket written by hand, so that it can break the protocol (RFC 6455)."""

import base64
import socket
import struct
from types import TracebackType

WAIT_S = 30
TEXT, BINARY, CLOSE, PING, PONG, MORE = 1, 2, 8, 9, 10, 0
HANDSHAKE = {
    "Host": "x", "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": base64.b64encode(b"0123456789abcdef").decode(),
}  # fmt: skip


def frame(
    opcode: int, body: bytes = b"", *, fin: bool = True, masked: bool = True, reserved: int = 0, said: int | None = None
) -> bytes:
    """Return a frame; `said` is the length that it announces where that is not its own."""
    length = len(body) if said is None else said
    mark = 0x80 if masked else 0
    head = bytes([(0x80 if fin else 0) | reserved << 4 | opcode])
    if length < 126:
        head += bytes([mark | length])
    elif length < 1 << 16:
        head += bytes([mark | 126]) + struct.pack("!H", length)
    else:
        head += bytes([mark | 127]) + struct.pack("!Q", length)
    key = b"\x11\x22\x33\x44" if masked else b""
    return head + key + bytes(byte ^ key[n % 4] for n, byte in enumerate(body)) if masked else head + body


class RawSocket:
    """A connection whose handshake was made, or refused."""

    def __init__(self, port: int, path: str, headers: dict[str, str]) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=WAIT_S)
        lines = [f"GET {path} HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items())]
        self.socket.sendall("\r\n".join([*lines, "", ""]).encode("latin-1"))
        self._read = b""
        while b"\r\n\r\n" not in self._read:
            self._more()
        head, _, self._read = self._read.partition(b"\r\n\r\n")
        self.status = int(head.split(b" ")[1])

    def __enter__(self) -> "RawSocket":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.socket.close()

    def send(self, *pieces: bytes) -> None:
        self.socket.sendall(b"".join(pieces))

    def frame(self) -> tuple[int, bytes]:
        """Wait for a frame and return its opcode and its body."""
        first, second = self._take(2)
        length = second & 0x7F
        if length == 126:
            (length,) = struct.unpack("!H", self._take(2))
        elif length == 127:
            (length,) = struct.unpack("!Q", self._take(8))
        assert not second & 0x80, "a server masks nothing"
        return first & 0x0F, self._take(length)

    def close_code(self) -> int:
        """Read on to the close and return its code; 0 where the connection just ends."""
        while True:
            try:
                opcode, body = self.frame()
            except ConnectionError:
                return 0
            if opcode == CLOSE:
                return int.from_bytes(body[:2], "big")

    def _take(self, size: int) -> bytes:
        while len(self._read) < size:
            self._more()
        taken, self._read = self._read[:size], self._read[size:]
        return taken

    def _more(self) -> None:
        piece = self.socket.recv(65536)
        if not piece:
            raise ConnectionError("the other side closed the connection")
        self._read += piece
