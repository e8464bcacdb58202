"""WebSockets of the emulated ComfyUI, with their traps: one socket a client id, taken over, and silent when told to.

Nothing is replayed, and a socket that was taken over takes the new one's registration with it when it closes, as on
the real server (`wire/comfyui.md §3`).
"""

import asyncio
import contextlib
import struct
import uuid
from typing import Any

import msgspec
from starlette.websockets import WebSocket, WebSocketDisconnect

from calotype.sandbox import media

FEATURES = {"supports_preview_metadata": True, "max_upload_size": 104_857_600}
PNG = 2


class Socket:
    """One connection; `flags` are what its client said it can take."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[str | bytes | None] = asyncio.Queue()
        self.flags: dict[str, Any] = {}

    def put(self, message: str | bytes | None) -> None:
        """Send a message; None closes the connection."""
        self.waiting.put_nowait(message)


class Sockets:
    """Every open connection, and which of them a client id means."""

    def __init__(self) -> None:
        self.by_id: dict[str, Socket] = {}
        self.open: set[Socket] = set()

    def tell(self, event: str, facts: dict[str, Any], client_id: str | None) -> None:
        """Send an event to one client, or to all with None."""
        text = msgspec.json.encode({"type": event, "data": facts}).decode()
        for socket in self._of(client_id):
            socket.put(text)

    def preview(self, node: str, prompt_id: str, client_id: str | None) -> None:
        """Send a picture as it stands: with its job's id where the client can take that (§3, types 1 and 4)."""
        picture = media.png(64, 64, f"{prompt_id}{node}")
        for socket in self._of(client_id):
            if not socket.flags.get("supports_preview_metadata"):
                socket.put(struct.pack(">II", 1, PNG) + picture)
                continue
            facts = {
                "node_id": node, "prompt_id": prompt_id, "display_node_id": node, "parent_node_id": None,
                "real_node_id": node, "image_type": "image/png",
            }  # fmt: skip
            head = msgspec.json.encode(facts)
            socket.put(struct.pack(">II", 4, len(head)) + head + picture)

    def silence(self) -> None:
        """Leave connections open and say nothing on them any more."""
        self.by_id.clear()

    def drop(self) -> None:
        """Close every connection."""
        for socket in self.open:
            socket.put(None)

    async def serve(self, connection: WebSocket, status: dict[str, Any], running: str | None) -> None:
        """Serve one connection to its end; `running` is the node that runs for this very client, if any."""
        await connection.accept()
        sid = connection.query_params.get("clientId") or uuid.uuid4().hex
        socket = Socket()
        self.open.add(socket)
        self.by_id[sid] = socket
        self.tell("status", {**status, "sid": sid}, sid)
        if running is not None:
            self.tell("executing", {"node": running}, sid)
        pump = asyncio.create_task(_pump(connection, socket))
        listen = asyncio.create_task(self._listen(connection, socket, sid))
        try:
            await asyncio.wait((pump, listen), return_when=asyncio.FIRST_COMPLETED)
        finally:
            self.open.discard(socket)
            self.by_id.pop(sid, None)
            for task in (pump, listen):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError, WebSocketDisconnect, RuntimeError):
                    await task

    async def _listen(self, connection: WebSocket, socket: Socket, sid: str) -> None:
        """Take the flags that a client may send as its first message."""
        first = True
        while (message := await connection.receive())["type"] != "websocket.disconnect":
            text = message.get("text")
            with contextlib.suppress(msgspec.DecodeError):
                said = msgspec.json.decode(text or "null")
                if first and isinstance(said, dict) and said.get("type") == "feature_flags":
                    socket.flags = said.get("data", {})
                    self.tell("feature_flags", FEATURES, sid)
            first = False

    def _of(self, client_id: str | None) -> list[Socket]:
        if client_id is None:
            return list(self.by_id.values())
        found = self.by_id.get(client_id)
        return [] if found is None else [found]


async def _pump(connection: WebSocket, socket: Socket) -> None:
    while (message := await socket.waiting.get()) is not None:
        if isinstance(message, bytes):
            await connection.send_bytes(message)
        else:
            await connection.send_text(message)
    await connection.close()
