"""Films that come in: opened as the container their first bytes say, from the file itself, and within bounds."""

from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path
from typing import Any, NoReturn

import av
from av.container import InputContainer
from av.filter import Graph
from msgspec import Struct

from calotype.media.probe import HEAD_BYTES, container_of
from calotype.providers.local.messages import BadInput

MAX_SECONDS = 600.0
MAX_PIXELS = 4096 * 2304
MAX_FPS = 60
LONG_SIDE = 1920
"""Longest side of a film that is written; larger ones are scaled down."""
_TURNS = {90: ("transpose", "cclock"), -90: ("transpose", "clock"), 270: ("transpose", "clock"), 180: ("rotate", "PI")}


class Film(Struct, frozen=True):
    """What is known of a film before it is decoded; the size is that of the upright picture."""

    path: str
    field: str
    width: int
    height: int
    fps: Fraction
    seconds: float
    codec: str
    has_sound: bool

    @property
    def size(self) -> tuple[int, int]:
        """An even size of the film's own shape, at most `LONG_SIDE` long."""
        scale = min(1.0, LONG_SIDE / max(self.width, self.height))
        return max(16, 2 * round(self.width * scale / 2)), max(16, 2 * round(self.height * scale / 2))

    @property
    def frames(self) -> int:
        """About how many pictures it has."""
        return max(1, round(self.seconds * self.fps))


def look(path: str, field: str = "video_url") -> Film:
    """Return what a film is.

    Raises:
        BadInput: not a film, too long or too large.

    """
    with opened(path, field) as container:
        if not container.streams.video:
            raise BadInput(field, "This file holds no film.")
        stream = container.streams.video[0]
        width, height = stream.width, stream.height
        if not width or not height or width * height > MAX_PIXELS:
            raise BadInput(field, f"The film must have at most {MAX_PIXELS:,} pixels in a picture.")
        start = float((stream.start_time or 0) * (stream.time_base or 0))
        frame = next(container.decode(stream), None)
        if frame is None:
            raise BadInput(field, "The film has no pictures.")
        if frame.rotation in (90, -90, 270):
            width, height = height, width
        seconds = _seconds(container, path, start)
        if seconds > MAX_SECONDS:
            raise BadInput(field, f"The film may be {MAX_SECONDS:.0f} seconds long at most.")
        fps = min(Fraction(stream.average_rate or stream.guessed_rate or 25), Fraction(MAX_FPS))
        fps = fps.limit_denominator(1001) if fps >= 1 else Fraction(25)
        codec = stream.codec_context.name
        return Film(path, field, width, height, fps, seconds, codec, bool(container.streams.audio))


@contextmanager
def opened(path: str, field: str) -> Iterator[InputContainer]:
    """Open a film or recording; whatever FFmpeg cannot read becomes a refusal that names the field."""
    with Path(path).open("rb") as file:
        name = container_of(file.read(HEAD_BYTES))
        file.seek(0)
        if name is None:
            raise BadInput(field, "This is not a film that can be read; send MP4, MOV, WebM, MKV, AVI or Ogg.")
        try:
            with av.open(file, "r", format=name, metadata_errors="ignore", io_open=_nothing_else) as container:
                yield container
        except (av.FFmpegError, EOFError) as error:
            if isinstance(error, MemoryError):
                raise
            raise BadInput(field, "This film is damaged or cannot be read.") from None


def frames_of(film: Film, size: tuple[int, int], fps: Fraction) -> Iterator[av.VideoFrame]:
    """Yield the film upright at an even size and a constant rate, bars where its shape is another; yuv420p."""
    most = int(MAX_SECONDS * fps)
    with opened(film.path, film.field) as container:
        stream = container.streams.video[0]
        stream.thread_count = 2
        graph: Graph | None = None
        done = 0
        for frame in container.decode(stream):
            if graph is None:
                graph = _graph(stream, frame, size, fps)
            graph.push(frame)
            for ready in _pulled(graph):
                yield ready
                done += 1
                if done >= most:
                    return
        if graph is not None:
            graph.push(None)
            for _, ready in zip(range(most - done), _pulled(graph), strict=False):
                yield ready


def _graph(stream: Any, frame: av.VideoFrame, size: tuple[int, int], fps: Fraction) -> Graph:
    width, height = size
    steps = [
        ("fps", f"fps={fps.numerator}/{fps.denominator}:start_time=0:round=near"),
        ("scale", f"w={width}:h={height}:force_original_aspect_ratio=decrease:force_divisible_by=2:flags=bicubic"),
        ("pad", f"w={width}:h={height}:x=-1:y=-1:color=black"),
        ("setsar", "1"),
        ("format", "pix_fmts=yuv420p:color_ranges=tv"),
    ]
    if turn := _TURNS.get(frame.rotation):
        steps.insert(0, turn)
    graph = Graph()
    last = graph.add_buffer(template=stream, time_base=stream.time_base)
    for name, arguments in steps:
        step = graph.add(name, arguments)
        last.link_to(step)
        last = step
    last.link_to(graph.add("buffersink"))
    graph.configure()
    return graph


def _pulled(graph: Graph) -> Iterator[av.VideoFrame]:
    while True:
        try:
            frame = graph.pull()
        except (BlockingIOError, av.EOFError):
            return
        assert isinstance(frame, av.VideoFrame)
        yield frame


def _seconds(container: InputContainer, path: str, start: float) -> float:
    """Return the length; where the file does not say, it is counted by its packets."""
    if container.duration:
        return max(0.04, container.duration / av.time_base)
    last = start
    with Path(path).open("rb") as file, av.open(file, "r", format=container.format.name.split(",")[0]) as again:
        for packet in again.demux(again.streams.video[0]):
            if packet.pts is not None:
                last = max(last, float((packet.pts + (packet.duration or 0)) * packet.time_base))
    return max(0.04, last - start)


def _nothing_else(*_asked: object) -> NoReturn:
    """Refuse to open what a container points to."""
    raise PermissionError("a film may not open other files")
