"""Enlarging a picture two, three or four times with a small super-resolution network, in tiles."""

from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from calotype.providers.local.extra import THREADS, engine
from calotype.providers.local.messages import BadInput, Made
from calotype.providers.local.pictures import open_picture, png_of
from calotype.providers.local.weights_data import carried

FACTORS = (2, 3, 4)
MAX_SIDE = 4096
TILE = 256
"""Longest side of what the network is asked for at once: 370 MB in all, where a whole of 512 x 512 takes 1.3 GB."""
MARGIN = 12
"""Pixels a tile sees around itself: half of what the network's convolutions reach, which is where seams vanish."""

Box = tuple[int, int, int, int]


def render(*, image: str, factor: int = 4, progress: Callable[[float], None]) -> Made:
    """Return the picture enlarged; transparency is kept. The same input gives the same pixels.

    Raises:
        BadInput: a value out of range, or a file that is not a picture.
        Unavailable: the extra is not installed.

    """
    if factor not in FACTORS:
        raise BadInput("factor", f"factor must be one of {', '.join(map(str, FACTORS))}.")
    picture = open_picture(image)
    if max(picture.size) * factor > MAX_SIDE:
        most = MAX_SIDE // factor
        size = f"{picture.width}x{picture.height}"
        raise BadInput("image_url", f"At factor {factor} a side may have {most} pixels at most; this one has {size}.")
    net = _net(factor)
    pixels = np.asarray(picture.convert("RGB"))
    large = np.empty((picture.height * factor, picture.width * factor, 3), np.uint8)
    tiles = list(_tiles(picture.width, picture.height))
    for done, (left, top, right, bottom) in enumerate(tiles):
        x, y = max(0, left - MARGIN), max(0, top - MARGIN)
        seen = pixels[y : bottom + MARGIN, x : right + MARGIN]
        made = _enlarged(net, seen, factor)
        inner = made[(top - y) * factor : (bottom - y) * factor, (left - x) * factor : (right - x) * factor]
        large[top * factor : bottom * factor, left * factor : right * factor] = inner
        progress(0.95 * (done + 1) / len(tiles))
    result = Image.fromarray(large)
    if picture.mode == "RGBA":
        result.putalpha(picture.getchannel("A").resize(result.size, Image.Resampling.BICUBIC))
    return Made(png_of(result), data={"factor": factor})


@cache
def _net(factor: int) -> Any:
    ncnn = engine("ncnn")
    net = ncnn.Net()
    net.opt.use_vulkan_compute = False
    net.opt.num_threads = THREADS
    net.load_param(str(carried(f"realesr-animevideov3-x{factor}.param")))
    net.load_model(str(carried("realesr-animevideov3.bin")))
    return net


def _tiles(width: int, height: int) -> Iterator[Box]:
    """Cut a picture into pieces of nearly equal size."""
    across, down = -(-width // TILE), -(-height // TILE)
    for row in range(down):
        for column in range(across):
            yield (
                width * column // across,
                height * row // down,
                width * (column + 1) // across,
                height * (row + 1) // down,
            )


def _enlarged(net: Any, pixels: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """Run the network; a side that the factor does not divide evenly comes back exact all the same."""
    ncnn = engine("ncnn")
    planes = np.ascontiguousarray(pixels.transpose(2, 0, 1), dtype=np.float32) / 255.0
    run = net.create_extractor()
    run.input("data", ncnn.Mat(planes))
    code, out = run.extract("output")
    if code != 0:
        raise MemoryError("the network found no memory")
    made: NDArray[np.float32] = np.array(out).transpose(1, 2, 0)
    assert made.shape[:2] == (pixels.shape[0] * factor, pixels.shape[1] * factor), "the network scales exactly"
    scaled: NDArray[np.uint8] = (np.clip(made, 0.0, 1.0) * 255.0 + 0.5).astype(np.uint8)
    return scaled
