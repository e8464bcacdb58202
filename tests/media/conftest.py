"""A real store and a real server to download from."""

from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from aiohttp import web

from calotype.http import Guard
from calotype.kernel import points
from calotype.media.local import LocalStore


@pytest.fixture
async def files(tmp_path: Path) -> AsyncIterator[LocalStore]:
    made = LocalStore(tmp_path / "media")
    yield made
    await made.close()


@pytest.fixture
async def guard() -> AsyncIterator[Guard]:
    made = Guard(["127.0.0.1"])
    yield made
    await made.close()


@pytest.fixture
def at_points(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Note the crash points that are passed."""
    passed: list[str] = []
    monkeypatch.setattr(points, "on_point", passed.append)
    return passed


@pytest.fixture
async def serve() -> AsyncIterator[Callable[[bytes], Awaitable[str]]]:
    """Put bytes behind a URL."""
    runners: list[web.AppRunner] = []

    async def start(body: bytes, status: int = 200) -> str:
        async def answer(request: web.Request) -> web.Response:
            return web.Response(body=body, status=status, content_type="application/octet-stream")

        app = web.Application()
        app.add_routes([web.get("/file", answer)])
        runner = web.AppRunner(app, shutdown_timeout=0.1)
        await runner.setup()
        runners.append(runner)
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return f"http://127.0.0.1:{runner.addresses[0][1]}/file"

    yield start
    for runner in runners:
        await runner.cleanup()
