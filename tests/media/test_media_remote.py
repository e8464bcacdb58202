import asyncio
import hashlib
import os
import signal
import sys
import time
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any

import httpx2 as httpx
import pytest

from calotype.accounts import Accounts
from calotype.jobs.inputs import InputFiles
from calotype.kernel import points
from calotype.kernel.clock import ManualClock, SystemClock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass
from calotype.media.artifacts import keep_body
from calotype.media.inputs import Inputs
from calotype.media.remote import PART_BYTES, RemoteStore
from calotype.media.signing import Signer
from calotype.media.store import Ready, StoreError
from calotype.media.sweep import ORPHAN_AGE_MS, sweep
from calotype.media.uploads import Uploads
from calotype.providers.base import MediaInputs
from upstream import PICTURE


@pytest.fixture
def files(remote: RemoteStore) -> RemoteStore:
    return remote


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


async def test_files_lent_for_a_job_are_given_back_even_when_one_of_them_cannot_be_had(db, files, guard):
    uploads = Uploads(db, files, max_bytes=1 << 20, retention_s=3600)
    inputs = Inputs(files, guard, uploads, Signer([b"s" * 32]), max_bytes=1 << 20)
    given = InputFiles(inputs, uploads, files)
    job: Any = SimpleNamespace(
        id="j", org_id="o", data_class=DataClass.GENERAL, plan=SimpleNamespace(media_fields=("images",))
    )

    async def chunks() -> AsyncIterator[bytes]:
        yield PICTURE

    upload = await uploads.create(chunks(), org_id="o", filename="a.png")
    _, lent = await given.prepare(job, {"images": [upload.id, upload.id]}, MediaInputs.FILE)
    assert [one.path.read_bytes() for one in lent["images"]] == [PICTURE, PICTURE]
    assert {one.path.suffix for one in lent["images"]} == {".png"}
    await given.release(job)
    assert left(files) == []
    with pytest.raises(Problem, match="no such upload"):
        await given.prepare(job, {"images": [upload.id, "file_" + "0" * 32]}, MediaInputs.FILE)
    assert left(files) == []
    assert await files.exists(upload.key)


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
from calotype.media.buckets import open_backend
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
