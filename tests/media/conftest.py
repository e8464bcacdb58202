"""A real store and a real server to download from."""

from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest
from aiohttp import web

from calotype.http import Guard
from calotype.kernel import points
from calotype.media.local import LocalStore
from calotype.media.remote import RemoteStore
from media.s3 import S3, starting


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


@pytest.fixture(scope="session")
def _s3() -> Iterator[S3]:
    with starting() as server:
        yield server


@pytest.fixture
async def s3(_s3: S3) -> S3:
    """Return the S3 server of this test run."""
    return await _s3.ready()


@pytest.fixture
def bucket(s3: S3) -> str:
    """Return a storage URL of this test alone."""
    return s3.bucket()


@pytest.fixture
async def remote(s3: S3, bucket: str, tmp_path: Path) -> AsyncIterator[RemoteStore]:
    made = s3.store(bucket, tmp_path / "spool")
    yield made
    await made.close()
