import asyncio
import hashlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2 as httpx
import pytest
from obstore.store import MemoryStore
from starlette.applications import Starlette
from starlette.routing import Route

from calotype.accounts import Accounts
from calotype.kernel import points
from calotype.kernel.clock import ManualClock, SystemClock
from calotype.kernel.errors import Code, Problem
from calotype.media.artifacts import keep_body
from calotype.media.remote import PART_BYTES, RemoteStore, headers_of
from calotype.media.serve import MediaEndpoint
from calotype.media.signing import Signer
from calotype.media.store import Ready, StoreError
from calotype.media.sweep import ORPHAN_AGE_MS, sweep
from media.s3 import S3
from upstream import PICTURE

SIGNER = Signer([b"s" * 32])
BODY = bytes(range(256)) * 2000


@pytest.fixture
async def files(s3: S3, bucket: str, tmp_path: Path) -> AsyncIterator[RemoteStore]:
    made = s3.store(bucket, tmp_path / "spool")
    yield made
    await made.close()


def left(files: RemoteStore) -> list[str]:
    return [path.name for path in files.temp_path().parent.iterdir()]


async def test_a_stored_file_is_there_with_its_size_and_hash(files):
    stored = await files.put("org/job/0.png", b"picture")
    assert (stored.size_bytes, stored.sha256) == (7, hashlib.sha256(b"picture").hexdigest())
    assert await files.open("org/job/0.png") == b"picture"
    found = await files.stat("org/job/0.png")
    assert (found.key, found.size_bytes) == ("org/job/0.png", 7)
    assert abs(found.modified_ms - time.time() * 1000) < 60_000
    assert files.path_of("org/job/0.png") is None
    assert left(files) == []


async def test_the_same_key_again_replaces_the_file(files):
    first = await files.put("org/job/0.png", b"picture")
    assert await files.put("org/job/0.png", b"picture") == first
    await files.put("org/job/0.png", b"other")
    assert await files.open("org/job/0.png") == b"other"


async def test_a_burst_is_kept_and_one_failure_in_it_is_one_failure(files):
    def refuse() -> Ready:
        raise ValueError("not this one")

    bodies = {f"org/job{n}/0.bin": bytes([n]) * (n + 1) for n in range(40)}
    puts = [files.put(key, body) for key, body in bodies.items()]
    *stored, bad = await asyncio.gather(*puts, files.put_prepared(refuse), return_exceptions=True)
    assert isinstance(bad, ValueError)
    assert [(one.key, one.size_bytes) for one in stored] == [(key, len(body)) for key, body in bodies.items()]
    assert await files.open("org/job7/0.bin") == bodies["org/job7/0.bin"]


async def test_a_large_file_goes_in_parts_and_leaves_the_spool(files, s3, bucket, tmp_path, monkeypatch):
    passed: list[str] = []
    monkeypatch.setattr(points, "on_point", passed.append)
    body = os.urandom(2 * PART_BYTES + 12_345)
    gathered, foreign = files.temp_path(), tmp_path / "foreign"
    for path in (gathered, foreign):
        path.write_bytes(body)
    moved = await files.put("o/1.mp4", gathered)
    copied = await files.put("o/2.mp4", foreign)
    inside = await files.put("o/3.mp4", body)
    assert moved.sha256 == copied.sha256 == inside.sha256 == hashlib.sha256(body).hexdigest()
    assert passed == ["store.partial", "store.written"] * 3
    assert (foreign.exists(), gathered.exists(), left(files)) == (True, False, [])
    async with httpx.AsyncClient() as client:
        answer = await client.head(f"{s3.url}/{bucket.removeprefix('s3://')}/o/1.mp4")
    assert answer.headers["etag"].endswith('-3"')
    lent = await files.borrow("o/2.mp4")
    assert (lent.read_bytes() == body, lent.suffix, lent.stat().st_mode & 0o777) == (True, ".mp4", 0o600)
    await files.give_back(lent)
    assert left(files) == []


async def test_a_file_that_could_not_be_sent_stays_to_be_sent_again(files, s3, tmp_path):
    nowhere = s3.store("s3://no-such-bucket/x", tmp_path / "spool")
    path = nowhere.temp_path()
    path.write_bytes(PICTURE)
    with pytest.raises(StoreError, match="no such bucket"):
        await nowhere.put("o/a.png", path)
    assert path.exists()
    await nowhere.close()
    assert (await files.put("o/a.png", path)).size_bytes == len(PICTURE)


async def test_what_an_earlier_attempt_sent_is_found_when_its_file_is_gone(files):
    path = files.temp_path()
    path.write_bytes(PICTURE)
    first, _ = await keep_body(path, key_base="o/j/0", max_bytes=1 << 20, store=files)
    again, kept = await keep_body(path, key_base="o/j/0", max_bytes=1 << 20, store=files)
    assert again == first
    assert (kept.facts.content_type, kept.facts.width) == ("image/png", 64)
    assert left(files) == []


async def test_deleting_may_be_repeated_and_a_missing_file_is_said_so(files):
    await asyncio.gather(*(files.put(f"o/{n}.bin", b"x") for n in range(5)))
    assert await files.delete([f"o/{n}.bin" for n in range(4)]) == 4
    await files.delete(["o/0.bin", "o/9.bin"])
    assert [await files.exists(f"o/{n}.bin") for n in range(5)] == [False] * 4 + [True]
    for ask in (files.open, files.borrow):
        with pytest.raises(Problem) as caught:
            await ask("o/0.bin")
        assert caught.value.code is Code.NOT_FOUND
    assert left(files) == []


async def test_a_scan_pages_through_our_files_and_no_others(files, s3, bucket, monkeypatch):
    monkeypatch.setattr("calotype.media.remote.PAGE", 7)
    keys = {f"org-{n}/job_{n}/0.png" for n in range(20)}
    await asyncio.gather(*(files.put(key, b"12345") for key in keys))
    async with httpx.AsyncClient() as client:
        await client.put(f"{s3.url}/{bucket.removeprefix('s3://')}/somebody else's ~ file", content=b"x")
    pages = [page async for page in files.scan()]
    assert max(len(page) for page in pages) <= 7
    assert {one.key for page in pages for one in page} == keys
    assert {one.size_bytes for page in pages for one in page} == {5}


async def test_a_sweep_takes_our_orphans_and_leaves_other_installations_files(db, files):
    accounts = Accounts(db, SystemClock())
    await accounts.start()
    ours, theirs = f"{(await accounts.get_org('default')).id}/job/0.png", "0190a1b2/job/0.png"
    for key in (ours, theirs):
        await files.put(key, b"x")
    young = ManualClock(int(time.time() * 1000))
    assert (await sweep(db, files, clock=young, orphans=True)).orphans == 0
    later = ManualClock(int(time.time() * 1000) + ORPHAN_AGE_MS + 60_000)
    assert (await sweep(db, files, clock=later, orphans=True)).orphans == 1
    assert [await files.exists(key) for key in (ours, theirs)] == [False, True]


async def test_a_cancelled_caller_does_not_undo_the_write_and_closing_waits_for_it(s3, bucket, tmp_path):
    files = s3.store(bucket, tmp_path / "spool")
    task = asyncio.ensure_future(files.put("o/a.bin", b"x"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await files.close()
    assert await files.exists("o/a.bin")


CRASH = """
import asyncio, os, signal, sys
from pathlib import Path
from calotype.kernel import points
from calotype.media.backends import open_backend
from calotype.media.remote import RemoteStore
from calotype.settings import StorageSettings

async def main():
    url, folder, point, size = sys.argv[1:]
    files = RemoteStore(open_backend(url, StorageSettings()), Path(folder))
    await files.put("o/before.bin", b"kept")
    points.on_point = lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == point else None
    await files.put("o/a.bin", b"n" * int(size))

asyncio.run(main())
"""


@pytest.mark.parametrize("size_bytes", [1000, 2 * PART_BYTES + 1])
@pytest.mark.parametrize(("point", "there"), [("store.partial", False), ("store.written", True)])
async def test_a_killed_process_leaves_a_whole_file_or_none(files, s3, bucket, tmp_path, point, there, size_bytes):
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", CRASH, bucket, str(tmp_path / "other"), point, str(size_bytes),
        env={**os.environ, **s3.env(bucket)},
    )  # fmt: skip
    assert await process.wait() == -signal.SIGKILL
    assert await files.open("o/before.bin") == b"kept"
    assert await files.exists("o/a.bin") is there
    await files.put("o/a.bin", b"n" * size_bytes)
    assert await files.open("o/a.bin") == b"n" * size_bytes


# -- serving ---------------------------------------------------------------------------------------------------------


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
