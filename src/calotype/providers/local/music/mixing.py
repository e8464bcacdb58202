"""From notes to a finished stereo track: parts set apart in level and place, one room around them, an even loudness."""

from collections.abc import Callable, Sequence
from functools import lru_cache

import numpy as np
from msgspec import Struct
from numpy.random import Generator
from numpy.typing import NDArray

from calotype.providers.local.music.composing import Note
from calotype.providers.local.music.instruments import KIT, RATE_HZ, Wave, drum, tone

LOUDNESS_DB = -17.0
PEAK = 0.86
FADE_IN_S = 0.03
AIR = 0.9
"""How much of what lies above 3 kHz is added again."""
ROOM_S = 1.7
_BLOCK = 1 << 17


class Seat(Struct, frozen=True):
    """Where a part is heard: level, place from -1 (left) to 1, and the share that goes into the room."""

    level: float
    place: float
    room: float


SEATS: dict[str, Seat] = {
    "lead": Seat(0.55, 0.08, 0.3),
    "chord": Seat(0.3, -0.3, 0.25),
    "pad": Seat(0.13, 0.25, 0.4),
    "bass": Seat(0.5, 0.0, 0.04),
}
STROKES: dict[str, Seat] = {
    "kick": Seat(0.75, 0.0, 0.03), "snare": Seat(0.42, 0.05, 0.2), "hat": Seat(0.18, 0.35, 0.06),
    "ride": Seat(0.16, 0.4, 0.12), "shaker": Seat(0.18, -0.4, 0.1), "tom": Seat(0.6, -0.15, 0.3),
}  # fmt: skip


def mix(
    notes: Sequence[Note], seconds: float, random: Generator, on_share: Callable[[float], None]
) -> NDArray[np.float32]:
    """Return the track, two channels of exactly that length."""
    count = round(seconds * RATE_HZ)
    dry = np.zeros((2, count), np.float32)
    wet = np.zeros((2, count), np.float32)
    sound = lru_cache(maxsize=256)(_sound)
    for number, note in enumerate(notes):
        wave = sound(note.instrument, note.pitch, round(note.length_s, 2))
        seat = STROKES[note.instrument] if note.instrument in KIT else SEATS[note.part]
        start = int(note.start_s * RATE_HZ)
        part = wave[: max(0, count - start)] * np.float32(seat.level * note.velocity)
        angle = (seat.place + 1) * np.pi / 4
        for side, gain in ((0, np.cos(angle)), (1, np.sin(angle))):
            here = part * np.float32(gain)
            dry[side, start : start + len(part)] += here
            wet[side, start : start + len(part)] += here * np.float32(seat.room)
        if number % 32 == 0:
            on_share(0.7 * number / len(notes))
    for side in (0, 1):
        dry[side] += _in_room(wet[side], _room(random))
        on_share(0.75 + 0.1 * side)
    return _finished(dry, seconds)


def _sound(instrument: str, pitch: int, length_s: float) -> Wave:
    return drum(instrument) if instrument in KIT else tone(instrument, pitch, length_s)


def _room(random: Generator) -> NDArray[np.float64]:
    """Return the echo of a warm hall: noise that fades and grows dull."""
    t = np.arange(int(ROOM_S * RATE_HZ)) / RATE_HZ
    echo = random.standard_normal(len(t)) * np.exp(-t * 3.6) * np.clip(t / 0.018, 0, 1)
    dull = np.convolve(echo, np.hanning(9) / np.hanning(9).sum(), mode="same")
    return dull * (1.4 / float(np.sqrt((dull**2).sum())))


def _in_room(signal: NDArray[np.float32], echo: NDArray[np.float64]) -> NDArray[np.float32]:
    """Convolve block by block, so that a long track needs no more memory than a short one."""
    size = 2 * _BLOCK
    spectrum = np.fft.rfft(echo, size)
    out = np.zeros(len(signal) + size, np.float32)
    for start in range(0, len(signal), _BLOCK):
        block = signal[start : start + _BLOCK]
        out[start : start + size] += np.fft.irfft(np.fft.rfft(block, size) * spectrum, size).astype(np.float32)
    return out[: len(signal)]


def _finished(track: NDArray[np.float32], seconds: float) -> NDArray[np.float32]:
    """Bring the track to its loudness, round off what is above the top, and fade both ends."""
    track -= track.mean(axis=1, keepdims=True)
    for side in (0, 1):
        dull = np.convolve(track[side], np.full(11, 1 / 11), mode="same").astype(np.float32)
        track[side] += np.float32(AIR) * (track[side] - dull)
    loud = float(np.sqrt((track**2).mean())) or 1.0
    track *= np.float32(10 ** (LOUDNESS_DB / 20) / loud)
    knee = np.float32(0.6)
    over = np.abs(track) > knee
    track[over] = np.sign(track[over]) * (knee + (PEAK - knee) * np.tanh((np.abs(track[over]) - knee) / (PEAK - knee)))
    rise = int(FADE_IN_S * RATE_HZ)
    fall = int(min(3.0, seconds / 5) * RATE_HZ)
    track[:, :rise] *= np.linspace(0.0, 1.0, rise, dtype=np.float32)
    track[:, -fall:] *= np.linspace(1.0, 0.0, fall, dtype=np.float32) ** np.float32(1.5)
    return track
