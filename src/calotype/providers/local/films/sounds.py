"""Sound as a stream of blocks: cut or filled to a length, one after the other, or mixed."""

from collections.abc import Iterable, Iterator

import numpy as np

from calotype.providers.local.films.reading import MAX_SECONDS
from calotype.providers.local.sound import Samples, blocks_of

RATE_HZ = 48_000
BLOCK = 4096


def sound_of(path: str, field: str, *, max_s: float = MAX_SECONDS) -> Iterator[Samples]:
    """Yield a recording, or a film's sound, in stereo at `RATE_HZ`."""
    return blocks_of(path, field, rate_hz=RATE_HZ, channels=2, max_s=max_s)


def exact(blocks: Iterable[Samples], seconds: float) -> Iterator[Samples]:
    """Yield exactly so much sound: the rest is cut off, what is missing is silence."""
    left = round(seconds * RATE_HZ)
    for block in blocks:
        if left <= 0:
            return
        yield block[:, :left]
        left -= min(left, block.shape[1])
    while left > 0:
        yield np.zeros((2, min(left, BLOCK)), np.float32)
        left -= min(left, BLOCK)


def mixed(sources: list[Iterator[Samples]]) -> Iterator[Samples]:
    """Yield all at once, as long as the longest; each one is softened so that together they do not clip."""
    gain = np.float32(1.0 / max(1.0, len(sources) ** 0.5))
    streams = [_even(source) for source in sources]
    while streams:
        total = np.zeros((2, BLOCK), np.float32)
        longest = 0
        for stream in tuple(streams):
            block = next(stream, None)
            if block is None:
                streams.remove(stream)
                continue
            total[:, : block.shape[1]] += block * gain
            longest = max(longest, block.shape[1])
        if longest:
            yield np.clip(total[:, :longest], -1.0, 1.0)


def faded(blocks: Iterable[Samples], seconds: float, fade_s: float) -> Iterator[Samples]:
    """Yield the blocks, the last `fade_s` of `seconds` getting softer."""
    end, length = seconds * RATE_HZ, max(1.0, fade_s * RATE_HZ)
    at = 0
    for block in blocks:
        left = end - np.arange(at, at + block.shape[1])
        yield block * np.clip(left / length, 0.0, 1.0).astype(np.float32)
        at += block.shape[1]


def _even(blocks: Iterable[Samples]) -> Iterator[Samples]:
    """Yield blocks of `BLOCK` samples; only the last may be shorter."""
    kept = np.zeros((2, 0), np.float32)
    for block in blocks:
        kept = np.concatenate([kept, block], axis=1)
        while kept.shape[1] >= BLOCK:
            yield kept[:, :BLOCK]
            kept = kept[:, BLOCK:]
    if kept.shape[1]:
        yield kept
