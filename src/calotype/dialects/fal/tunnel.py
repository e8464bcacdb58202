"""A forward proxy that leads to fal's names only, and to this server behind them (`wire/fal.md §12.3`).

It answers `CONNECT fal.run:443`, ends TLS itself and hands the connection to the listener's own HTTP protocol. Every
other host is refused: it is never an open proxy, and nothing is forwarded anywhere.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import cast

import structlog

from calotype.dialects.fal.places import HOSTS

log = structlog.get_logger(__name__)

PORT = 443
MAX_HEAD_BYTES = 8192
HEAD_S = 10.0
HANDSHAKE_S = 20.0
_END = b"\r\n\r\n"

ProtocolFactory = Callable[[], asyncio.Protocol]


class Tunnel:
    """Listens until it is closed; `protocol` makes what serves HTTP on a connection whose TLS was ended."""

    def __init__(self, context: ssl.SSLContext, protocol: ProtocolFactory) -> None:
        self._context = context
        self._protocol = protocol
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def start(self, listening: socket.socket) -> None:
        """Begin to take connections on a bound socket."""
        self._server = await asyncio.get_running_loop().create_server(lambda: _Connect(self), sock=listening)

    async def close(self) -> None:
        """Take no more connections; those that were handed over are the listener's."""
        if self._server is not None:
            self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def hand_over(self, transport: asyncio.Transport, before: "_Connect") -> None:
        """End TLS on a connection and let the listener's protocol have it."""
        task = asyncio.create_task(self._hand_over(transport, before))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _hand_over(self, transport: asyncio.Transport, before: "_Connect") -> None:
        protocol = self._protocol()
        loop = asyncio.get_running_loop()
        try:
            inside = await loop.start_tls(
                transport, before, self._context, server_side=True, ssl_handshake_timeout=HANDSHAKE_S
            )
        except (OSError, TimeoutError) as error:  # an untrusting client among them
            log.info("tunnel_handshake_failed", error=type(error).__name__)
            transport.abort()
            return
        if inside is None or inside.is_closing():
            return
        inside.set_protocol(protocol)
        protocol.connection_made(inside)
        if before.early:
            protocol.data_received(before.early)


class _Connect(asyncio.Protocol):
    """Reads the head of one CONNECT request."""

    def __init__(self, tunnel: Tunnel) -> None:
        self._tunnel = tunnel
        self._head = b""
        self._done = False
        self.early = b""
        """What came inside TLS before the listener's protocol took over."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)  # uvloop's own class is not derived from it
        self._patience = asyncio.get_running_loop().call_later(HEAD_S, self._transport.abort)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._patience.cancel()

    def data_received(self, data: bytes) -> None:
        if self._done:
            self.early += data
            return
        self._head += data
        head, end, rest = self._head.partition(_END)
        if not end:
            if len(self._head) > MAX_HEAD_BYTES:
                self._refuse(b"431 Request Header Fields Too Large", "The request is too long.")
            return
        self._done = True
        self._patience.cancel()
        words = head.partition(b"\r\n")[0].split(b" ")
        if len(words) != 3 or words[0] != b"CONNECT":
            self._refuse(b"405 Method Not Allowed", "This proxy takes CONNECT only: set it as HTTPS_PROXY.")
        elif rest or not leads_to_fal(words[1].decode("latin-1")):
            self._refuse(b"403 Forbidden", "This proxy leads to fal's host names on port 443 only; set NO_PROXY.")
        else:
            self._transport.pause_reading()  # the next bytes are TLS
            self._transport.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            self._tunnel.hand_over(self._transport, self)

    def _refuse(self, status: bytes, sentence: str) -> None:
        self._done = True
        body = sentence.encode()
        size = str(len(body)).encode()
        head = b"HTTP/1.1 " + status + b"\r\ncontent-type: text/plain\r\ncontent-length: " + size
        self._transport.write(head + b"\r\nconnection: close\r\n\r\n" + body)
        self._transport.close()


def leads_to_fal(target: str) -> bool:
    """Say whether a CONNECT target is one of fal's names on the port of HTTPS."""
    host, colon, port = target.rpartition(":")
    return colon == ":" and port == str(PORT) and host.lower() in HOSTS
