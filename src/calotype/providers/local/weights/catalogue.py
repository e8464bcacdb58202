"""The catalogue of weights as data: id, licence, and for each file its size, digest and the packages that carry it."""

import difflib
import re
import tomllib
from functools import cache
from pathlib import Path
from typing import Literal

import msgspec
from msgspec import Struct

ENTRIES = Path(__file__).parent / "entries"
PICKLES = frozenset({".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".joblib", ".npy", ".npz", ".h5", ".keras"})
"""Names that may hold code; no entry may use one."""

Format = Literal["gguf", "onnx", "safetensors", "tflite", "ncnn-param", "ncnn-bin", "ctranslate2", "json", "text"]

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
_PINNED = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*==[A-Za-z0-9][A-Za-z0-9.+!-]*")
_SHA256 = re.compile(r"[0-9a-f]{64}")


class WeightsError(ValueError):
    """Weights that cannot be used or had, in a sentence for people."""


class Part(Struct, frozen=True, forbid_unknown_fields=True):
    """A member of a package: `wheel` is `name==version`, `member` the path inside its wheel."""

    wheel: str
    member: str


class WeightsFile(Struct, frozen=True, forbid_unknown_fields=True):
    """One file: what it must be, and the members that give it when they are joined in order."""

    name: str
    format: Format
    size_bytes: int
    sha256: str
    parts: tuple[Part, ...] = ()


class Entry(Struct, frozen=True, forbid_unknown_fields=True):
    """One set of weights; `origin` is where its authors publish it."""

    id: str
    title: str
    licence: str
    origin: str
    files: tuple[WeightsFile, ...]

    @property
    def size_bytes(self) -> int:
        """The size of all its files."""
        return sum(file.size_bytes for file in self.files)

    @property
    def wheels(self) -> tuple[str, ...]:
        """The packages that carry it, each as `name==version`, in order."""
        return tuple(dict.fromkeys(part.wheel for file in self.files for part in file.parts))


@cache
def entries(folder: Path = ENTRIES) -> dict[str, Entry]:
    """Return every entry by id.

    Raises:
        WeightsError: a file that is not a sound entry.

    """
    found: dict[str, Entry] = {}
    for path in sorted(folder.glob("*.toml")):
        try:
            entry = msgspec.convert(tomllib.loads(path.read_text("utf-8")), Entry)
        except (tomllib.TOMLDecodeError, msgspec.ValidationError) as error:
            raise WeightsError(f"{path.name}: {error}") from None
        _check(path, entry)
        found[entry.id] = entry
    return found


def find(name: str, folder: Path = ENTRIES) -> Entry:
    """Return an entry.

    Raises:
        WeightsError: there is none of this id; the message names those that are near.

    """
    known = entries(folder)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=3, cutoff=0.4) or sorted(known)
        raise WeightsError(f"No weights are called {name!r}; there are {', '.join(near)}.")
    return known[name]


def _check(path: Path, entry: Entry) -> None:
    names = [file.name for file in entry.files]
    wrong = None
    if entry.id != path.stem or not _ID.fullmatch(entry.id):
        wrong = "id must be the name of the file, in small letters"
    elif not names or len(set(names)) != len(names):
        wrong = "files must be named, each once"
    for file in entry.files:
        if not _NAME.fullmatch(file.name):
            wrong = f"{file.name!r} is not a plain file name"
        elif Path(file.name).suffix.lower() in PICKLES:
            wrong = f"{file.name} may hold code; only formats without code are taken"
        elif not _SHA256.fullmatch(file.sha256) or file.size_bytes < 1:
            wrong = f"{file.name} needs its size and SHA-256 digest"
        elif not all(_PINNED.fullmatch(part.wheel) for part in file.parts):
            wrong = f"{file.name}: a wheel is written name==version"
    if wrong is not None:
        raise WeightsError(f"{path.name}: {wrong}")
