"""A webhook receiver on loopback: keeps what it was sent, answers as told, and waits when its gate is closed."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any

import msgspec
from aiohttp import web


@dataclass
class Received:
    """One delivery as it arrived; header names are lower case."""

    headers: dict[str, str]
    body: bytes

    @property
    def json(self) -> dict[str, Any]:
        return msgspec.json.decode(self.body)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass
class Receiver:
    """`answers` are used once each, then 204; `most` is how many deliveries were ever here at the same time."""

    answers: list[web.Response] = field(default_factory=list)
    got: list[Received] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    inside: int = 0
    most: int = 0
    url: str = ""

    def __post_init__(self) -> None:
        self.gate.set()
        self._arrived = asyncio.Condition()

    async def _handle(self, request: web.Request) -> web.Response:
        body = await request.read()
        self.inside += 1
        self.most = max(self.most, self.inside)
        try:
            async with self._arrived:
                self.got.append(Received({name.lower(): value for name, value in request.headers.items()}, body))
                self._arrived.notify_all()
            await self.gate.wait()
            return self.answers.pop(0) if self.answers else web.Response(status=204)
        finally:
            self.inside -= 1

    async def wait_for(self, count: int) -> None:
        """Wait until that many deliveries have arrived."""
        async with asyncio.timeout(20), self._arrived:
            await self._arrived.wait_for(lambda: len(self.got) >= count)

    async def start(self) -> "Receiver":
        app = web.Application()
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/hook"
        return self

    async def stop(self) -> None:
        self.gate.set()
        await self._runner.cleanup()


NewReceiver = Callable[[], Awaitable[Receiver]]
"""Starts one more receiver, which the test's fixture stops."""
