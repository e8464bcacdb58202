"""As many connections as jobs: what an instance may begin does not wait for another job's connection."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from calotype.kernel.steps import HttpRequest, NotSent
from calotype.providers import registry
from calotype.providers.driver import Driven
from calotype.providers.registry import build_runtimes
from calotype.settings import ProviderSettings, Settings

AT_ONCE = 60
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@pytest.fixture(autouse=True)
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no instance have more connections than its jobs; five hundred would be many for a test."""
    monkeypatch.setattr(registry, "LEAST_CONNECTIONS", 1)


async def all_together(tmp_path: Path, **settings: Any) -> list[Any]:
    """Ask an upstream that answers nobody before it was asked by all; return what each was told."""
    asked, everybody = 0, asyncio.Event()

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        await reader.readuntil(b"\r\n\r\n")
        asked += 1
        if asked == AT_ONCE:
            everybody.set()
        await everybody.wait()
        writer.write(ANSWER)
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0, backlog=AT_ONCE)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    cloud = ProviderSettings(kind="openai", base_url=url, **settings)
    runtime = build_runtimes(Settings(providers={"cloud": cloud}), scratch_dir=tmp_path)["cloud"]
    assert isinstance(runtime, Driven)
    request = HttpRequest("GET", url, connect_timeout_s=5)
    try:
        told = await asyncio.gather(
            *(runtime.upstream.perform(request) for _ in range(AT_ONCE)), return_exceptions=True
        )
    finally:
        everybody.set()
        await runtime.close()
        server.close()
    return told


@pytest.mark.parametrize(
    "bounds",
    [
        {"max_in_progress": AT_ONCE},
        {"max_in_progress": AT_ONCE // 2, "api_keys": [SecretStr("sk-1"), SecretStr("sk-2")]},
    ],
    ids=["as the bound says", "for each credential"],
)
async def test_every_job_in_progress_has_a_connection(bounds: dict[str, Any], tmp_path: Path) -> None:
    told = await all_together(tmp_path, **bounds)
    assert [answer.status for answer in told] == [200] * AT_ONCE


async def test_a_pool_that_the_operator_bounds_stays_so(tmp_path: Path) -> None:
    runtimes = build_runtimes(
        Settings(providers={"cloud": ProviderSettings(kind="openai", base_url="http://127.0.0.1:9/v1", pool_size=1)}),
        scratch_dir=tmp_path,
    )
    cloud = runtimes["cloud"]
    assert isinstance(cloud, Driven)

    async def listen(reader: asyncio.StreamReader, _writer: asyncio.StreamWriter) -> None:
        await reader.read()

    silent = await asyncio.start_server(listen, "127.0.0.1", 0)
    url = f"http://127.0.0.1:{silent.sockets[0].getsockname()[1]}/"
    first = asyncio.create_task(cloud.upstream.perform(HttpRequest("GET", url)))
    await asyncio.sleep(0)
    with pytest.raises(NotSent):
        await cloud.upstream.perform(HttpRequest("GET", url, connect_timeout_s=0.05))
    first.cancel()
    await asyncio.gather(first, return_exceptions=True)
    await cloud.close()
    silent.close()
