"""Weights that are on this machine: whether they are whole, and their folder for a model about to load them."""

import hashlib
from pathlib import Path

from calotype.providers.local.messages import Unavailable
from calotype.providers.local.weights.catalogue import Entry, entries, find

_CHUNK_BYTES = 1 << 20
_proved: set[tuple[str, int, int]] = set()


def pull_command(name: str) -> str:
    """Return the command that brings weights here."""
    return f"calotype models pull {name}"


def is_pulled(models_dir: Path, name: str) -> bool:
    """Say whether all files of an entry are here, by name and size; cheap enough for every request."""
    entry = entries().get(name)
    return entry is not None and complete(models_dir, entry)


def folder_of(models_dir: str | Path | None, name: str) -> Path:
    """Return the folder of pulled weights for a model about to load them; the digests are proved once in a process.

    Raises:
        Unavailable: they are not here or not the ones that were pinned; the message says what to do.

    """
    entry, command = find(name), pull_command(name)
    if models_dir is None or not complete(Path(models_dir), entry):
        raise Unavailable(f"The weights {name} are not on this machine: run {command}.")
    folder = Path(models_dir) / name
    for file in entry.files:
        path = folder / file.name
        found = path.stat()
        seen = (str(path), found.st_mtime_ns, found.st_ino)
        if seen in _proved:
            continue
        if digest_of(path) != file.sha256:
            raise Unavailable(f"The weights {name} were changed on disk: delete their folder and run {command}.")
        _proved.add(seen)
    return folder


def complete(models_dir: Path, entry: Entry) -> bool:
    """Say whether every file of an entry is here and has its size."""
    try:
        return all((models_dir / entry.id / one.name).stat().st_size == one.size_bytes for one in entry.files)
    except OSError:
        return False


def digest_of(path: Path) -> str:
    """Return the SHA-256 of a file in hexadecimal digits."""
    digest = hashlib.sha256()
    with path.open("rb") as body:
        while chunk := body.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()
