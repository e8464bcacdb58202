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
MAX_FRAMES = 3_000
"""Frames that are decoded for one sheet; a film with longer ways between its key frames gives a shorter sheet."""


def thumbnail(path: Path) -> bytes:
    """Return one still as WebP; raises Problem where the film cannot be read."""
    picture = _stills(path, [EARLY])[0]
    picture.thumbnail((THUMBNAIL_SIDE, THUMBNAIL_SIDE))
    return _saved(picture, "WEBP", quality=80)


def spritesheet(path: Path) -> bytes:
    """Return stills spread evenly over the film as one JPEG, row by row; raises Problem as `thumbnail` does."""
    count = COLUMNS * ROWS
    pictures = _stills(path, [n / count for n in range(count)])
    for picture in pictures:
        picture.thumbnail((CELL_SIDE, CELL_SIDE))
    width, height = pictures[0].size
    sheet = Image.new("RGB", (width * COLUMNS, height * -(-len(pictures) // COLUMNS)))
    for n, picture in enumerate(pictures):
        sheet.paste(picture, (n % COLUMNS * width, n // COLUMNS * height))
    return _saved(sheet, "JPEG", quality=85)


def _saved(picture: Image.Image, form: str, *, quality: int) -> bytes:
    out = io.BytesIO()
    picture.save(out, form, quality=quality)
    return out.getvalue()


def _stills(path: Path, shares: list[float]) -> list[Image.Image]:
    """Return the frames nearest behind these shares of the film's length."""
    try:
        with path.open("rb") as file:
            head = file.read(HEAD_BYTES)
            file.seek(0)
            found = list(_from_gif(file, shares) if sniff(head) == "image/gif" else _from_film(file, head, shares))
    except (OSError, ValueError, Image.DecompressionBombError):
        found = []
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
    left = MAX_FRAMES
    with av.open(file, mode="r", format=kind, metadata_errors="ignore") as container:
        stream = container.streams.video[0] if container.streams.video else None
        if stream is None or stream.time_base is None:
            return
        stream.thread_count = 1
        length = stream.duration or (container.duration or 0) / av.time_base / stream.time_base
        begin = stream.start_time or 0
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
