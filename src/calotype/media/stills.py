"""Stills of a film: one that stands for it, and a sheet of many; decoded within bounds, on a thread."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from calotype.kernel.errors import Code, Problem
from calotype.media.probe import HEAD_BYTES, container_of, sniff

THUMBNAIL_SIDE = 512
"""The longer side of a thumbnail, in pixels."""
COLUMNS, ROWS = 5, 4
CELL_SIDE = 256
EARLY = 0.1
"""A thumbnail is taken a tenth into the film, for many begin in black."""
TICKS_PER_S = 1_000_000
"""In which a container tells its length."""
MAX_FRAMES = 3_000
"""Frames that are decoded for one sheet; a film with longer ways between its key frames gives a shorter sheet."""


def thumbnail(path: Path) -> bytes:
    """Return one still as WebP; raises Problem where the film cannot be read."""
    return _saved(_stills(path, [EARLY], THUMBNAIL_SIDE)[0], "WEBP", quality=80)


def spritesheet(path: Path) -> bytes:
    """Return stills spread evenly over the film as one JPEG, row by row; raises Problem as `thumbnail` does."""
    count = COLUMNS * ROWS
    pictures = _stills(path, [n / count for n in range(count)], CELL_SIDE)
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width * COLUMNS, height * -(-len(pictures) // COLUMNS)))
    for n, picture in enumerate(pictures):
        sheet.paste(picture, (n % COLUMNS * width, n // COLUMNS * height))
    return _saved(sheet, "JPEG", quality=85)


def _saved(picture: Image.Image, form: str, *, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, quality=quality)
    return out.getvalue()


def _stills(path: Path, shares: list[float], side: int) -> list[Image.Image]:
    """Return the frames nearest behind these shares of the film's length, each no larger than `side`."""
    found = []
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(0)
            for picture in _from_gif(file, shares) if sniff(head) == "image/gif" else _from_film(file, head, shares):
                picture.thumbnail((side, side))
                found.append(picture)
    except (OSError, ValueError, EOFError, Image.DecompressionBombError):  # what was found before it broke is shown
        pass
    if not found:
        raise Problem(Code.NOT_FOUND, "No still can be made of this film.", field="variant")
    return found


def _from_gif(file: Any, shares: list[float]) -> Iterator[Image.Image]:
    with Image.open(file, formats=("GIF",)) as picture:
        frames = getattr(picture, "n_frames", 1)
        for share in shares:
            picture.seek(int(share * frames))
            yield picture.convert("RGB")


def _from_film(file: Any, head: bytes, shares: list[float]) -> Iterator[Image.Image]:
    import av  # noqa: PLC0415  (16 MiB that a server of pictures never needs)

    kind = container_of(head)
    if kind is None:
        return
    try:
        with av.open(file, mode="r", format=kind, metadata_errors="ignore") as container:
            yield from _frames(container, shares)
    except av.FFmpegError as error:
        raise ValueError(str(error)) from error


def _frames(container: Any, shares: list[float]) -> Iterator[Image.Image]:
    stream = container.streams.video[0] if container.streams.video else None
    if stream is None or stream.time_base is None:
        return
    stream.thread_count = 1
    length = stream.duration or (container.duration or 0) / TICKS_PER_S / stream.time_base
    begin = stream.start_time or 0
    left = MAX_FRAMES
    for share in shares:
        target = begin + int(share * length)
        container.seek(target, stream=stream)
        picture = None
        for frame in container.decode(stream):
            left -= 1
            picture = frame
            if left <= 0 or frame.pts is None or frame.pts >= target:
                break
        if picture is not None:
            yield picture.to_image()
        if left <= 0:
            return
