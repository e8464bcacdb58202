"""The database goes away, or the disk is full, while requests come in: nobody is told what is not so."""

import asyncio
import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from crash.conftest import furnish
from crash.house import House, until
from db.commit_proxy import Server, server_of_its_own

pytestmark = pytest.mark.crash

VIDEOS, IMAGES = "/v1/videos/generations", "/v1/images/generations"


@contextlib.contextmanager
def disk_of(size: str) -> Iterator[Path]:
    """Mount a small disk of its own; needs root."""
    with tempfile.TemporaryDirectory(prefix="calotype-disk-") as path:
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path]
        if os.geteuid() != 0 or subprocess.run(mount, check=False, capture_output=True).returncode:
            pytest.skip("a disk of its own can only be mounted by root")
        try:
            yield Path(path)
        finally:
            subprocess.run(["umount", "-l", path], check=True)


def fill(disk: Path) -> Path:
    """Leave no free block on the disk; return the file that does it."""
    filler = disk / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)
    return filler


@pytest.fixture
def crashing() -> Iterator[Server]:
    with server_of_its_own() as server:
        yield server


async def test_a_database_that_crashes_under_load_loses_no_accepted_job(
    crashing: Server, tmp_path: Path, nursery, emulator
) -> None:
    house = House(crashing.url, tmp_path, await furnish(crashing.url), nursery, emulator)
    try:
        server = await house.start()
        answers: list[tuple[int, str | None]] = []

        async def send(n: int) -> None:
            model, path = ("test/picture", IMAGES) if n % 2 else ("test/film-key", VIDEOS)
            prompt = f"{house.word} {n} @work=0.3 @delay=0.2"
            status, answer = await server.post(path, {"model": model, "prompt": prompt}, {"Idempotency-Key": f"k{n}"})
            answers.append((status, answer and answer["job"]))

        sending = [asyncio.create_task(send(n)) for n in range(24)]
        await until(lambda: len(house.emulator.submits_of(house.word)) >= 6, "work to begin")
        await asyncio.to_thread(crashing.crash_and_start)
        await asyncio.gather(*sending)
        house.forget_connection()
        await house.ended()
        known = {row[0] for row in house.jobs()}
        assert {job for _, job in answers if job} <= known
        assert all(status in (200, 202, 500, 502, 503) for status, _ in answers)
        for submit in house.emulator.submits_of(house.word):
            assert len(house.emulator.works_of(submit.prompt)) == 1
        house.check()

        status, _ = await server.post(IMAGES, {"model": "test/picture", "prompt": f"{house.word} afterwards"})
        assert status == 200
    finally:
        house.close()


async def test_a_full_disk_refuses_and_charges_nothing_and_goes_on_when_there_is_room(
    tmp_path: Path, sqlite_model, nursery, emulator
) -> None:
    model, key = sqlite_model
    with disk_of("12m") as disk:
        shutil.copy(model, disk / "calotype.db")
        (tmp_path / "data").mkdir()
        house = House(f"sqlite:///{disk / 'calotype.db'}", tmp_path, key, nursery, emulator)
        try:
            server = await house.start()
            early = await server.post(IMAGES, {"model": "test/picture", "prompt": f"{house.word} early"})
            assert early[0] == 200
            slow = asyncio.create_task(
                server.post(IMAGES, {"model": "test/picture", "prompt": f"{house.word} slow @delay=1.0"})
            )
            await until(lambda: house.emulator.submits_of(f"{house.word} slow"), "the slow request to leave")
            filler = fill(disk)
            status, _ = await server.post(IMAGES, {"model": "test/picture", "prompt": f"{house.word} refused"})
            assert status == 503
            assert house.emulator.submits_of(f"{house.word} refused") == []
            await until(lambda: house.emulator.works_of(f"{house.word} slow"), "the upstream to answer")
            filler.unlink()
            status, _ = await slow
            assert status == 200, "its result was kept until it could be written down"
            assert await house.ended() == ["succeeded", "succeeded"]
            house.check()
        finally:
            house.close()
