import asyncio

import pytest
from aiohttp import web
from loopback import Names, raw_server, read_request, reset, web_server

from calotype.http import Blocked, DownloadPermanent, DownloadRetryable, Guard, MemorySink, SpoolSink, download
from calotype.http.download import MAX_REDIRECTS, retry_after_s
from calotype.http.wire import Wire
from calotype.kernel.steps import HttpRequest

PICTURE = b"\x89PNG" + b"p" * 50_000


@pytest.fixture
async def open_guard():
    names = Names({"one.example": ["127.0.0.1"], "two.example": ["127.0.0.1"]})
    guard = Guard(["127.0.0.1", "one.example", "two.example"], resolver=names)
    yield guard
    await guard.close()


async def fetch(url, guard, *, max_bytes=1 << 20, timeout_s=5.0, headers=None):
    sink = MemorySink()
    done = await download(
        url, to=sink, max_bytes=max_bytes, timeout_s=timeout_s, guard=guard, headers=headers, field="image_url"
    )
    return done, sink.value()


def redirect(location: str, status: int = 302):
    async def answer(request: web.Request) -> web.Response:
        return web.Response(status=status, headers={"Location": location})

    return answer


async def picture(request: web.Request) -> web.Response:
    return web.Response(body=PICTURE, content_type="image/png")


async def test_the_body_and_what_the_server_claims_come_back(open_guard):
    async with web_server(web.get("/a.png", picture)) as url:
        done, body = await fetch(f"{url}/a.png", open_guard)
    assert body == PICTURE
    assert (done.content_type, done.size_bytes) == ("image/png", len(PICTURE))


async def test_a_large_body_spills_to_a_file(open_guard, tmp_path):
    async def large(request):
        return web.Response(body=b"x" * 3_000_000)

    async with web_server(web.get("/", large), web.get("/small", picture)) as url:
        async with SpoolSink(lambda: tmp_path / "spool") as spool:
            await download(url, to=spool, max_bytes=1 << 24, timeout_s=5, guard=open_guard)
        assert spool.body == tmp_path / "spool"
        assert spool.body.read_bytes() == b"x" * 3_000_000
        async with SpoolSink(lambda: tmp_path / "unused") as spool:
            await download(f"{url}/small", to=spool, max_bytes=1 << 24, timeout_s=5, guard=open_guard)
        assert spool.body == PICTURE
        assert not (tmp_path / "unused").exists()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_followed(open_guard, status):
    async with web_server(web.get("/a", redirect("/b", status)), web.get("/b", picture)) as url:
        assert (await fetch(f"{url}/a", open_guard))[1] == PICTURE


async def test_redirects_end(open_guard):
    visits = []

    async def loop(request):
        visits.append(1)
        return web.Response(status=302, headers={"Location": "/a"})

    async with web_server(web.get("/a", loop)) as url:
        with pytest.raises(DownloadPermanent) as caught:
            await fetch(f"{url}/a", open_guard)
    assert caught.value.reason == "redirects"
    assert len(visits) == MAX_REDIRECTS + 1


@pytest.mark.parametrize(
    "target", ["http://10.0.0.1/", "http://[::1]/", "file:///etc/passwd", "http://private.example/"]
)
async def test_a_redirect_to_a_private_place_is_refused(target):
    names = Names({"private.example": ["192.168.0.1"]})
    guard = Guard(["127.0.0.1"], resolver=names)
    async with web_server(web.get("/a", redirect(target))) as url:
        with pytest.raises(Blocked) as caught:
            await fetch(f"{url}/a", guard)
    assert caught.value.field == "image_url"
    await guard.close()


async def test_a_name_with_a_private_address_is_refused_and_nothing_is_connected():
    connected = []

    async def note(reader, writer):
        connected.append(1)

    async with raw_server(note) as url:
        guard = Guard(resolver=Names({"rebind.example": ["127.0.0.1"]}))
        with pytest.raises(Blocked) as caught:
            await fetch(url.replace("127.0.0.1", "rebind.example"), guard)
        await guard.close()
    assert caught.value.field == "image_url"
    assert not connected


async def test_credentials_go_to_the_first_host_only(open_guard):
    seen = []

    async def note(request):
        seen.append(request.headers.get("x-goog-api-key"))
        return web.Response(body=PICTURE)

    async with web_server(web.get("/b", note)) as second:
        other = second.replace("127.0.0.1", "two.example") + "/b"

        async def first(request):
            seen.append(request.headers.get("x-goog-api-key"))
            return web.Response(status=302, headers={"Location": "/again" if request.path == "/a" else other})

        async with web_server(web.get("/a", first), web.get("/again", first)) as url:
            start = url.replace("127.0.0.1", "one.example") + "/a"
            await fetch(start, open_guard, headers={"x-goog-api-key": "k"})
    assert seen == ["k", "k", None]


@pytest.mark.parametrize("status", [400, 401, 403, 404, 410])
async def test_a_refusal_is_permanent(open_guard, status):
    async def refuse(request):
        return web.Response(status=status)

    async with web_server(web.get("/", refuse)) as url:
        with pytest.raises(DownloadPermanent) as caught:
            await fetch(url, open_guard)
    assert (caught.value.reason, caught.value.status) == ("status", status)


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
async def test_a_busy_or_broken_server_may_be_asked_again(open_guard, status):
    async def busy(request):
        return web.Response(status=status, headers={"Retry-After": "7"})

    async with web_server(web.get("/", busy)) as url:
        with pytest.raises(DownloadRetryable) as caught:
            await fetch(url, open_guard)
    assert (caught.value.status, caught.value.retry_after_s) == (status, 7.0)


async def test_too_many_bytes_are_refused_by_what_is_declared_and_by_what_comes(open_guard):
    asked = []

    async def declared(request):
        response = web.StreamResponse(headers={"Content-Length": str(1 << 30)})
        await response.prepare(request)
        asked.append(1)
        return response

    async def chunked(request):
        response = web.StreamResponse()
        await response.prepare(request)
        for _ in range(100):
            await response.write(b"x" * 65_536)
        return response

    async with web_server(web.get("/d", declared), web.get("/c", chunked)) as url:
        for path in ("/d", "/c"):
            with pytest.raises(DownloadPermanent) as caught:
                await fetch(url + path, open_guard, max_bytes=100_000)
            assert caught.value.reason == "too_large"


async def half(reader, writer):
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await writer.drain()


async def slam(reader, writer):
    await read_request(reader)
    reset(writer)


async def stall(reader, writer):
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf")
    await reader.read()


async def empty(reader, writer):
    await read_request(reader)
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")
    await writer.drain()


@pytest.mark.parametrize(
    ("talk", "reason"), [(half, "connection"), (slam, "connection"), (stall, "timeout"), (empty, "empty")]
)
async def test_a_transfer_that_breaks_may_be_tried_again(open_guard, talk, reason):
    async with raw_server(talk) as url:
        with pytest.raises(DownloadRetryable) as caught:
            await fetch(url, open_guard, timeout_s=0.2 if talk is stall else 5)
    assert caught.value.reason == reason
    assert "127.0.0.1" not in str(caught.value)


async def test_kept_connections_that_all_closed_meanwhile_are_no_broken_transfer(open_guard):
    met, both = 0, asyncio.Event()

    async def once_each(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal met
        await read_request(reader)
        met += 1
        if met == 2:
            both.set()
        await both.wait()
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\nContent-Type: image/png\r\n\r\nword")
        await writer.drain()
        await read_request(reader)
        reset(writer)

    async with raw_server(once_each) as url:
        first = await asyncio.gather(fetch(url, open_guard), fetch(url, open_guard))
        assert [body for _, body in first] == [b"word", b"word"]
        _, body = await fetch(url, open_guard)
    assert (body, met) == (b"word", 3), "two kept connections failed, the third is new"


async def test_a_failed_download_leaves_no_file(open_guard, tmp_path):
    async with raw_server(half) as url:
        with pytest.raises(DownloadRetryable):
            async with SpoolSink(lambda: tmp_path / "spool", memory_bytes=1) as spool:
                await download(url, to=spool, max_bytes=1000, timeout_s=5, guard=open_guard)
    assert list(tmp_path.iterdir()) == []


def test_retry_after_is_seconds_or_a_date_and_bounded():
    assert retry_after_s("30") == 30.0
    assert retry_after_s("999999") == 3600.0
    assert retry_after_s("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after_s("Wed, 21 Oct 0001 07:28:00 -0000") == 0.0
    assert retry_after_s("soon") is None
    assert retry_after_s(None) is None


async def here(request):
    return web.Response(body=b"here")


async def test_a_second_address_is_tried_where_the_first_refuses():
    async with web_server(web.get("/", here)) as url:
        guard = Guard(["two.example"], resolver=Names({"two.example": ["127.0.0.2", "127.0.0.1"]}))
        try:
            _, body = await fetch(f"http://two.example:{url.rpartition(':')[2]}/", guard)
        finally:
            await guard.close()
    assert body == b"here"


async def test_a_private_literal_is_refused_at_the_connection_too():
    guard = Guard()
    for address in ("127.0.0.1", "::1", "169.254.169.254"):
        with pytest.raises(Blocked):
            await guard.addresses(address, 80)
    assert await guard.addresses("93.184.216.34", 80) == ["93.184.216.34"]


class Slow:
    """A sink that takes nothing before it is let."""

    def __init__(self) -> None:
        self.let = asyncio.Event()
        self.size = 0

    async def write(self, chunk: bytes) -> None:
        await self.let.wait()
        self.size += len(chunk)


async def test_a_server_is_held_up_while_the_sink_takes_nothing(open_guard):
    blocks, held = 64, asyncio.Event()
    sent = 0

    async def pour(reader, writer):
        nonlocal sent
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (blocks << 20))
        for _ in range(blocks):
            writer.write(bytes(1 << 20))
            drained = asyncio.ensure_future(writer.drain())
            await asyncio.wait([drained], timeout=0.5)
            if not drained.done():
                held.set()
            await drained
            sent += 1

    sink = Slow()
    async with raw_server(pour) as url:
        work = asyncio.ensure_future(download(f"{url}/", to=sink, max_bytes=1 << 30, timeout_s=30, guard=open_guard))
        await asyncio.wait_for(held.wait(), 20)
        assert sent < blocks
        sink.let.set()
        assert (await work).size_bytes == sink.size == blocks << 20


async def test_one_host_gets_no_more_than_its_share_of_the_connections():
    open_now, most, full = 0, 0, asyncio.Event()

    async def wait(request):
        nonlocal open_now, most
        open_now += 1
        most = max(most, open_now)
        if open_now == 64:
            full.set()
        await full.wait()
        open_now -= 1
        return web.Response(body=b"x")

    guard = Guard(["127.0.0.1"])
    async with web_server(web.get("/", wait)) as url:
        try:
            await asyncio.gather(*(fetch(url, guard, timeout_s=30) for _ in range(80)))
        finally:
            await guard.close()
    assert most == 64


async def test_connections_that_are_not_used_again_are_closed():
    ended = asyncio.Event()

    async def once(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nword")
        await reader.read()
        ended.set()

    wire = Wire(pool_size=4, keepalive_s=0.1, headers={})
    async with raw_server(once) as url:
        assert (await wire.exchange(HttpRequest("GET", url))).body == b"word"
        await asyncio.wait_for(ended.wait(), 10)
    wire.close()
