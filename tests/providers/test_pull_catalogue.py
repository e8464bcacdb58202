"""The catalogue of weights: entries are sound, files hold no code, and a model gets only what was proved."""

import pickle
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from pullbox import MODEL, Place, entry

from calotype.providers.local.messages import Unavailable
from calotype.providers.local.weights import WeightsError, WeightsFile, entries, find, folder_of, is_pulled, pulled
from calotype.providers.local.weights.catalogue import PICKLES, Part
from calotype.providers.local.weights.formats import check_format


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    yield Place.within(tmp_path)
    entries.cache_clear()


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
        find("tiny", place.catalogue)
