from collections.abc import AsyncIterator, Callable

import httpx2 as httpx
import pytest
from starlette.applications import Starlette
from starlette.routing import Route

from calotype.kernel.clock import ManualClock
from calotype.media.serve import MediaEndpoint
from calotype.media.signing import Signer

BODY = bytes(range(256)) * 2000
SIGNER = Signer([b"s" * 32])


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def client(files, clock) -> AsyncIterator[httpx.AsyncClient]:
    await files.put("org/job/0.bin", BODY)
    app = Starlette(routes=[Route("/v1/media/{token}/{name}", MediaEndpoint(files, SIGNER, clock))])
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://test") as made:
        yield made


@pytest.fixture
def link(clock) -> Callable[..., str]:
    def make(content_type: str = "video/mp4", name: str = "film.mp4", key: str = "org/job/0.bin") -> str:
        return SIGNER.path(key, content_type, clock.now_ms() + 60_000, name)

    return make


async def test_the_file_comes_whole_with_its_validators(client, link):
    answer = await client.get(link())
    assert answer.status_code == 200
    assert answer.content == BODY
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-length"] == str(len(BODY))
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["cache-control"] == "private, max-age=60, immutable"
    assert answer.headers["content-disposition"] == 'inline; filename="film.mp4"'
    again = await client.get(link(), headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")


async def test_head_has_the_headers_and_no_body(client, link):
    answer = await client.head(link(), headers={"Range": "bytes=0-1"})
    assert (answer.status_code, answer.content) == (200, b"")
    assert answer.headers["content-length"] == str(len(BODY))


@pytest.mark.parametrize(
    ("wanted", "start", "end"),
    [
        ("bytes=0-99", 0, 100),
        ("bytes=100-", 100, None),
        ("bytes=-50", -50, None),
        ("bytes=511000-99999999", 511000, None),
    ],
)
async def test_a_range_is_answered_with_exactly_those_bytes(client, link, wanted, start, end):
    answer = await client.get(link(), headers={"Range": wanted})
    part = BODY[start:end]
    first = start if start >= 0 else len(BODY) + start
    assert answer.status_code == 206
    assert answer.content == part
    assert answer.headers["content-range"] == f"bytes {first}-{first + len(part) - 1}/{len(BODY)}"


async def test_several_ranges_come_as_parts(client, link):
    answer = await client.get(link(), headers={"Range": "bytes=0-1, 10-11"})
    assert answer.status_code == 206
    assert answer.headers["content-type"].startswith("multipart/byteranges")
    assert BODY[0:2] in answer.content
    assert BODY[10:12] in answer.content


async def test_a_range_behind_the_end_is_416(client, link):
    answer = await client.get(link(), headers={"Range": f"bytes={len(BODY)}-"})
    assert answer.status_code == 416
    assert answer.headers["content-range"] == f"bytes */{len(BODY)}"


@pytest.mark.parametrize("wanted", ["lines=0-1", "bytes=a-b", "bytes", "nonsense"])
async def test_a_range_that_is_not_understood_is_ignored(client, link, wanted):
    answer = await client.get(link(), headers={"Range": wanted})
    assert (answer.status_code, len(answer.content)) == (200, len(BODY))


async def test_if_range_sends_the_part_only_of_the_same_file(client, link):
    etag = (await client.head(link())).headers["etag"]
    same = await client.get(link(), headers={"Range": "bytes=0-9", "If-Range": etag})
    other = await client.get(link(), headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    assert (same.status_code, other.status_code) == (206, 200)


@pytest.mark.parametrize(("content_type", "tame"), [("image/svg+xml", True), ("text/html", True), ("image/png", False)])
async def test_active_content_is_sandboxed(client, link, content_type, tame):
    answer = await client.get(link(content_type))
    assert answer.headers.get("content-security-policy", "").startswith("sandbox") is tame
    assert answer.headers["x-content-type-options"] == "nosniff"


async def test_an_expired_link_is_gone_in_words(client, link, clock):
    path = link()
    clock.advance(61_000)
    answer = await client.get(path)
    assert answer.status_code == 410
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("gone", None)
    assert set(error) == {"message", "type", "code", "param"}


async def test_a_forged_link_and_a_swept_file(client, link, files):
    forged = await client.get("/v1/media/" + "A" * 60 + "/x.png")
    assert (forged.status_code, forged.json()["error"]["code"]) == (404, "not_found")
    await files.delete(["org/job/0.bin"])
    assert (await client.get(link())).status_code == 410


async def test_media_can_only_be_read(client, link):
    answer = await client.post(link())
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET, HEAD")


async def test_a_name_cannot_break_the_header(client, link):
    answer = await client.get(link(name='a"\r\nX-Evil: 1 ü.mp4'))
    assert "x-evil" not in answer.headers
    assert answer.headers["content-disposition"].startswith('inline; filename="a___X-Evil_ 1 _.mp4"; filename*=UTF-8')
