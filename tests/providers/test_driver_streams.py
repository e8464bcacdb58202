"""Event streams of an upstream, from the bytes on the socket to the pieces a caller sees."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from aiohttp import web

from calotype.http import Upstream
from calotype.http.events import MAX_EVENT_CHARS, server_events
from calotype.jobs.feed import MAX_WAITING, Feed
from calotype.kernel.ids import new_job_id
from calotype.kernel.outcome import Delta
from calotype.kernel.steps import (
    AnswerTooLarge,
    Emit,
    HttpRequest,
    HttpResponse,
    Listen,
    MaybeSent,
    Next,
    ServerEvent,
    Steps,
    Wait,
)
from calotype.providers.driver import drive


async def events_of(*pieces: bytes) -> list[ServerEvent]:
    async def chunks() -> AsyncIterator[bytes]:
        for piece in pieces:
            yield piece

    return [event async for event in server_events(chunks(), "upstream")]


@pytest.mark.parametrize("end", [b"\n", b"\r\n", b"\r"])
async def test_events_are_read_whatever_ends_their_lines(end: bytes) -> None:
    lines = [b": a comment", b"event: made", b"id: 7", b"data: one", b"data:two", b"", b"data: [DONE]", b"", b""]
    assert await events_of(end.join(lines)) == [
        ServerEvent("one\ntwo", "made", "7"),
        ServerEvent("[DONE]", "message", "7"),
    ]


async def test_events_are_read_in_whatever_pieces_they_come() -> None:
    whole = "data: grün\r\n\r\n: ping\r\n\r\ndata: {}\r\n\r\n".encode()
    expected = [ServerEvent("grün"), ServerEvent("{}")]
    assert await events_of(*(whole[n : n + 1] for n in range(len(whole)))) == expected
    assert await events_of(whole) == expected


async def test_an_unfinished_last_event_is_dropped() -> None:
    assert await events_of(b"data: one\n\ndata: tw") == [ServerEvent("one")]


async def test_an_event_without_end_is_refused() -> None:
    piece = b"data: " + b"x" * (1 << 20)
    with pytest.raises(AnswerTooLarge):
        await events_of(*[piece] * (MAX_EVENT_CHARS // len(piece) + 2))


@asynccontextmanager
async def upstream(handler: Callable[[web.Request], Any]) -> AsyncIterator[tuple[Upstream, str]]:
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", handler)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Upstream("upstream")
    try:
        yield client, f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await client.close()
        await runner.cleanup()


async def told(request: web.Request) -> web.StreamResponse:
    """Send three events; `/cut` breaks off after the second."""
    if request.path == "/no":
        return web.json_response({"error": "no"}, status=429)
    answer = web.StreamResponse(headers={"Content-Type": "text/event-stream; charset=utf-8"})
    await answer.prepare(request)
    for n in range(3):
        if n == 2 and request.path == "/cut":
            assert request.transport is not None
            request.transport.abort()
            return answer
        await answer.write(f": ping\n\ndata: {n}\n\n".encode())
        await asyncio.sleep(0.01)
    return answer


def listening(url: str) -> Steps[list[str]]:
    answer = yield Listen(HttpRequest("POST", url, commits=True))
    if not answer.ok:
        return [str(answer.status), answer.body.decode()]
    found = []
    try:
        while (event := (yield Next())) is not None:
            found.append(event.data)
            yield Emit(Delta("chat", {"content": event.data}))
    except MaybeSent:
        found.append("cut")
    return found


async def test_an_adapter_reads_events_and_shows_pieces_as_they_come() -> None:
    seen: list[Any] = []
    commits = []

    async def on_commit() -> None:
        commits.append(len(seen))

    async with upstream(told) as (client, url):
        found = await drive(listening(url), client, on_commit, lambda delta: seen.append(delta.data["content"]))
    assert found == seen == ["0", "1", "2"]
    assert commits == [0], "the submission is recorded before the request"


async def test_a_stream_that_breaks_off_is_thrown_into_the_adapter() -> None:
    async with upstream(told) as (client, url):
        assert await drive(listening(f"{url}/cut"), client) == ["0", "1", "cut"]


async def test_an_answer_that_is_no_stream_comes_whole() -> None:
    async with upstream(told) as (client, url):
        assert await drive(listening(f"{url}/no"), client) == ["429", '{"error": "no"}']


async def test_a_stream_that_is_left_is_closed() -> None:
    gone = asyncio.Event()

    async def endless(request: web.Request) -> web.StreamResponse:
        answer = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await answer.prepare(request)
        try:
            while True:
                await answer.write(b"data: more\n\n")
                await asyncio.sleep(0.005)
        except (ConnectionError, asyncio.CancelledError):
            gone.set()
            raise

    def leaves(url: str) -> Steps[str]:
        yield Listen(HttpRequest("GET", url))
        first = yield Next()
        yield Wait(0)
        after = yield Next()
        assert after is None, "the next step that sends has closed the stream"
        return str(first.data)

    async with upstream(endless) as (client, url):
        assert await drive(leaves(url), client) == "more"
        await asyncio.wait_for(gone.wait(), 5)


async def test_pieces_reach_their_listener_in_order_until_the_feed_closes() -> None:
    feed, job_id = Feed(), new_job_id()
    feed.publish(job_id, Delta("chat", {"content": "nobody listens"}))
    assert not feed.listened(job_id)
    listener = feed.listen(job_id)
    assert feed.listened(job_id)
    for word in ("a", "b"):
        feed.publish(job_id, Delta("chat", {"content": word}))
    feed.close(job_id)
    feed.publish(job_id, Delta("chat", {"content": "late"}))
    assert [delta.data["content"] async for delta in listener] == ["a", "b"]


async def test_a_listener_that_falls_behind_loses_no_text_and_keeps_the_newest_preview() -> None:
    feed, job_id = Feed(), new_job_id()
    listener = feed.listen(job_id)
    for n in range(MAX_WAITING + 50):
        feed.publish(job_id, Delta("chat", {"content": f"{n} "}))
    for n in range(5):
        feed.publish(job_id, Delta("preview", body=bytes([n])))
    feed.close(job_id)
    pieces = [delta async for delta in listener]
    assert len(pieces) <= MAX_WAITING + 1
    said = "".join(delta.data["content"] for delta in pieces if delta.kind == "chat")
    assert said.split() == [str(n) for n in range(MAX_WAITING + 50)]


@pytest.mark.parametrize("body", [b"<html>", b'{"a": "\xff"}', b"[" * 100_000, b'{"a": 1e999}', b'{"a": NaN}'])
def test_what_cannot_be_read_as_json_is_none_and_breaks_nothing(body: bytes) -> None:
    assert HttpResponse(200, {}, body).json() is None
    assert ServerEvent(body.decode(errors="replace").replace("\ufffd", "\x00")).json() is None
