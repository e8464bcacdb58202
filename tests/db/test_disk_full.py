"""A full disk: nobody is told "done" who was not, and the writer works again once there is room."""

import contextlib
import os
import sqlite3
import subprocess
import tempfile
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import psycopg
import pytest
from msgspec import Struct
from notes import CREATE, WRITE, Note, ended, held, notes_of, opened

from calotype.db import Database, Sql, Tx
from calotype.kernel.errors import Code, Problem

BIG = "x" * 20_000
FILLER = "filler"


@contextlib.contextmanager
def mounted(size: str) -> Iterator[Path]:
    """Mount a small disk of its own, where other users can reach it; needs root."""
    path = Path(tempfile.mkdtemp(prefix="calotype-disk-"))
    path.chmod(0o755)
    done = os.geteuid() == 0 and subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(path)], check=False, capture_output=True
    )
    if not done or done.returncode:
        path.rmdir()
        pytest.skip("a disk of its own can only be mounted by root")
    try:
        yield path
    finally:
        subprocess.run(["umount", "-l", str(path)], check=True)
        path.rmdir()


def fill(disk: Path) -> None:
    """Leave no free block on the disk."""
    with (disk / FILLER).open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(b"\0" * 4096)


async def batch_of(db: Database, names: Sequence[str], text: str = BIG) -> dict[str, Any]:
    with held(db):
        answers = [db.submit(Note(name, text)) for name in names]
    return dict(zip(names, await ended(answers), strict=True))


def kept(answers: dict[str, Any]) -> set[str]:
    """Check that every answer is a result or an honest refusal, and return who was told "done"."""
    for answer in answers.values():
        if isinstance(answer, Problem):
            assert answer.code is Code.UNAVAILABLE
            assert "nothing was changed" in answer.message
        else:
            assert isinstance(answer, str)
    return {name for name, answer in answers.items() if isinstance(answer, str)}


async def until_full(db: Database) -> set[str]:
    """Write batches until one is refused; return whoever was told "done"."""
    done: set[str] = set()
    for n in range(200):
        answers = await batch_of(db, [f"{n}-{k}" for k in range(5)])
        done |= kept(answers)
        if len(kept(answers)) < len(answers):
            assert not kept(answers), "a batch is kept whole or not at all"
            return done
    raise AssertionError("the disk was never full")


async def test_a_full_disk_under_sqlite_refuses_whole_batches_and_heals() -> None:
    with mounted("4m") as disk:
        url = f"sqlite:///{disk / 'calotype.db'}"
        async with opened(url) as db:
            await db.write(lambda tx: tx.execute(CREATE))
            done = kept(await batch_of(db, ["first"]))
            fill(disk)
            done |= await until_full(db)
            assert set(notes_of(url)) == done
            assert not kept(await batch_of(db, ["still", "full"]))
            (disk / FILLER).unlink()
            done |= kept(await batch_of(db, ["again-1", "again-2"]))
            assert {"first", "again-1", "again-2"} <= done
            assert notes_of(url) == dict.fromkeys(done, 1)
        assert notes_of(url) == dict.fromkeys(done, 1), "and after the file was closed and opened again"
        assert sqlite3.connect(disk / "calotype.db").execute("PRAGMA integrity_check").fetchone() == ("ok",)


async def limit_pages(db: Database, spare: int) -> None:
    used = (await db.write(lambda tx: tx.rows(Sql("PRAGMA page_count"))))[0][0]
    await db.write(lambda tx: tx.rows(Sql(f"PRAGMA max_page_count = {used + spare}")))


async def test_a_file_that_may_not_grow_refuses_whole_batches_and_heals(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'calotype.db'}"
    async with opened(url) as db:
        await db.write(lambda tx: tx.execute(CREATE))
        await limit_pages(db, 60)
        done = await until_full(db)
        assert done, "there was room for some"
        assert set(notes_of(url)) == done
        await limit_pages(db, 1000)
        done |= kept(await batch_of(db, ["again"]))
        assert "again" in done
        assert notes_of(url) == dict.fromkeys(done, 1)


class Swallow(Struct, frozen=True):
    """Meets the full disk, swallows the error and writes on."""

    point: ClassVar[str | None] = None
    locks: tuple[str, ...] = ()

    @classmethod
    def apply(cls, tx: Tx, batch: Sequence[Self]) -> Sequence[str]:
        for name, text in (("big", BIG * 50), ("small", "s")):
            with contextlib.suppress(sqlite3.Error):
                tx.execute(WRITE, {"id": name, "text": text})
        return ["fine"] * len(batch)


async def test_sqlites_silent_rollback_is_noticed_and_nothing_is_written_outside_a_transaction(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'calotype.db'}"
    async with opened(url) as db:
        await db.write(lambda tx: tx.execute(CREATE))
        await limit_pages(db, 20)
        with held(db):
            answers = [db.submit(Note("before", "b")), db.submit(Swallow()), db.submit(Note("after", "a"))]
        found = await ended(answers)
        assert not kept(dict(enumerate(found)))  # type: ignore[arg-type]
        assert notes_of(url) == {}
        assert kept(await batch_of(db, ["small"], "s")) == {"small"}


async def test_a_full_disk_under_postgresql_refuses_whole_batches_and_heals(postgres: str, template: str) -> None:
    with psycopg.connect(postgres, autocommit=True) as admin:
        row = admin.execute("SHOW data_directory").fetchone()
        assert row is not None
        data = Path(str(row[0]))
        if not data.exists():
            pytest.skip("the server is on another machine")
        with mounted("2m") as disk:
            home = disk / "home"
            home.mkdir()
            os.chown(home, data.stat().st_uid, data.stat().st_gid)
            name = f"disk_full_{uuid.uuid4().hex[:8]}"
            admin.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
            admin.execute(f"CREATE TABLESPACE {name} LOCATION '{home}'")
            url = postgres.replace("/postgres?", f"/{name}?", 1)
            try:
                async with opened(url) as db:
                    await db.write(
                        lambda tx: tx.execute(
                            Sql(
                                "CREATE TABLE note (id TEXT PRIMARY KEY, text TEXT NOT NULL, times INTEGER NOT NULL)"
                                f" TABLESPACE {name}"
                            )
                        )
                    )
                    await db.write(lambda tx: tx.execute(Sql("ALTER TABLE note ALTER text SET STORAGE EXTERNAL")))
                    fill(disk)
                    done = await until_full(db)
                    assert set(notes_of(url)) == done
                    (disk / FILLER).unlink()
                    done |= kept(await batch_of(db, ["again-1", "again-2"]))
                    assert {"again-1", "again-2"} <= done
                    assert notes_of(url) == dict.fromkeys(done, 1)
            finally:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
                admin.execute(f"DROP TABLESPACE {name}")
