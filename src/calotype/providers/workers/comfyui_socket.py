"""What a ComfyUI server says while it works: progress and previews over its WebSocket (`wire/comfyui.md §3`).

A hint, never the truth: sockets fall silent while jobs still finish, and nothing is replayed. There is one for each
process and worker, with a client id of its own, and only while there is something to hear.
"""

import asyncio
import contextlib
import struct
import uuid
from collections.abc import Callable, Mapping
from typing import Any

import aiohttp
import msgspec
import structlog

from calotype.http.sockets import staying
from calotype.kernel.outcome import Delta
from calotype.kernel.steps import NOT_JSON
from calotype.providers.base import unheard
from calotype.providers.workers.member import Member

log = structlog.get_logger(__name__)

IDLE_S = 30.0
HEARTBEAT_S = 20.0
OPEN_S = 3.0
MAX_MESSAGE_BYTES = 32 << 20
AGAIN_S = (0.2, 1.0, 5.0)
_HELLO = {"type": "feature_flags", "data": {"supports_preview_metadata": True}}
_ENDS = (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED, aiohttp.WSMsgType.CLOSING, aiohttp.WSMsgType.ERROR)
_PICTURES = {1: "image/jpeg", 2: "image/png"}


class Watch:
    """What was heard of one prompt. `weights` share the progress among the nodes of its graph."""

    def __init__(self, prompt_id: str, weights: Mapping[str, float], on_delta: Callable[[Delta], None]) -> None:
        self.prompt_id = prompt_id
        self.ended = False
        self._weights = weights
        self._total = sum(weights.values()) or 1.0
        self._done: dict[str, float] = {}
        self._on_delta = on_delta
        self._news = asyncio.Event()

    @property
    def fraction(self) -> float:
        """How much is done, from 0 to 1."""
        return min(1.0, sum(self._weights.get(node, 0.0) * part for node, part in self._done.items()) / self._total)

    def heard(self, node: str, part: float) -> None:
        """Note how far a node is."""
        self._done[node] = max(self._done.get(node, 0.0), min(1.0, part))

    def end(self) -> None:
        """Note that the server has written the history of this prompt: now there is something to read."""
        self.ended = True
        self._news.set()

    def show(self, picture: bytes, content_type: str) -> None:
        """Pass a preview on."""
        self._on_delta(Delta("preview", body=picture, content_type=content_type))

    async def wait(self, within_s: float) -> None:
        """Wait for the end to be announced, at most so long."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within_s):
                await self._news.wait()


class Ear:
    """The socket to one worker, open while there are watches."""

    def __init__(self, url: str, headers: dict[str, str], client_id: str) -> None:
        self.client_id = client_id
        self.place = (url, headers)
        self.connected = False
        self._failed = False
        self._url = f"{url}/ws?clientId={client_id}"
        self._headers = headers
        self._watches: dict[str, Watch] = {}
        self._current: Watch | None = None
        self._task: asyncio.Task[None] | None = None
        self._open = asyncio.Event()

    def watch(self, prompt_id: str, weights: Mapping[str, float], on_delta: Callable[[Delta], None] = unheard) -> Watch:
        """Begin to listen to a prompt; a second word about the same one changes nothing."""
        watch = self._watches.get(prompt_id)
        if watch is None:
            watch = self._watches[prompt_id] = Watch(prompt_id, weights, on_delta)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._listen())
        return watch

    def of(self, prompt_id: str) -> Watch | None:
        """Return what was heard of a prompt; None where nobody listens to it."""
        return self._watches.get(prompt_id)

    def drop(self, prompt_id: str) -> None:
        """Stop listening to a prompt."""
        self._watches.pop(prompt_id, None)

    async def opened(self) -> None:
        """Wait a moment for the socket, unless it failed before: a server tells nothing of what happened earlier."""
        if self._failed:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(OPEN_S):
                await self._open.wait()

    async def close(self) -> None:
        """Hang up."""
        self._watches.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def _listen(self) -> None:
        failures = 0
        while self._watches:
            try:
                async with (
                    aiohttp.ClientSession(cookie_jar=aiohttp.DummyCookieJar(), trace_configs=[staying()]) as session,
                    session.ws_connect(
                        self._url, headers=self._headers, heartbeat=HEARTBEAT_S, max_msg_size=MAX_MESSAGE_BYTES
                    ) as socket,
                ):
                    failures, self._failed = 0, False
                    await socket.send_json(_HELLO)
                    await self._hear(socket)
            except (aiohttp.ClientError, OSError, TimeoutError) as error:
                log.debug("worker_socket", error=type(error).__name__)
                self._failed = not self.connected
            self.connected = False
            self._open.clear()
            if self._watches:
                await asyncio.sleep(AGAIN_S[min(failures, len(AGAIN_S) - 1)])
                failures += 1

    async def _hear(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        self.connected = True
        self._open.set()
        while True:
            try:
                message = await socket.receive(timeout=IDLE_S)
            except TimeoutError:
                if not self._watches:
                    return
                continue
            if message.type is aiohttp.WSMsgType.TEXT:
                self._text(message.data)
            elif message.type is aiohttp.WSMsgType.BINARY:
                self._binary(message.data)
            elif message.type in _ENDS:
                return

    def _text(self, text: str) -> None:
        try:
            message = msgspec.json.decode(text)
        except NOT_JSON:
            return
        if not isinstance(message, dict) or not isinstance(told := message.get("data"), dict):
            return
        watch = self._watches.get(str(told.get("prompt_id")))
        if watch is None:
            return
        match message.get("type"):
            case "execution_cached":
                for node in told.get("nodes") or ():
                    watch.heard(str(node), 1.0)
            case "progress_state":
                _state(watch, told.get("nodes"))
            case "progress":
                watch.heard(str(told.get("node")), _part(told))
            case "executing":
                self._current = watch if told.get("node") is not None else None
                if told.get("node") is None:  # comes after the history was written, unlike execution_success
                    watch.end()

    def _binary(self, frame: bytes) -> None:
        """Read a preview: type 4 names its prompt, type 1 belongs to the one that runs (§3)."""
        if len(frame) < 8:
            return
        kind, second = struct.unpack_from(">II", frame)
        if kind == 1 and self._current is not None and second in _PICTURES:
            self._current.show(frame[8:], _PICTURES[second])
        elif kind == 4 and len(frame) > 8 + second:
            try:
                told = msgspec.json.decode(frame[8 : 8 + second])
            except NOT_JSON:
                return
            watch = self._watches.get(str(told.get("prompt_id"))) if isinstance(told, dict) else None
            if watch is not None:
                watch.show(frame[8 + second :], str(told.get("image_type") or "image/jpeg"))


class Ears:
    """The sockets of this process, one for each worker; their client ids are nobody else's (§3)."""

    def __init__(self) -> None:
        self._client = uuid.uuid4().hex[:12]
        self._ears: dict[str, Ear] = {}

    def of(self, member: Member) -> Ear:
        """Return the ear at a worker."""
        ear = self._ears.get(member.worker.id)
        url = "ws" + member.worker.url.removeprefix("http")
        if ear is None or ear.place != (url, member.headers):
            ear = self._ears[member.worker.id] = Ear(url, member.headers, f"calotype-{self._client}")
        return ear

    def drop(self, member: Member, prompt_id: str) -> None:
        """Stop listening to a prompt."""
        if (ear := self._ears.get(member.worker.id)) is not None:
            ear.drop(prompt_id)

    async def close(self) -> None:
        """Hang up everywhere."""
        await asyncio.gather(*(ear.close() for ear in self._ears.values()))


def _state(watch: Watch, nodes: Any) -> None:
    for node, told in nodes.items() if isinstance(nodes, dict) else ():
        if isinstance(told, dict):
            watch.heard(str(node), 1.0 if told.get("state") == "finished" else _part(told) * 0.99)


def _part(told: dict[str, Any]) -> float:
    value, most = told.get("value"), told.get("max")
    if not isinstance(value, int | float) or not isinstance(most, int | float) or most <= 0:
        return 0.0
    return value / most
