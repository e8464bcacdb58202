"""A picture with transparency that is laid onto frames, in the frames' own colour planes."""

from typing import Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image

Bytes = NDArray[np.uint8]


class Stamp(Struct, frozen=True):
    """Three planes and how opaque they are, at an even place of the frame."""

    left: int
    top: int
    planes: tuple[NDArray[np.uint16], ...]
    opaque: tuple[NDArray[np.uint16], ...]

    @classmethod
    def of(cls, picture: Image.Image, at: tuple[int, int], frame: tuple[int, int]) -> Self | None:
        """Prepare a picture for frames of that size; None where nothing of it would be seen."""
        left, top = 2 * (at[0] // 2), 2 * (at[1] // 2)
        box = (max(0, -left), max(0, -top), min(picture.width, frame[0] - left), min(picture.height, frame[1] - top))
        if box[2] <= box[0] or box[3] <= box[1]:
            return None
        seen = picture.convert("RGBA").crop(box)
        even = Image.new("RGBA", (seen.width + seen.width % 2, seen.height + seen.height % 2))
        even.paste(seen, (0, 0))
        red, green, blue, alpha = (np.asarray(channel, np.float32) for channel in even.split())
        weights = (0.2126, 0.7152, 0.0722) if frame[1] >= 720 else (0.299, 0.587, 0.114)
        bright = weights[0] * red + weights[1] * green + weights[2] * blue
        planes = [16.0 + bright * (219 / 255)]
        for part, weight in ((blue, weights[2]), (red, weights[0])):
            planes.append(_half(128.0 + (part - bright) / (2 * (1 - weight)) * (224 / 255), alpha))
        opaque = (alpha, *(2 * [alpha.reshape(alpha.shape[0] // 2, 2, -1, 2).mean(axis=(1, 3))]))
        return cls(
            max(0, left),
            max(0, top),
            tuple(np.rint(np.clip(plane, 0, 255)).astype(np.uint16) for plane in planes),
            tuple(np.rint(plane).astype(np.uint16) for plane in opaque),
        )

    def onto(self, pixels: Bytes) -> Bytes:
        """Lay it onto a frame in the layout of yuv420p, in place."""
        height = pixels.shape[0] * 2 // 3
        width = pixels.shape[1]
        flat = pixels.reshape(-1)
        bounds = (0, width * height, width * height * 5 // 4, width * height * 3 // 2)
        for n, (plane, opaque) in enumerate(zip(self.planes, self.opaque, strict=True)):
            half = 1 if n == 0 else 2
            whole = flat[bounds[n] : bounds[n + 1]].reshape(height // half, width // half)
            left, top = self.left // half, self.top // half
            part = whole[top : top + plane.shape[0], left : left + plane.shape[1]]
            # a frame may end half a colour pixel before the stamp does
            colour, cover = plane[: part.shape[0], : part.shape[1]], opaque[: part.shape[0], : part.shape[1]]
            part[:] = (part * (255 - cover) + colour * cover + 127) // 255
        return pixels


def _half(values: NDArray[np.float32], alpha: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return a plane at half size, where what is transparent does not count."""
    weight = alpha + 0.01
    shape = (values.shape[0] // 2, 2, -1, 2)
    halved: NDArray[np.float32] = (values * weight).reshape(shape).sum(axis=(1, 3)) / weight.reshape(shape).sum(
        axis=(1, 3)
    )
    return halved
