"""WebSockets to upstreams: read all the time, used by one conversation at a time, and kept for a while."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import WSMessage, WSMsgType, web

from calotype.http import Upstream, sockets
from calotype.http.sockets import Broken, Line, Lines
from calotype.kernel.steps import HttpRequest, HttpResponse, NotSent


async def echo(request: web.Request) -> web.WebSocketResponse:
    """Answer each message by itself; `bye` ends the connection, `twice` is answered two times."""
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for message in socket:
        if message.data == "bye":
            break
        for _ in range(2 if message.data == "twice" else 1):
            if message.type is WSMsgType.BINARY:
                await socket.send_bytes(message.data)
            else:
                await socket.send_str(message.data)
    return socket


async def moved(_request: web.Request) -> web.Response:
    """Send the caller elsewhere."""
    raise web.HTTPFound("/echo")


@pytest.fixture
async def address() -> AsyncIterator[str]:
    app = web.Application()
    app.add_routes([web.get("/echo", echo), web.get("/moved", moved)])
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    yield f"ws://127.0.0.1:{runner.addresses[0][1]}"
    await runner.cleanup()


@pytest.fixture
async def upstream() -> AsyncIterator[Upstream]:
    one = Upstream("test")
    yield one
    await one.close()


async def dialled(upstream: Upstream, address: str, path: str = "/echo", **more: int) -> Line:
    line = await upstream.dial(HttpRequest("GET", address + path, **more))  # type: ignore[arg-type]
    assert isinstance(line, Line)
    return line


async def test_messages_go_out_and_come_back_in_their_kind(upstream: Upstream, address: str) -> None:
    line = await dialled(upstream, address)
    for message in ("text", b"bytes"):
        await line.say(message)
        assert await line.hear(10) == message
    assert await line.hear(0) is None
    await line.close()


async def test_only_so_many_bytes_are_read_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    class Endless:
        """Sends as fast as it is read."""

        closed = False
        sent = 0

        def __aiter__(self) -> "Endless":
            return self

        async def __anext__(self) -> WSMessage:
            await asyncio.sleep(0)
            self.sent += 1
            return WSMessage(WSMsgType.BINARY, bytes([self.sent]) * 400, None)

        async def close(self) -> None:
            self.closed = True

    monkeypatch.setattr(sockets, "READ_AHEAD_BYTES", 1000)
    socket: Any = Endless()
    line = Line(socket)
    for _ in range(100):
        await asyncio.sleep(0)
    assert socket.sent == 3, "1,200 bytes wait"
    heard = [await line.hear(10) for _ in range(50)]
    assert heard == [bytes([n]) * 400 for n in range(1, 51)]
    await line.close()


async def test_a_handshake_that_fails_has_sent_nothing(upstream: Upstream, address: str) -> None:
    assert await upstream.dial(HttpRequest("GET", address + "/nowhere")) == HttpResponse(404)
    with pytest.raises(NotSent) as failure:
        await upstream.dial(HttpRequest("GET", "ws://127.0.0.1:1/secret?token=t"))
    assert "secret" not in str(failure.value) and "token" not in str(failure.value)


async def test_the_end_of_a_line_is_noticed_while_nobody_listens(upstream: Upstream, address: str) -> None:
    line = await dialled(upstream, address)
    await line.say("bye")
    with pytest.raises(Broken):
        await line.hear(10)
    assert not line.open
    for again in (line.hear(10), line.hear(0), line.say("more")):
        with pytest.raises(Broken):
            await again


async def test_silence_and_a_message_that_is_too_large_break_a_line(upstream: Upstream, address: str) -> None:
    line = await dialled(upstream, address, max_bytes=100)
    with pytest.raises(Broken):
        await line.hear(0.05)
    await line.say(b"x" * 200)
    with pytest.raises(Broken):
        await line.hear(10)


async def test_a_kept_line_is_taken_once_and_by_its_name(upstream: Upstream, address: str) -> None:
    lines, line = Lines(), await dialled(upstream, address)
    lines.keep("a", line)
    assert lines.take("b") is None
    assert lines.take("a") is line and lines.take("a") is None
    lines.keep("a", line)
    lines.drop("a")
    await lines.close()
    assert not line.open


async def test_a_kept_line_that_ended_or_was_kept_for_too_long_is_gone(upstream: Upstream, address: str) -> None:
    lines, ended, old = Lines(keep_s=0.05), await dialled(upstream, address), await dialled(upstream, address)
    await ended.say("bye")
    with pytest.raises(Broken):
        await ended.hear(10)
    lines.keep("ended", ended)
    assert lines.take("ended") is None
    lines.keep("old", old)
    with pytest.raises(Broken):
        await old.hear(10)
    await asyncio.sleep(0)
    assert lines.take("old") is None
    await lines.close()


async def test_a_redirect_is_not_followed_for_it_would_take_our_credential_along(
    upstream: Upstream, address: str
) -> None:
    assert await upstream.dial(HttpRequest("GET", address + "/moved", {"x-key": "secret"})) == HttpResponse(302)
