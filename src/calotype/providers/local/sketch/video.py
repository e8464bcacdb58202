"""local/sketch-video: the same scene as a film, its sheets moving each in its own way."""

import io
import math
from collections.abc import Callable, Iterator
from fractions import Fraction

import av
import msgspec
import numpy as np
import numpy.typing as npt
from PIL import Image

from calotype.providers.local.sketch.compose import Composition, compose, grade, vignette
from calotype.providers.local.sketch.layers import Layer, lay
from calotype.providers.local.sketch.picture import check_size, picture_chance
from calotype.providers.local.sketch.place import Placement
from calotype.providers.local.sketch.prompt import read

VIDEO_LABEL = "procedural animation, not an AI model"
LONGEST_S = 30.0
FASTEST_FPS = 60

_PAN = 0.05
_COMPOSED = 0.1
_INDEX_BYTES, _INDEX_BYTES_PER_FRAME = 8192, 32


class SketchVideo(msgspec.Struct, frozen=True):
    """A finished film: the MP4 (H.264, yuv420p), and what could not be drawn."""

    mp4: bytes
    width: int
    height: int
    seconds: float
    fps: int
    frames: int
    seed: int
    warnings: tuple[str, ...]
    placed: tuple[Placement, ...]


def render_video(
    prompt: str,
    *,
    seed: int,
    width: int,
    height: int,
    seconds: float,
    fps: int = 24,
    progress: Callable[[float], None] | None = None,
) -> SketchVideo:
    """Animate a prompt: a slow pan with parallax, drifting clouds, shimmering water, falling weather.

    Sides are as for a picture and must be even; 0 < `seconds` <= 30, 1 <= `fps` <= 60, else `ValueError`.
    """
    check_size(width, height)
    if width % 2 or height % 2:
        raise ValueError(f"size: {width}x{height} is refused; both sides must be even for H.264")
    if not 0 < seconds <= LONGEST_S:
        raise ValueError(f"seconds: {seconds} is refused; it must be above 0 and at most {LONGEST_S:g}")
    if not 1 <= fps <= FASTEST_FPS:
        raise ValueError(f"fps: {fps} is refused; it must be 1 to {FASTEST_FPS}")
    tell = progress or (lambda _share: None)
    scene = read(prompt)
    frames = max(1, round(seconds * fps))
    composition = compose(scene, picture_chance(prompt, seed), width, height, margin=round(width * _PAN))
    tell(_COMPOSED)
    film = _Film(composition, width, height, frames, fps)
    mp4 = _encode(film.frames(), width, height, fps, lambda share: tell(_COMPOSED + (1 - _COMPOSED) * share), frames)
    return SketchVideo(
        mp4=mp4,
        width=width,
        height=height,
        seconds=frames / fps,
        fps=fps,
        frames=frames,
        seed=seed,
        warnings=scene.warnings,
        placed=composition.placed,
    )


class _Film:
    """Frames of one composition. Sheets that move alike are merged first, so that a frame is cheap."""

    def __init__(self, composition: Composition, width: int, height: int, frames: int, fps: int) -> None:
        self.width, self.height, self.count, self.fps = width, height, frames, fps
        self.stage = composition.stage
        self.base = composition.base
        self.layers = _merged(composition)
        self.shares = vignette((width, height))

    def frames(self) -> Iterator[npt.NDArray[np.uint8]]:
        """Yield every frame as RGB."""
        for index in range(self.count):
            second = index / self.fps
            along = index / max(1, self.count - 1)
            pan = self.stage.margin * math.cos(math.pi * along)
            canvas = self.base.crop(self._window(pan * 0.06))
            for layer in self.layers:
                self._lay(canvas, layer, pan, second)
            yield grade(np.asarray(canvas), self.shares)

    def _window(self, shift: float) -> tuple[int, int, int, int]:
        left = round(self.stage.margin - shift)
        return left, 0, left + self.width, self.height

    def _lay(self, canvas: Image.Image, layer: Layer, pan: float, second: float) -> None:
        x = layer.x - self.stage.margin + pan * layer.near
        y = float(layer.y)
        unit, beat = self.stage.unit, second * 2 * math.pi
        image = layer.image
        if layer.motion == "shimmer":
            lay(canvas, _shimmer(image, second, unit), round(x), layer.y)
            return
        if layer.motion == "glide":
            self._fall(canvas, layer, x, second)
            return
        if layer.motion == "drift":
            span = self.stage.width + image.width
            x = (x + image.width + second * unit * 0.012 * layer.phase) % span - image.width
            if image.width >= self.stage.width:
                x = layer.x - self.stage.margin + pan * layer.near + math.sin(beat * 0.1) * self.stage.margin * 0.4
        elif layer.motion == "bob":
            y += math.sin(beat * 0.32 + layer.phase) * unit * 0.006
        elif layer.motion == "hover":
            y += math.sin(beat * 0.28 + layer.phase) * unit * 0.016
            x += math.sin(beat * 0.17 + layer.phase * 2) * unit * 0.014
        elif layer.motion == "sway":
            image, y = _breathe(image, y, math.sin(beat * 0.45 + layer.phase))
        lay(canvas, image, round(x), round(y))

    def _fall(self, canvas: Image.Image, layer: Layer, x: float, second: float) -> None:
        """Let a sheet of weather fall round and round: it is laid twice, one above the other."""
        tall = layer.image.height
        down = round(second * layer.phase * tall * 0.9) % tall
        slant = round(x + (math.sin(second * 1.1) * self.stage.unit * 0.01 if abs(layer.phase) < 1 else 0))
        lay(canvas, layer.image, slant, down)
        lay(canvas, layer.image, slant, down - tall)


def _merged(composition: Composition) -> list[Layer]:
    """Merge neighbouring still sheets of one depth into one; what moves stays by itself."""
    found: list[Layer] = []
    for layer in composition.layers:
        last = found[-1] if found else None
        still = layer.motion == "still"
        if last is not None and still and last.motion == "still" and abs(last.near - layer.near) < 0.09:
            found[-1] = _union(last, layer)
        else:
            found.append(layer)
    return found


def _union(below: Layer, above: Layer) -> Layer:
    x, y = min(below.x, above.x), min(below.y, above.y)
    size = max(below.right, above.right) - x, max(below.bottom, above.bottom) - y
    image = Image.new("RGBA", size, (0, 0, 0, 0))
    image.paste(below.image, (below.x - x, below.y - y))
    image.alpha_composite(above.image, (above.x - x, above.y - y))
    return Layer(image, x, y, below.near)


def _shimmer(image: Image.Image, second: float, unit: float) -> Image.Image:
    """Slide the rows of the water to and fro, nearer rows further."""
    pixels = np.asarray(image)
    height, width = pixels.shape[:2]
    rows = np.arange(height, dtype=np.float32)
    reach = unit * (0.0012 + 0.006 * rows / height)
    wave = np.sin(rows * (26.0 / unit * 3) + second * 2.6) + 0.6 * np.sin(rows * (61.0 / unit * 3) - second * 3.7)
    shifts = np.rint(reach * wave).astype(np.int32)
    packed = np.ascontiguousarray(pixels).view(np.uint32).reshape(height, width)
    moved = np.empty_like(packed)
    for row, shift in enumerate(shifts.tolist()):
        if shift >= 0:
            moved[row, shift:] = packed[row, : width - shift]
            moved[row, :shift] = packed[row, 0]
        else:
            moved[row, :shift] = packed[row, -shift:]
            moved[row, shift:] = packed[row, -1]
    return Image.fromarray(moved.view(np.uint8).reshape(height, width, 4))


def _breathe(image: Image.Image, y: float, swing: float) -> tuple[Image.Image, float]:
    """Stretch a standing subject by a hair, its feet staying where they are."""
    stretch = round(image.height * 0.008 * swing)
    if stretch == 0:
        return image, y
    taller = image.resize((image.width, image.height + stretch), Image.Resampling.BILINEAR)
    return taller, y - stretch


def _encode(
    frames: Iterator[npt.NDArray[np.uint8]],
    width: int,
    height: int,
    fps: int,
    progress: Callable[[float], None],
    count: int,
) -> bytes:
    # The index goes in front of the film (as +faststart would put it, which needs a file to read back):
    # its room is set aside beforehand.
    options = {"moov_size": str(_INDEX_BYTES + _INDEX_BYTES_PER_FRAME * count)}
    out = io.BytesIO()
    with av.open(out, "w", format="mp4", options=options) as container:
        container.metadata["title"] = "Calotype local/sketch-video"
        container.metadata["comment"] = VIDEO_LABEL
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
        stream.time_base = Fraction(1, fps)
        # one thread and no macroblock tree, whose assembler reads beyond its rows: the same bytes every time
        stream.options = {"preset": "veryfast", "crf": "20", "x264-params": "mbtree=0"}
        stream.codec_context.thread_count = 1
        for index, pixels in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24").reformat(format="yuv420p", threads=1)
            frame.pts, frame.time_base = index, Fraction(1, fps)
            container.mux(stream.encode(frame))
            progress((index + 1) / count)
        container.mux(stream.encode(None))
    return out.getvalue()
