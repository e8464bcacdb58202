"""A caller's WebSocket as plain calls over the messages of ASGI."""

import asyncio
from typing import Any

import msgspec

from calotype.dialects.door import Receive, Scope, Send

GOING_ON, BROKEN, REFUSED, LATER = 1000, 1011, 1008, 1013
"""Codes of a close: all is well, our mistake, not allowed, try again later."""
MOST_REASON_BYTES = 120


class Socket:
    """One WebSocket; once the caller is gone, what is sent goes nowhere and what is read is None."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._receive = receive
        self._send = send
        self._can_answer = "websocket.http.response" in scope.get("extensions", {})
        self._accepted = False
        self.gone = asyncio.Event()
        """Set when the connection is closed, by whomever."""

    async def accept(self) -> None:
        """Take the connection."""
        self._accepted = True
        await self._put({"type": "websocket.accept"})

    async def refuse(self, status: int, headers: list[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer the handshake as a plain HTTP request that failed."""
        if self._accepted or not self._can_answer:
            await self.close(REFUSED)
            return
        length = (b"content-length", str(len(body)).encode())
        await self._put({"type": "websocket.http.response.start", "status": status, "headers": [*headers, length]})
        await self._put({"type": "websocket.http.response.body", "body": body})
        self.gone.set()

    async def receive(self) -> bytes | str | None:
        """Wait for the next message; None when there will be none."""
        while not self.gone.is_set():
            message = await self._receive()
            if message["type"] == "websocket.disconnect":
                self.gone.set()
            elif message["type"] == "websocket.receive":
                body: bytes | None = message.get("bytes")
                return body if body is not None else str(message["text"])
        return None

    async def say(self, message: bytes | str) -> bool:
        """Send a message; False when the caller had hung up before."""
        name = "bytes" if isinstance(message, bytes) else "text"
        return await self._put({"type": "websocket.send", name: message})

    async def tell(self, body: dict[str, Any]) -> bool:
        """Send JSON as text: control messages are always that (`wire/fal.md §6.3`)."""
        return await self.say(msgspec.json.encode(body).decode())

    async def close(self, code: int = GOING_ON, reason: str = "") -> None:
        """Close the connection, or refuse it before it was taken."""
        text = reason.encode()[:MOST_REASON_BYTES].decode(errors="ignore")
        await self._put({"type": "websocket.close", "code": code, "reason": text})
        self.gone.set()

    async def _put(self, message: dict[str, Any]) -> bool:
        if self.gone.is_set():
            return False
        try:
            await self._send(message)
        except (OSError, RuntimeError):  # uvicorn's ClientDisconnected, and what it says after a close of its own
            self.gone.set()
        return not self.gone.is_set()
