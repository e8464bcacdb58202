"""Moving a still face: the jaw opens, the lids close. Each is a map from where a pixel is shown to where it was."""

from typing import Self

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

from calotype.providers.local.face import (
    CHIN,
    LOWER_LIDS,
    LOWER_LIP,
    LOWER_LIP_OUTSIDE,
    UPPER_LIDS,
    UPPER_LIP,
    Points,
)

Pixels = NDArray[np.uint8]
Plane = NDArray[np.float64]

OPEN = 0.22
"""How far the mouth opens at most, in widths of itself; from 0.4 on it looks grotesque."""
JAW = 0.85
INSIDE = np.array((42.0, 14.0, 16.0))
"""The colour of an open mouth."""
LID = 0.45
"""How high the skin is that a closing lid stretches, in widths of the eye."""


class Patch(Struct, frozen=True):
    """A part of the picture: left, top, right, bottom."""

    left: int
    top: int
    right: int
    bottom: int

    @classmethod
    def around(cls, x: Plane, y: Plane, margin: float, size: tuple[int, int]) -> Self:
        """Return the part of a picture of that size that holds all of these places."""
        return cls(
            max(0, int(x.min() - margin)),
            max(0, int(y.min() - margin)),
            min(size[0], int(x.max() + margin) + 1),
            min(size[1], int(y.max() + margin) + 1),
        )

    def grid(self) -> tuple[Plane, Plane]:
        """Return x and y of every pixel in it."""
        y, x = np.mgrid[self.top : self.bottom, self.left : self.right].astype(np.float64)
        return x, y


class Mouth:
    """The lower half of a face, in the mouth's own directions: `u` from corner to corner, `v` down to the chin."""

    def __init__(self, points: Points, size: tuple[int, int]) -> None:
        left, right = points[LOWER_LIP[0]], points[LOWER_LIP[-1]]
        self._across = (right - left) / max(1.0, float(np.hypot(*(right - left))))
        self._down = np.array((-self._across[1], self._across[0]))
        self._width = max(4.0, float(np.hypot(*(right - left))))
        self._middle = (left + right) / 2
        reach = self._width * 1.4
        low = points[CHIN] + self._down * self._width * 0.8
        corners = np.array(
            [self._middle - self._across * reach, self._middle + self._across * reach, low, points[UPPER_LIP[5]]]
        )
        self.patch = Patch.around(corners[:, 0], corners[:, 1], 4.0, size)
        x, y = self.patch.grid()
        u, v = self._own(x, y)
        lower = np.array([self._own(*points[n]) for n in LOWER_LIP])
        lip = np.interp(u, lower[:, 0], lower[:, 1])
        below = v - lip
        curve = np.clip(1.0 - (2.0 * u) ** 2, 0.0, 1.0)
        chin = float(self._own(*points[CHIN])[1])
        thick = max(0.1, float(self._own(*points[LOWER_LIP_OUTSIDE])[1]) - float(lower[5, 1]))
        # a mouth that is open already needs less
        rest = float(lower[5, 1]) - float(self._own(*points[UPPER_LIP[5]])[1])
        most = OPEN * min(1.0, max(0.5, 1.0 - 1.5 * rest))
        near_lip = 1.0 - _smooth((below - most) / (thick + most))
        wide = np.exp(-((np.abs(u) / 0.95) ** 4))
        fade = 1.0 - _smooth((v - chin * 0.9) / (chin * 0.1 + 0.75))
        self._move = most * (near_lip * curve + (1.0 - near_lip) * JAW * wide) * fade * (below >= 0.0)
        self._gap = most * curve
        self._below, self._x, self._y = below, x, y

    def opened(self, picture: Pixels, share: float) -> Pixels:
        """Return the patch with the mouth open by that share of what it can."""
        part = self.patch
        whole: Pixels = picture[part.top : part.bottom, part.left : part.right]
        if share <= 0.0:
            return whole
        back = share * self._move * self._width
        moved = sampled(picture, self._x - back * self._down[0], self._y - back * self._down[1])
        # soft edges by about a pixel and a half
        soft = 1.5 / self._width
        gap = share * self._gap
        dark = np.clip(self._below / soft, 0.0, 1.0) * np.clip((gap - self._below) / soft + 0.5, 0.0, 1.0)
        dark *= np.clip(gap / (2.0 * soft), 0.0, 1.0)
        depth = 0.55 + 0.45 * np.clip(self._below / np.maximum(gap, 1e-6), 0.0, 1.0)
        inside = INSIDE * depth[:, :, None]
        return _bytes(moved * (1.0 - dark[:, :, None]) + inside * dark[:, :, None])

    def _own(self, x: Plane | float, y: Plane | float) -> tuple[Plane, Plane]:
        right, down = np.asarray(x) - self._middle[0], np.asarray(y) - self._middle[1]
        u = (right * self._across[0] + down * self._across[1]) / self._width
        v = (right * self._down[0] + down * self._down[1]) / self._width
        return u, v


class Eye:
    """One eye; its upper lid can come down."""

    def __init__(self, points: Points, number: int, size: tuple[int, int]) -> None:
        upper, lower = points[list(UPPER_LIDS[number])], points[list(LOWER_LIDS[number])]
        order = np.argsort(upper[:, 0])
        width = max(4.0, float(np.ptp(upper[:, 0])))
        both = np.concatenate([upper, lower])
        self.patch = Patch.around(both[:, 0], both[:, 1], LID * width + 2.0, size)
        self._x, self._y = self.patch.grid()
        self._top = np.interp(self._x, upper[order, 0], upper[order, 1])
        low = np.argsort(lower[:, 0])
        self._bottom = np.maximum(np.interp(self._x, lower[low, 0], lower[low, 1]), self._top)
        self._skin = LID * width
        edge = (upper[:, 0].min(), upper[:, 0].max())
        self._inside = np.clip((self._x - edge[0]) / 3.0, 0, 1) * np.clip((edge[1] - self._x) / 3.0, 0, 1)

    def closed(self, picture: Pixels, share: float) -> Pixels:
        """Return the patch with the lid down by that share."""
        part = self.patch
        whole: Pixels = picture[part.top : part.bottom, part.left : part.right]
        if share <= 0.0:
            return whole
        lid = self._top + share * self._inside * (self._bottom - self._top)
        brow = self._top - self._skin
        stretched = brow + (self._y - brow) * self._skin / np.maximum(lid - brow, 1.0)
        skin = np.clip(lid - self._y + 0.5, 0.0, 1.0) * (self._y > brow) * (lid > self._top)
        # the lashes' line stays visible where the lid ends
        line = 1.0 - 0.35 * np.exp(-(((self._y - lid) / 1.2) ** 2)) * (lid > self._top + 0.5)
        moved = sampled(picture, self._x, np.where(skin > 0, stretched, self._y))
        mixed = moved * skin[:, :, None] + whole * (1.0 - skin[:, :, None])
        return _bytes(mixed * line[:, :, None])


def sampled(picture: Pixels, x: Plane, y: Plane) -> Plane:
    """Return the picture's colours at places between pixels."""
    height, width = picture.shape[:2]
    x, y = np.clip(x, 0, width - 1.001), np.clip(y, 0, height - 1.001)
    left, top = x.astype(np.intp), y.astype(np.intp)
    across, down = (x - left)[:, :, None], (y - top)[:, :, None]
    upper = picture[top, left] * (1 - across) + picture[top, left + 1] * across
    lower = picture[top + 1, left] * (1 - across) + picture[top + 1, left + 1] * across
    mixed: Plane = upper * (1 - down) + lower * down
    return mixed


def _smooth(part: Plane) -> Plane:
    """Go from 0 to 1 as half a cosine."""
    eased: Plane = 0.5 - 0.5 * np.cos(np.pi * np.clip(part, 0.0, 1.0))
    return eased


def _bytes(values: Plane) -> Pixels:
    return np.clip(values + 0.5, 0, 255).astype(np.uint8)
