"""Seeded chance: every part of a picture draws from its own stream, so parts never disturb each other."""

import hashlib

import numpy as np
import numpy.typing as npt
from PIL import Image

Floats = npt.NDArray[np.float32]


class Chance:
    """A tree of random streams under one (prompt, seed)."""

    def __init__(self, *names: object) -> None:
        self._names = names

    def stream(self, *names: object) -> np.random.Generator:
        """Give a generator of its own for the named part; the same names always give the same numbers."""
        path = "\x1f".join(str(name) for name in (*self._names, *names)).encode("utf-8", "replace")
        digest = hashlib.blake2b(path, digest_size=16).digest()
        return np.random.Generator(np.random.PCG64(int.from_bytes(digest, "little")))


def profile(rng: np.random.Generator, width: int, *, waves: float, octaves: int = 3, gain: float = 0.5) -> Floats:
    """Give a smooth random line in [-1, 1], `waves` bumps across the width, finer ones in each octave."""
    x = np.linspace(0.0, 1.0, width, dtype=np.float32)
    line = np.zeros(width, np.float32)
    strength, total = 1.0, 0.0
    for octave in range(octaves):
        bumps = waves * 2**octave
        knots = rng.uniform(-1.0, 1.0, int(np.ceil(bumps)) + 3).astype(np.float32)
        at = x * bumps
        left = at.astype(np.int32)
        t = at - left
        smooth = t * t * (3 - 2 * t)
        line += strength * (knots[left] * (1 - smooth) + knots[left + 1] * smooth)
        total += strength
        strength *= gain
    line /= total
    return line


def blotches(rng: np.random.Generator, width: int, height: int, *, cells: int, octaves: int = 3) -> Floats:
    """Soft cloud-like noise in [0, 1], about `cells` blots across the longer side."""
    longest = max(width, height)
    field = np.zeros((height, width), np.float32)
    strength, total = 1.0, 0.0
    for octave in range(octaves):
        across = max(2, round(cells * 2**octave * width / longest) + 1)
        down = max(2, round(cells * 2**octave * height / longest) + 1)
        grid = rng.random((down, across), dtype=np.float32)
        field += strength * np.asarray(Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC))
        total += strength
        strength *= 0.5
    blots: Floats = np.clip(field / total, 0.0, 1.0)
    return blots
