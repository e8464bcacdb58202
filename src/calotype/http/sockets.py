"""WebSockets to an upstream: opened once, used by one conversation at a time, and kept for a while between two."""

import asyncio
import contextlib
from collections import OrderedDict
from typing import Any

import aiohttp

KEEP_S = 30.0
"""How long a WebSocket that nobody uses is kept."""
MOST_KEPT = 500
READ_AHEAD = 16
READ_AHEAD_BYTES = 8 << 20
"""Nothing more is read while messages of so many bytes wait; the last of them may be larger than that alone."""
PING_S = 20.0
_TEXTS = (aiohttp.WSMsgType.TEXT, aiohttp.WSMsgType.BINARY)


class Broken(Exception):  # noqa: N818  (it names what the connection is)
    """The connection is closed, or no message came in time."""


class Line:
    """One open WebSocket. It is read all the time, so that its end is noticed while nobody listens."""

    def __init__(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self._socket = socket
        self._heard: asyncio.Queue[str | bytes | None] = asyncio.Queue(READ_AHEAD)
        self._waiting_bytes = 0
        self._room = asyncio.Event()
        self._room.set()
        self._ended = False
        self._reading = asyncio.create_task(self._read())

    @property
    def open(self) -> bool:
        """Whether it can be used."""
        return not self._ended and not self._socket.closed

    async def say(self, message: str | bytes) -> None:
        """Send a message.

        Raises:
            Broken: the connection is closed.

        """
        try:
            if isinstance(message, bytes):
                await self._socket.send_bytes(message)
            else:
                await self._socket.send_str(message)
        except (aiohttp.ClientError, OSError, RuntimeError):
            raise Broken from None

    async def hear(self, wait_s: float) -> str | bytes | None:
        """Return the next message; with `wait_s` 0 None where there is none yet.

        Raises:
            Broken: the connection is closed, or nothing came in time.

        """
        if not wait_s and self._heard.empty():
            if not self.open:
                raise Broken
            return None
        try:
            async with asyncio.timeout(wait_s or None):
                message = await self._heard.get()
        except TimeoutError:
            raise Broken from None
        if message is None:
            self._heard.put_nowait(None)  # the end stays the end
            raise Broken
        self._waiting_bytes -= len(message)
        if self._waiting_bytes < READ_AHEAD_BYTES:
            self._room.set()
        return message

    async def close(self) -> None:
        """Close the connection."""
        self._reading.cancel()
        with contextlib.suppress(aiohttp.ClientError, OSError, RuntimeError):
            await self._socket.close()

    async def _read(self) -> None:
        try:
            async for message in self._socket:
                if message.type not in _TEXTS:
                    break
                self._waiting_bytes += len(message.data)
                await self._heard.put(message.data)
                if self._waiting_bytes >= READ_AHEAD_BYTES:
                    self._room.clear()
                    await self._room.wait()
        finally:
            self._ended = True
            if self._heard.full():
                self._heard.get_nowait()
            self._heard.put_nowait(None)


def staying() -> aiohttp.TraceConfig:
    """Return what keeps a session where it was sent: aiohttp itself follows the redirect of a handshake, key and all.

    A handshake that is answered by one ends with `WSServerHandshakeError`.
    """
    config = aiohttp.TraceConfig()
    config.on_request_redirect.append(_stay)
    return config


async def _stay(_session: aiohttp.ClientSession, _context: object, moved: aiohttp.TraceRequestRedirectParams) -> None:
    moved.response.close()
    raise aiohttp.WSServerHandshakeError(
        moved.response.request_info, (), status=moved.response.status, message="the handshake was redirected"
    )


class Lines:
    """Open WebSockets that nobody uses at the moment, by name."""

    def __init__(self, keep_s: float = KEEP_S) -> None:
        self._keep_s = keep_s
        self._kept: OrderedDict[str, tuple[Line, Any]] = OrderedDict()
        self._closing: set[asyncio.Task[None]] = set()

    def take(self, name: str) -> Line | None:
        """Return the one that was kept under a name, if it is still open; it is the caller's now."""
        found = self._kept.pop(name, None)
        if found is None:
            return None
        line, timer = found
        timer.cancel()
        if line.open:
            return line
        self.let_go(line)
        return None

    def keep(self, name: str, line: Line) -> None:
        """Take one back for whoever asks for the name next."""
        self.drop(name)
        while len(self._kept) >= MOST_KEPT:
            self.drop(next(iter(self._kept)))
        timer = asyncio.get_running_loop().call_later(self._keep_s, self.drop, name)
        self._kept[name] = (line, timer)

    def drop(self, name: str) -> None:
        """Close what is kept under a name."""
        if (found := self._kept.pop(name, None)) is not None:
            found[1].cancel()
            self.let_go(found[0])

    def let_go(self, line: Line) -> None:
        """Close a connection without waiting for the other side to agree."""
        task = asyncio.create_task(line.close())
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)

    async def close(self) -> None:
        """Close all of them."""
        for name in tuple(self._kept):
            self.drop(name)
        await asyncio.gather(*self._closing, return_exceptions=True)
