"""Media links whose files are in S3: redirected to the storage, or sent through us."""

from pathlib import Path

import httpx2 as httpx
import pytest
from obstore.store import MemoryStore
from starlette.applications import Starlette
from starlette.routing import Route

from calotype.kernel.clock import ManualClock
from calotype.media.remote import RemoteStore, headers_of
from calotype.media.serve import MediaEndpoint
from calotype.media.signing import Signer

SIGNER = Signer([b"s" * 32])
BODY = bytes(range(256)) * 2000


@pytest.fixture
def files(remote: RemoteStore) -> RemoteStore:
    return remote


def endpoint(files: RemoteStore, clock: ManualClock, presign_s: int | None) -> httpx.AsyncClient:
    media = MediaEndpoint(files, SIGNER, clock, presign_s=presign_s)
    transport = httpx.ASGITransport(Starlette(routes=[Route("/v1/media/{token}/{name}", media)]))
    return httpx.AsyncClient(transport=transport, base_url="http://test")


def link(clock: ManualClock, key: str, kind: str, lifetime_s: int = 60) -> str:
    return SIGNER.path(key, kind, clock.now_ms() + lifetime_s * 1000, key.rpartition("/")[2])


async def test_a_redirect_leads_any_client_to_the_file(files):
    await files.put("o/j/0.mp4", BODY)
    clock = ManualClock()
    async with endpoint(files, clock, 900) as ours, httpx.AsyncClient() as plain:
        answer = await ours.get(link(clock, "o/j/0.mp4", "video/mp4"))
        assert (answer.status_code, answer.content) == (302, b"")
        assert (answer.headers["cache-control"], answer.headers["referrer-policy"]) == ("no-store", "no-referrer")
        where = answer.headers["location"]
        whole = await plain.get(where)
        assert (whole.content, whole.headers["content-type"]) == (BODY, "video/mp4")
        assert whole.headers["cache-control"] == "private, max-age=3600, immutable"
        assert whole.headers["content-disposition"] == 'inline; filename="0.mp4"'
        part = await plain.get(where, headers={"Range": "bytes=1000-1999"})
        assert (part.status_code, part.content) == (206, BODY[1000:2000])
        assert part.headers["content-range"] == f"bytes 1000-1999/{len(BODY)}"
        head = await ours.head(link(clock, "o/j/0.mp4", "video/mp4"))
        assert (await plain.head(head.headers["location"])).headers["content-length"] == str(len(BODY))


@pytest.mark.parametrize(("lifetime_s", "expires"), [(60, "60"), (7200, "900")])
async def test_a_signed_url_never_outlives_its_link(files, lifetime_s, expires):
    await files.put("o/j/0.mp4", BODY)
    clock = ManualClock()
    async with endpoint(files, clock, 900) as ours:
        path = link(clock, "o/j/0.mp4", "video/mp4", lifetime_s)
        where = httpx.URL((await ours.get(path)).headers["location"])
        assert where.params["X-Amz-Expires"] == expires
        assert where.params["X-Amz-SignedHeaders"] == "host"
        clock.advance(lifetime_s * 1000 + 1)
        assert (await ours.get(path)).status_code == 410
        assert (await ours.get(path[:-20] + "x/0.mp4")).status_code == 404
    assert "a-secret" not in str(where)


@pytest.mark.parametrize("presign_s", [900, None])
async def test_a_file_that_was_swept_is_gone_in_words(files, presign_s):
    clock = ManualClock()
    async with endpoint(files, clock, presign_s) as ours:
        answer = await ours.get(link(clock, "o/j/0.png", "image/png"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (410, "gone")


@pytest.mark.parametrize(("name", "kind"), [("0.svg", "image/svg+xml"), ("0.html", "text/html")])
async def test_active_content_is_saved_and_not_shown(files, name, kind):
    await files.put(f"o/j/{name}", b"<svg onload='x()'/>")
    clock = ManualClock()
    async with endpoint(files, clock, 900) as ours, httpx.AsyncClient() as plain:
        where = (await ours.get(link(clock, f"o/j/{name}", kind))).headers["location"]
        answer = await plain.get(where)
    assert answer.headers["content-disposition"] == f'attachment; filename="{name}"'
    assert answer.headers["content-type"] == kind
    async with endpoint(files, clock, None) as ours:
        relayed = await ours.get(link(clock, f"o/j/{name}", kind))
    assert relayed.headers["content-security-policy"].startswith("sandbox")
    assert relayed.headers["x-content-type-options"] == "nosniff"


RANGES = [
    ("bytes=0-0", 0, 1),
    ("bytes=1000-1999", 1000, 2000),
    ("bytes=-5", len(BODY) - 5, len(BODY)),
    ("bytes=511990-", 511990, len(BODY)),
    ("bytes=10-999999999", 10, len(BODY)),
]


@pytest.mark.parametrize(("wanted", "start", "end"), RANGES)
async def test_a_range_comes_through_us(files, monkeypatch, wanted, start, end):
    monkeypatch.setattr("calotype.media.remote.BLOCK_BYTES", 100_000)  # several blocks
    await files.put("o/j/0.mp4", BODY)
    clock = ManualClock()
    async with endpoint(files, clock, None) as ours:
        answer = await ours.get(link(clock, "o/j/0.mp4", "video/mp4"), headers={"Range": wanted})
    assert (answer.status_code, answer.content) == (206, BODY[start:end])
    assert answer.headers["content-range"] == f"bytes {start}-{end - 1}/{len(BODY)}"
    assert answer.headers["content-length"] == str(end - start)


async def test_the_whole_file_comes_through_us_with_its_validators(files):
    await files.put("o/j/0.mp4", BODY)
    clock = ManualClock()
    async with endpoint(files, clock, None) as ours:
        path = link(clock, "o/j/0.mp4", "video/mp4")
        answer = await ours.get(path)
        assert (answer.status_code, answer.content) == (200, BODY)
        assert (answer.headers["content-type"], answer.headers["accept-ranges"]) == ("video/mp4", "bytes")
        etag = answer.headers["etag"]
        assert (await ours.get(path, headers={"If-None-Match": etag})).status_code == 304
        head = await ours.head(path, headers={"Range": "bytes=0-1"})
        assert (head.status_code, head.content, head.headers["content-length"]) == (200, b"", str(len(BODY)))
        for wanted in ("bytes=0-1,5-6", "furlongs=1-2", "bytes=x-"):
            assert (await ours.get(path, headers={"Range": wanted})).content == BODY
        too_far = await ours.get(path, headers={"Range": "bytes=999999999-"})
        assert (too_far.status_code, too_far.headers["content-range"]) == (416, f"bytes */{len(BODY)}")
        resumed = {"Range": "bytes=5-9", "If-Range": etag}
        assert (await ours.get(path, headers=resumed)).content == BODY[5:10]
        changed = {"Range": "bytes=5-9", "If-Range": '"other"'}
        assert (await ours.get(path, headers=changed)).content == BODY


async def test_a_storage_that_cannot_sign_is_served_through_us(tmp_path):
    files = RemoteStore(MemoryStore(), tmp_path / "spool")
    await files.put("o/j/0.mp4", BODY)
    await files.check()
    clock = ManualClock()
    async with endpoint(files, clock, 900) as ours:
        answer = await ours.get(link(clock, "o/j/0.mp4", "video/mp4"))
    assert (answer.status_code, answer.content) == (200, BODY)
    await files.close()


@pytest.mark.parametrize(
    ("key", "kind", "how"),
    [("o/0.png", "image/png", "inline"), ("o/0.xyz", "application/octet-stream", "inline"),
     ("o/0.svg", "image/svg+xml", "attachment")],
)  # fmt: skip
def test_what_a_file_is_follows_from_its_key(key, kind, how):
    headers = headers_of(key)
    assert headers["Content-Type"] == kind
    assert headers["Content-Disposition"] == f'{how}; filename="{Path(key).name}"'
