import asyncio
import errno
import hashlib
import os
import signal
import subprocess
import sys

import pytest

from calotype.kernel.errors import Code, Problem
from calotype.media.local import LocalStore
from calotype.media.store import Ready, Stat, StoreError, StoreFull, check_key


def temporary(files: LocalStore) -> list[str]:
    return [path.name for path in files.temp_path().parent.iterdir()]


async def test_a_stored_file_is_there_with_its_size_and_hash(files):
    stored = await files.put("org/job/0.png", b"picture")
    assert stored.size_bytes == 7
    assert stored.sha256 == hashlib.sha256(b"picture").hexdigest()
    assert await files.open("org/job/0.png") == b"picture"
    assert await files.exists("org/job/0.png")
    assert (await files.stat("org/job/0.png")).size_bytes == 7
    assert temporary(files) == []
    assert files.path_of("org/job/0.png").stat().st_mode & 0o777 == 0o600


async def test_the_same_key_again_replaces_the_file(files):
    first = await files.put("org/job/0.png", b"picture")
    assert await files.put("org/job/0.png", b"picture") == first
    await files.put("org/job/0.png", b"other")
    assert await files.open("org/job/0.png") == b"other"


async def test_a_burst_is_written_together_and_each_caller_gets_its_own_answer(files, at_points):
    bodies = {f"org/job{n}/0.bin": bytes([n]) * (n + 1) for n in range(40)}
    stored = await asyncio.gather(*(files.put(key, body) for key, body in bodies.items()))
    assert [one.key for one in stored] == list(bodies)
    assert [one.size_bytes for one in stored] == [len(body) for body in bodies.values()]
    assert at_points == ["store.partial", "store.written"]
    for key, body in bodies.items():
        assert await files.open(key) == body


async def test_one_failure_in_a_burst_is_one_failure(files):
    def refuse() -> Ready:
        raise ValueError("not this one")

    good, bad, also = await asyncio.gather(
        files.put("o/a.bin", b"a"), files.put_prepared(refuse), files.put("o/b.bin", b"b"), return_exceptions=True
    )
    assert isinstance(bad, ValueError)
    assert (good.key, also.key) == ("o/a.bin", "o/b.bin")


async def test_a_gathered_file_is_moved_and_a_foreign_one_is_copied(files, tmp_path):
    gathered, foreign = files.temp_path(), tmp_path / "foreign"
    for path in (gathered, foreign):
        path.write_bytes(b"x" * 2_000_000)
    moved, copied = await asyncio.gather(files.put("o/1.bin", gathered), files.put("o/2.bin", foreign))
    assert moved.sha256 == copied.sha256 == hashlib.sha256(b"x" * 2_000_000).hexdigest()
    assert foreign.exists()
    assert not gathered.exists()
    assert temporary(files) == []


BAD_KEYS = ["", "/a", "a/", "../a", "a/../b", "a//b", ".hidden", "a/.b", "a~b", "a b", "a\n", "a\x00b", "é"]


@pytest.mark.parametrize("key", [*BAD_KEYS, "a" * 201, "/".join("abcdefghi")])
async def test_a_key_that_could_leave_the_store_is_refused(files, key):
    with pytest.raises(ValueError, match="not a storage key"):
        await files.put(key, b"x")
    with pytest.raises(ValueError, match="not a storage key"):
        check_key(key)


@pytest.mark.parametrize(
    ("number", "kind"), [(errno.ENOSPC, StoreFull), (errno.EDQUOT, StoreFull), (errno.EIO, StoreError)]
)
async def test_a_disk_that_cannot_write_is_a_typed_error_and_leaves_nothing(files, monkeypatch, number, kind):
    def full(descriptor: int, block: bytes) -> int:
        raise OSError(number, os.strerror(number), "/secret/path")

    monkeypatch.setattr("calotype.media.local.os.write", full)
    with pytest.raises(kind) as caught:
        await files.put("o/a.bin", b"x")
    assert "/secret" not in str(caught.value)
    monkeypatch.undo()
    assert temporary(files) == []
    assert not await files.exists("o/a.bin")
    await files.put("o/a.bin", b"x")


async def test_a_sync_that_fails_is_never_reported_as_stored(files, monkeypatch):
    def broken(descriptor: int) -> None:
        raise OSError(errno.EIO, "input/output error")

    monkeypatch.setattr("calotype.media.local._sync", broken)
    with pytest.raises(StoreError):
        await files.put("o/a.bin", b"x")
    assert not await files.exists("o/a.bin")
    assert temporary(files) == []


async def test_deleting_counts_what_was_there_and_may_be_repeated(files):
    await files.put("o/a.bin", b"x")
    assert await files.delete(["o/a.bin", "o/b.bin"]) == 1
    assert await files.delete(["o/a.bin"]) == 0
    with pytest.raises(Problem) as caught:
        await files.open("o/a.bin")
    assert caught.value.code is Code.NOT_FOUND


async def test_a_scan_names_every_file_by_its_key(files):
    keys = {f"org-{n}/job_{n}/0.png" for n in range(30)}
    await asyncio.gather(*(files.put(key, b"12345") for key in keys))
    found: list[Stat] = [one async for page in files.scan() for one in page]
    assert {one.key for one in found} == keys
    assert {one.size_bytes for one in found} == {5}


async def test_old_temporary_files_are_swept_and_young_ones_stay(files):
    old, young = files.temp_path(), files.temp_path()
    old.write_bytes(b"o")
    young.write_bytes(b"y")
    os.utime(old, (1000, 1000))
    assert await files.sweep_temp(2_000_000) == 1
    assert (old.exists(), young.exists()) == (False, True)


async def test_a_cancelled_caller_does_not_undo_the_write(files):
    task = asyncio.ensure_future(files.put("o/a.bin", b"x"))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    await files.put("o/b.bin", b"y")
    assert await files.exists("o/b.bin")


async def test_closing_waits_for_what_was_submitted(tmp_path):
    files = LocalStore(tmp_path / "m")
    puts = [asyncio.ensure_future(files.put(f"o/{n}.bin", b"x")) for n in range(200)]
    await asyncio.sleep(0)
    await files.close()
    assert all(put.done() for put in puts)
    assert len({put.result().key for put in puts}) == 200


CRASH = """
import asyncio, os, signal, sys
from pathlib import Path
from calotype.kernel import points
from calotype.media.local import LocalStore

async def main():
    files = LocalStore(Path(sys.argv[1]))
    await files.put("o/before.bin", b"kept")
    points.on_point = lambda name: os.kill(os.getpid(), signal.SIGKILL) if name == sys.argv[2] else None
    await files.put("o/a.bin", b"new")

asyncio.run(main())
"""


@pytest.mark.parametrize(("point", "there"), [("store.partial", False), ("store.written", True)])
async def test_a_killed_process_leaves_a_whole_file_or_none(tmp_path, point, there):
    done = subprocess.run([sys.executable, "-c", CRASH, str(tmp_path / "m"), point], check=False)
    assert done.returncode == -signal.SIGKILL
    files = LocalStore(tmp_path / "m")
    assert await files.open("o/before.bin") == b"kept"
    assert await files.exists("o/a.bin") is there
    await files.put("o/a.bin", b"new")
    assert await files.open("o/a.bin") == b"new"
    await files.close()
