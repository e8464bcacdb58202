"""The sound of one note: every instrument is a sum of partials or shaped noise, computed with numpy alone."""

from collections.abc import Callable

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray

RATE_HZ = 44_100
HIGHEST_HZ = 15_000.0
RELEASE_S = 0.12

Wave = NDArray[np.float32]


class Timbre(Struct, frozen=True):
    """Partials as (ratio, level, decay per second), and an envelope in seconds.

    `detune` spreads copies by so many cents; `vibrato` is its depth in cents; `breath` the share of noise.
    """

    partials: tuple[tuple[float, float, float], ...]
    attack_s: float = 0.004
    release_s: float = RELEASE_S
    ring: bool = False
    detune: tuple[float, ...] = (0.0,)
    vibrato: float = 0.0
    breath: float = 0.0


def _harmonics(count: int, slope: float, decay: float, each: float, *, odd: bool = False) -> tuple[
    tuple[float, float, float], ...
]:  # fmt: skip
    steps = range(1, 2 * count, 2) if odd else range(1, count + 1)
    return tuple((float(k), 1.0 / k**slope, decay + each * (k - 1)) for k in steps)


TIMBRES: dict[str, Timbre] = {
    "piano": Timbre(
        tuple((k * (1 + 0.0004 * k * k) ** 0.5, 1 / k**1.3, 1.1 + 0.55 * k) for k in range(1, 11)), ring=True
    ),
    "guitar": Timbre(_harmonics(12, 1.15, 1.6, 0.55), attack_s=0.003, ring=True),
    "harp": Timbre(_harmonics(9, 1.5, 1.4, 0.7), ring=True),
    "marimba": Timbre(((1.0, 1.0, 5.0), (3.93, 0.35, 14.0), (9.2, 0.1, 30.0)), ring=True),
    "bell": Timbre(((1.0, 1.0, 1.9), (2.76, 0.42, 3.0), (5.4, 0.2, 5.5), (8.9, 0.07, 9.0)), ring=True),
    "strings": Timbre(
        _harmonics(10, 1.25, 0.0, 0.0), attack_s=0.16, release_s=0.35, detune=(-6.0, 0.0, 5.0), vibrato=11.0
    ),
    "pad": Timbre(_harmonics(7, 1.7, 0.0, 0.0), attack_s=0.5, release_s=0.9, detune=(-9.0, 0.0, 8.0)),
    "organ": Timbre(((0.5, 0.5, 0.0), (1.0, 1.0, 0.0), (2.0, 0.6, 0.0), (3.0, 0.3, 0.0), (4.0, 0.25, 0.0)), 0.02),
    "flute": Timbre(
        ((1.0, 1.0, 0.0), (2.0, 0.22, 0.0), (3.0, 0.07, 0.0)), attack_s=0.06, release_s=0.14, vibrato=14.0, breath=0.02
    ),
    "synth": Timbre(_harmonics(14, 1.1, 0.8, 0.35), attack_s=0.01, detune=(-7.0, 7.0)),
    "square": Timbre(_harmonics(9, 1.0, 0.6, 0.1, odd=True), attack_s=0.003, release_s=0.04),
    "bass": Timbre(_harmonics(6, 1.6, 0.9, 0.9), attack_s=0.006),
    "synth-bass": Timbre(_harmonics(10, 1.25, 1.2, 0.8), attack_s=0.004, detune=(-4.0, 4.0)),
}


def tone(instrument: str, pitch: int, length_s: float) -> Wave:
    """Return one note of an instrument, its end included, at a peak of about 1."""
    timbre = TIMBRES[instrument]
    hz = 440.0 * 2 ** ((pitch - 69) / 12)
    slowest = min(decay for _, _, decay in timbre.partials)
    rings_s = min(4.0, 4.5 / slowest) if timbre.ring and slowest > 0 else 0.0
    total_s = max(length_s, min(rings_s, length_s + 1.2)) + timbre.release_s
    t = np.arange(int(total_s * RATE_HZ), dtype=np.float64) / RATE_HZ
    wave = np.zeros(len(t))
    for cents in timbre.detune:
        # each copy begins elsewhere in its wave, or their starts would add up
        phase = 2 * np.pi * hz * 2 ** (cents / 1200) * _bent(t, timbre.vibrato) + cents
        for ratio, level, decay in timbre.partials:
            if hz * ratio < HIGHEST_HZ:
                part = np.sin(phase * ratio)
                wave += level * (part * np.exp(-decay * t) if decay else part)
    if timbre.breath:
        wave += timbre.breath * _noise(len(t), pitch)
    wave *= _envelope(len(t), timbre)
    return (wave / max(1e-9, float(np.abs(wave).max()))).astype(np.float32)


def _bent(t: NDArray[np.float64], cents: float) -> NDArray[np.float64]:
    """Return time as a vibrato of 5.2 Hz bends it, setting in after a quarter of a second."""
    if not cents:
        return t
    depth = (2 ** (cents / 1200) - 1) / (2 * np.pi * 5.2)
    return t - depth * np.clip((t - 0.25) / 0.3, 0, 1) * np.cos(2 * np.pi * 5.2 * t)


def _envelope(count: int, timbre: Timbre) -> NDArray[np.float64]:
    envelope = np.ones(count)
    attack = min(count // 2, max(1, int(timbre.attack_s * RATE_HZ)))
    release = min(count // 2, max(1, int(timbre.release_s * RATE_HZ)))
    envelope[:attack] = 0.5 - 0.5 * np.cos(np.pi * np.arange(attack) / attack)
    envelope[-release:] *= 0.5 + 0.5 * np.cos(np.pi * np.arange(1, release + 1) / release)
    return envelope


def _noise(count: int, seed: int) -> NDArray[np.float64]:
    return np.random.default_rng(seed).standard_normal(count)


def _bright(noise: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Take the low part of noise away, once or more."""
    for _ in range(times):
        noise = np.diff(noise, prepend=0.0)
    return noise


def _time(length_s: float) -> NDArray[np.float64]:
    return np.arange(int(length_s * RATE_HZ), dtype=np.float64) / RATE_HZ


def _kick() -> NDArray[np.float64]:
    t = _time(0.4)
    return np.sin(2 * np.pi * (46 * t + 9 * (1 - np.exp(-t * 32)) / 2)) * np.exp(-t * 9)


def _snare() -> NDArray[np.float64]:
    t = _time(0.28)
    return 0.5 * np.sin(2 * np.pi * 182 * t) * np.exp(-t * 22) + 0.4 * _bright(_noise(len(t), 1), 1) * np.exp(-t * 17)


def _hat() -> NDArray[np.float64]:
    t = _time(0.09)
    return _bright(_noise(len(t), 2), 3) * np.exp(-t * 60)


def _ride() -> NDArray[np.float64]:
    t = _time(0.7)
    ring = sum(np.sin(2 * np.pi * hz * t) for hz in (3250.0, 4170.0, 5430.0, 6810.0))
    return (0.2 * ring + 0.3 * _bright(_noise(len(t), 3), 3)) * np.exp(-t * 7)


def _shaker() -> NDArray[np.float64]:
    t = _time(0.12)
    swell: NDArray[np.float64] = np.sin(np.pi * np.clip(t / 0.12, 0, 1)) ** 2
    return _bright(_noise(len(t), 4), 2) * swell


def _tom() -> NDArray[np.float64]:
    t = _time(0.6)
    return np.sin(2 * np.pi * (72 * t + 5 * (1 - np.exp(-t * 14)) / 2)) * np.exp(-t * 6)


KIT: dict[str, Callable[[], NDArray[np.float64]]] = {
    "kick": _kick, "snare": _snare, "hat": _hat, "ride": _ride, "shaker": _shaker, "tom": _tom,
}  # fmt: skip


def drum(name: str) -> Wave:
    """Return one stroke at a peak of 1, its end faded."""
    wave = KIT[name]()
    fade = min(len(wave) // 4, 400)
    wave[-fade:] *= np.linspace(1.0, 0.0, fade)
    return (wave / float(np.abs(wave).max())).astype(np.float32)
