import asyncio
import contextlib
import gzip

import pytest
from aiohttp import web
from loopback import Names, raw_server, read_request, reset, web_server

from calotype.http import Blocked, Guard, Upstream, wire
from calotype.kernel.steps import AnswerTooLarge, FileRef, HttpRequest, MaybeSent, NotSent, Part

SECRET = "sk-very-secret"
PACKED = {"Content-Encoding": "gzip"}


def post(url: str, **given) -> HttpRequest:
    given.setdefault("body", b'{"prompt":"a cat"}')
    headers = {"Authorization": f"Bearer {SECRET}", "Content-Type": "application/json"}
    return HttpRequest("POST", f"{url}/v1/run?key={SECRET}", headers, **given)


async def fails(upstream: Upstream, request: HttpRequest) -> Exception:
    with pytest.raises((NotSent, MaybeSent, AnswerTooLarge)) as caught:
        await upstream.perform(request)
    text = f"{caught.value}{caught.value.__cause__}"
    assert SECRET not in text
    assert "http://" not in text
    return caught.value


async def test_an_answer_comes_back_with_lower_case_headers_and_its_body(upstream):
    async def echo(request: web.Request) -> web.Response:
        body = await request.read()
        return web.Response(status=402, body=body, headers={"X-Cost": "12", "X-Auth": request.headers["Authorization"]})

    async with web_server(web.post("/v1/run", echo)) as url:
        answer = await upstream.perform(post(url))
    assert (answer.status, answer.ok) == (402, False)
    assert answer.json() == {"prompt": "a cat"}
    assert answer.headers["x-cost"] == "12"
    assert answer.headers["x-auth"] == f"Bearer {SECRET}"


async def test_a_redirect_is_returned_as_it_is_and_not_followed(upstream):
    visited = []

    async def redirect(request: web.Request) -> web.Response:
        visited.append(request.path)
        return web.Response(status=307, headers={"Location": "/elsewhere"})

    async with web_server(web.post("/v1/run", redirect), web.post("/elsewhere", redirect)) as url:
        answer = await upstream.perform(post(url))
    assert answer.status == 307
    assert answer.headers["location"] == "/elsewhere"
    assert visited == ["/v1/run"]


async def test_a_refused_connection_is_not_sent(upstream):
    async with raw_server(lambda r, w: asyncio.sleep(0)) as url:
        pass
    assert isinstance(await fails(upstream, post(url)), NotSent)


async def test_an_unknown_name_is_not_sent(upstream):
    assert isinstance(await fails(upstream, post("http://no-such-name.invalid")), NotSent)


async def test_a_failed_tls_handshake_is_not_sent(upstream):
    async def plain_text(reader, writer):
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        await writer.drain()

    async with raw_server(plain_text) as url:
        assert isinstance(await fails(upstream, post(url.replace("http://", "https://"))), NotSent)


async def test_a_handshake_that_never_ends_is_not_sent_whichever_clock_runs_out(upstream):
    async def silent(reader, writer):
        await reader.read()

    async with raw_server(silent) as url:
        secure = url.replace("http://", "https://")
        assert isinstance(await fails(upstream, post(secure, connect_timeout_s=0.05)), NotSent)
        assert isinstance(await fails(upstream, post(secure, connect_timeout_s=9, total_timeout_s=0.05)), NotSent)


async def test_waiting_in_vain_for_a_free_connection_is_not_sent():
    arrived = asyncio.Event()

    async def hold(reader, writer):
        await read_request(reader)
        arrived.set()
        await reader.read()

    upstream = Upstream("acme", pool_size=1)
    async with raw_server(hold) as url:
        first = asyncio.create_task(upstream.perform(post(url)))
        await arrived.wait()
        assert isinstance(await fails(upstream, post(url, connect_timeout_s=0.05)), NotSent)
        first.cancel()
    await upstream.close()


async def test_a_reset_before_the_request_was_read_may_have_been_sent(upstream):
    async def slam(reader, writer):
        reset(writer)

    async with raw_server(slam) as url:
        assert isinstance(await fails(upstream, post(url)), MaybeSent)


@pytest.mark.parametrize("orderly", [True, False], ids=["closed", "reset"])
async def test_a_connection_that_ends_after_the_request_may_have_been_sent_and_a_post_is_never_repeated(
    upstream, orderly
):
    requests = []

    async def read_and_end(reader, writer):
        requests.append(await read_request(reader))
        if not orderly:
            reset(writer)

    async with raw_server(read_and_end) as url:
        assert isinstance(await fails(upstream, post(url)), MaybeSent)
    assert len(requests) == 1


async def test_a_connection_that_ends_between_two_requests_does_not_repeat_the_second(upstream):
    requests = []

    async def answer_once(reader, writer):
        requests.append(await read_request(reader))
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
        requests.append(await read_request(reader))

    async with raw_server(answer_once) as url:
        assert (await upstream.perform(post(url))).body == b"ok"
        assert isinstance(await fails(upstream, post(url)), MaybeSent)
    assert len(requests) == 2


async def test_a_long_body_is_put_together_from_its_pieces_and_the_connection_is_used_again(upstream):
    body = bytes(range(256)) * 2000
    served = []

    async def talk(reader, writer):
        served.append(writer)
        for _ in range(2):
            await read_request(reader)
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body) + body[:10])
            for at in range(10, len(body), 100_000):
                await writer.drain()
                writer.write(body[at : at + 100_000])
        await writer.drain()

    async with raw_server(talk) as url:
        for _ in range(2):
            assert (await upstream.perform(HttpRequest("GET", url))).body == body
    assert len(served) == 1


async def test_what_costs_money_goes_over_a_connection_that_was_just_used_or_a_new_one(upstream, monkeypatch):
    served = []

    async def talk(reader, writer):
        served.append(writer)
        with contextlib.suppress(asyncio.IncompleteReadError):
            while await read_request(reader):
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")

    async with raw_server(talk) as url:
        paid = HttpRequest("POST", url, body=b"{}", commits=True)
        for _ in range(3):
            assert (await upstream.perform(paid)).body == b"ok"
        assert len(served) == 1
        monkeypatch.setattr(wire, "FRESH_S", 0.0)
        assert (await upstream.perform(HttpRequest("GET", url))).body == b"ok"
        assert len(served) == 1, "what may be sent again takes any"
        assert (await upstream.perform(paid)).body == b"ok"
        assert len(served) == 2


async def test_bytes_that_follow_a_body_are_no_part_of_it_and_end_the_connection(upstream):
    body = b"abcdef" * 200_000  # more than is read at once
    served = []

    async def talk(reader, writer):
        served.append(writer)
        await read_request(reader)
        head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(body)
        writer.write(head + body + b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx")
        await writer.drain()
        await reader.read()

    async with raw_server(talk) as url:
        for _ in range(2):
            assert (await upstream.perform(HttpRequest("GET", url))).body == body
    assert len(served) == 2


async def test_silence_after_the_request_may_have_been_sent(upstream):
    async def silent(reader, writer):
        await read_request(reader)
        await reader.read()

    async with raw_server(silent) as url:
        assert isinstance(await fails(upstream, post(url, read_timeout_s=0.05)), MaybeSent)
        assert isinstance(await fails(upstream, post(url, total_timeout_s=0.05)), MaybeSent)


async def test_half_a_body_may_have_been_sent(upstream, tmp_path):
    async def half(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + b"x" * 50)
        await writer.drain()

    async with raw_server(half) as url:
        assert isinstance(await fails(upstream, post(url)), MaybeSent)
        target = tmp_path / "out"
        assert isinstance(await fails(upstream, post(url, save_to=target)), MaybeSent)
        assert not target.exists()


async def test_a_body_that_stalls_may_have_been_sent(upstream):
    async def slow(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nxxx")
        await reader.read()

    async with raw_server(slow) as url:
        assert isinstance(await fails(upstream, post(url, read_timeout_s=0.05)), MaybeSent)


async def test_an_answer_that_is_no_http_may_have_been_sent(upstream):
    async def nonsense(reader, writer):
        await read_request(reader)
        writer.write(b"\x00\x01 nonsense\r\n\r\n")
        await writer.drain()

    async with raw_server(nonsense) as url:
        assert isinstance(await fails(upstream, post(url)), MaybeSent)


@pytest.mark.parametrize("declared", [True, False], ids=["declared", "chunked"])
async def test_an_answer_past_the_cap_is_cut_off(upstream, tmp_path, declared):
    async def huge(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        if declared:
            response.content_length = 1 << 24
        await response.prepare(request)
        for _ in range(256):
            await response.write(b"x" * (1 << 16))
        return response

    async with web_server(web.post("/v1/run", huge)) as url:
        assert isinstance(await fails(upstream, post(url, max_bytes=1 << 20)), AnswerTooLarge)
        target = tmp_path / "out"
        assert isinstance(await fails(upstream, post(url, max_bytes=1 << 20, save_to=target)), AnswerTooLarge)
        assert not target.exists()


async def test_save_to_streams_the_answer_into_a_private_file(upstream, tmp_path):
    block = bytes(range(256)) * 4096

    async def large(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "video/mp4"})
        await response.prepare(request)
        for _ in range(4):
            await response.write(block)
        return response

    target = tmp_path / "out.mp4"
    async with web_server(web.post("/v1/run", large)) as url:
        answer = await upstream.perform(post(url, save_to=target))
    assert answer.body == b""
    assert answer.saved == FileRef(target, "video/mp4")
    assert target.read_bytes() == block * 4
    assert target.stat().st_mode & 0o777 == 0o600


async def test_a_file_is_sent_as_a_body_with_its_length(upstream, tmp_path):
    source = tmp_path / "in.png"
    source.write_bytes(b"p" * 300_000)

    async def measure(request: web.Request) -> web.Response:
        body = await request.read()
        return web.json_response([request.headers["Content-Length"], len(body), request.content_type])

    async with web_server(web.post("/v1/run", measure)) as url:
        request = HttpRequest("POST", f"{url}/v1/run", body=FileRef(source, "image/png"))
        assert (await upstream.perform(request)).json() == ["300000", 300_000, "image/png"]


async def test_multipart_parts_keep_names_files_and_length(upstream, tmp_path):
    source = tmp_path / "in.png"
    source.write_bytes(b"p" * 200_000)

    async def measure(request: web.Request) -> web.Response:
        form = await request.post()
        file = form["image[]"]
        return web.json_response(
            [
                form["prompt"],
                file.filename,
                file.content_type,
                len(file.file.read()),
                "Content-Length" in request.headers,
            ]
        )

    parts = (Part("prompt", "a räbbit"), Part("image[]", FileRef(source, "image/png", "in put.png")))
    async with web_server(web.post("/v1/run", measure)) as url:
        answer = await upstream.perform(HttpRequest("POST", f"{url}/v1/run", multipart=parts))
    assert answer.json() == ["a räbbit", "in put.png", "image/png", 200_000, True]


async def test_a_multipart_name_cannot_smuggle_headers(upstream):
    async with web_server() as url:
        request = HttpRequest("POST", url, multipart=(Part("a", b"x", filename='a"\r\nX: 1'),))
        assert isinstance(await fails(upstream, request), NotSent)


async def test_a_compressed_answer_is_unpacked_and_a_bomb_is_not(upstream):
    async def packed(request: web.Request) -> web.Response:
        return web.Response(body=gzip.compress(b"0" * 1_000_000), headers={"Content-Encoding": "gzip"})

    async with web_server(web.post("/v1/run", packed)) as url:
        assert (await upstream.perform(post(url))).body == b"0" * 1_000_000
        assert isinstance(await fails(upstream, post(url, max_bytes=100_000)), AnswerTooLarge)


@pytest.mark.parametrize("status", [200, 503])
async def test_a_compressed_stream_or_refusal_of_one_is_unpacked_and_a_bomb_is_not(upstream, status):
    async def packed(request: web.Request) -> web.Response:
        return web.Response(status=status, body=gzip.compress(b"data: 1\n\n" * 10_000), headers=PACKED)

    async with web_server(web.post("/v1/run", packed)) as url:
        async with upstream.stream(post(url)) as answer:
            assert b"".join([chunk async for chunk in answer.chunks()]) == b"data: 1\n\n" * 10_000
        with pytest.raises(AnswerTooLarge):
            async with upstream.stream(post(url, max_bytes=10_000)) as answer:
                _ = [chunk async for chunk in answer.chunks()]


@pytest.mark.parametrize("body", [b"no gzip at all", gzip.compress(b"0" * 100_000)[:-20]])
async def test_a_body_that_only_calls_itself_compressed_may_have_been_sent(upstream, body, tmp_path):
    async def packed(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(body=body, headers=PACKED)

    async with web_server(web.post("/v1/run", packed)) as url:
        assert isinstance(await fails(upstream, post(url)), MaybeSent)
        form = HttpRequest("POST", f"{url}/v1/run", multipart=(Part("a", b"x"),))
        assert isinstance(await fails(upstream, form), MaybeSent)
        assert isinstance(await fails(upstream, post(url, save_to=tmp_path / "saved")), MaybeSent)
        with pytest.raises(MaybeSent):
            async with upstream.stream(post(url)) as answer:
                _ = [chunk async for chunk in answer.chunks()]


async def test_a_stream_is_handed_out_while_it_comes(upstream):
    more = asyncio.Event()

    async def events(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream"})
        await response.prepare(request)
        await response.write(b"data: 1\n\n")
        await more.wait()
        await response.write(b"data: 2\n\n")
        return response

    async with web_server(web.post("/v1/run", events)) as url, upstream.stream(post(url)) as answer:
        chunks = answer.chunks()
        assert await anext(chunks) == b"data: 1\n\n"
        more.set()
        assert await anext(chunks) == b"data: 2\n\n"
        assert [chunk async for chunk in chunks] == []


async def test_a_stream_that_breaks_may_have_been_sent(upstream):
    async def broken(reader, writer):
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n")
        await writer.drain()
        reset(writer)

    async with raw_server(broken) as url:
        with pytest.raises(MaybeSent):
            async with upstream.stream(post(url)) as answer:
                _ = [chunk async for chunk in answer.chunks()]


async def test_a_head_has_no_body_to_be_too_large(upstream):
    async def whole(request: web.Request) -> web.Response:
        return web.Response(body=b"x" * 1000)

    async with web_server(web.get("/", whole)) as url:
        answer = await upstream.perform(HttpRequest("HEAD", url, max_bytes=10))
    assert (answer.headers["content-length"], answer.body) == ("1000", b"")


async def test_cookies_of_one_answer_are_not_sent_with_the_next(upstream):
    async def cookie(request: web.Request) -> web.Response:
        return web.Response(text=request.headers.get("Cookie", "none"), headers={"Set-Cookie": "a=1"})

    async with web_server(web.post("/v1/run", cookie)) as url:
        await upstream.perform(post(url))
        assert (await upstream.perform(post(url))).body == b"none"


async def test_with_a_guard_a_private_answer_of_the_name_server_is_refused_before_connecting():
    connected = []

    async def note(reader, writer):
        connected.append(1)

    async with raw_server(note) as url:
        names = Names({"hooks.example.com": ["127.0.0.1"]})
        upstream = Upstream("webhooks", guard=Guard(resolver=names))
        with pytest.raises(Blocked):
            await upstream.perform(post(url.replace("127.0.0.1", "hooks.example.com")))
        with pytest.raises(Blocked):
            await upstream.perform(post(url))
        await upstream.close()
    assert not connected
