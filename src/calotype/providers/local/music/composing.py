"""From a brief to notes: a loop of chords, a melody built from one motif, bass, accompaniment and drums."""

import math

from msgspec import Struct
from numpy.random import Generator

from calotype.providers.local.music.brief import SCALES, Brief

LOWEST_LEAD, HIGHEST_LEAD = 65, 86


class Note(Struct, frozen=True):
    """One sound: when and how long in seconds, MIDI pitch, loudness from 0 to 1. Drums have a name and no pitch."""

    part: str
    instrument: str
    start_s: float
    length_s: float
    pitch: int
    velocity: float


Step = tuple[float, float, int]
"""Beat within the motif, length in beats, and how far the melody moves, in steps of the scale."""

DRUMS: dict[str, dict[str, tuple[float, ...]]] = {
    "none": {},
    "pop": {"kick": (0, 2, 2.5), "snare": (1, 3), "hat": (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5)},
    "rock": {"kick": (0, 1.5, 2), "snare": (1, 3), "hat": (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5)},
    "house": {"kick": (0, 1, 2, 3), "snare": (1, 3), "hat": (0.5, 1.5, 2.5, 3.5), "shaker": (0.25, 0.75, 2.25, 2.75)},
    "lofi": {"kick": (0, 1.5, 2.5), "snare": (1, 3), "hat": (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5)},
    "swing": {"ride": (0, 1, 1.5, 2, 3, 3.5), "hat": (1, 3), "kick": (0, 2)},
    "shaker": {"shaker": (0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5), "kick": (0, 2)},
    "war": {"tom": (0, 0.75, 1.5, 2, 3, 3.5), "kick": (0, 2)},
    "pulse": {"kick": (0, 0.5), "tom": (3.5,)},
}


class Plan(Struct, frozen=True):
    """Which parts play in a bar, and how strongly."""

    lead: bool
    drums: bool
    bass: bool
    figure: bool
    force: float


def compose(brief: Brief, seconds: float, random: Generator) -> list[Note]:
    """Return the notes of a piece of that length; the last bar comes home."""
    mood = brief.mood
    beat_s = 60.0 / brief.bpm
    bars = max(2, math.ceil(seconds / (beat_s * mood.beats)))
    loops = [mood.chords[int(n)] for n in random.permutation(len(mood.chords))[:2]]
    motifs = (_motif(brief, random), _motif(brief, random))
    notes: list[Note] = []
    place = 4
    for bar in range(bars):
        plan = _plan(bar, bars)
        verse = (bar // 8) % 2
        degree = 0 if bar == bars - 1 else loops[verse][bar % 4]
        at = bar * mood.beats
        notes += _harmony(brief, degree, at, plan, random)
        if plan.lead:
            played, place = _melody(brief, motifs[verse], bar, degree, place, random)
            notes += played
        if plan.drums:
            notes += _beat(brief, at, plan, random, fill=bar % 8 == 7)
    return [_timed(brief, note, beat_s) for note in notes if note.start_s * beat_s < seconds]


def _plan(bar: int, bars: int) -> Plan:
    """Build up, drop back before the second verse, and leave softly."""
    if bar >= bars - 1:
        return Plan(lead=False, drums=False, bass=True, figure=False, force=0.8)
    opening = min(4, bars // 6)
    if bar < opening:
        return Plan(lead=False, drums=False, bass=bar >= opening // 2, figure=True, force=0.75)
    if bars > 14 and bar % 16 in (14, 15):
        return Plan(lead=bar % 16 == 15, drums=False, bass=True, figure=True, force=0.8)
    return Plan(lead=True, drums=True, bass=True, figure=True, force=0.9 + 0.1 * min(1.0, bar / 8))


def pitch_of(brief: Brief, degree: int, octave: int) -> int:
    """Return the MIDI pitch of a step of the scale, counted from the root in that octave."""
    scale = SCALES[brief.mood.scale]
    return 12 * (octave + 1) + brief.root + scale[degree % 7] + 12 * (degree // 7)


def _harmony(brief: Brief, degree: int, at: float, plan: Plan, random: Generator) -> list[Note]:
    """Pad, figured chord and bass of one bar, in beats."""
    mood, beats = brief.mood, brief.mood.beats
    steps = [degree, degree + 2, degree + 4, *([degree + 6] if mood.seventh else [])]
    # keep the chord close to where the last one lay
    voiced = sorted(_within(pitch_of(brief, step, 4), 55, 70) for step in steps)
    notes = [Note("pad", mood.pad, at, beats, pitch, 0.5 * plan.force) for pitch in voiced]
    if plan.figure:
        notes += _figure(brief, voiced, at, plan, random)
    elif not plan.lead:
        notes += [Note("chord", mood.chord, at, beats, pitch, 0.55 * plan.force) for pitch in voiced]
    if plan.bass:
        low = _within(pitch_of(brief, degree, 2), 33, 47)
        fifth = _within(pitch_of(brief, degree + 4, 2), 33, 50)
        notes += [Note("bass", mood.bass, at + start, length, pitch, 0.85 * plan.force)
                  for start, length, pitch in _bass_line(brief, low, fifth)]  # fmt: skip
    return notes


def _bass_line(brief: Brief, low: int, fifth: int) -> list[tuple[float, float, int]]:
    mood = brief.mood
    if mood.beats == 3:
        return [(0, 2.5, low)]
    if mood.drums == "house":
        return [(beat + 0.5, 0.45, low) for beat in range(4)]
    if mood.drums == "swing":
        return [(0, 0.95, low), (1, 0.95, fifth), (2, 0.95, low + 12), (3, 0.95, fifth)]
    if mood.drums == "rock":
        return [(half / 2, 0.45, low) for half in range(8)]
    if mood.busy < 0.35:
        return [(0, 3.6, low)]
    return [(0, 1.4, low), (1.5, 0.45, low), (2, 1.4, fifth if mood.busy > 0.45 else low)]


def _figure(brief: Brief, voiced: list[int], at: float, plan: Plan, random: Generator) -> list[Note]:
    """Break the chord up: waltz, chords off the beat, or a pattern that rises and falls."""
    mood = brief.mood
    loud = 0.5 * plan.force
    if mood.beats == 3:
        return [Note("chord", mood.chord, at + beat, 0.8, pitch, loud) for beat in (1, 2) for pitch in voiced]
    if mood.drums in ("swing", "lofi"):
        return [
            Note("chord", mood.chord, at + start, length, pitch, loud)
            for start, length in ((0, 1.4), (1.5, 0.4), (2.5, 1.2))
            for pitch in voiced
        ]
    ladder = [*voiced, voiced[0] + 12]
    order = [0, 1, 2, 3, 2, 1, 2, 1] if mood.busy < 0.6 else [0, 2, 1, 3, 2, 1, 3, 2]
    step = 1.0 if mood.busy < 0.3 else 0.5
    return [
        Note("chord", mood.chord, at + n * step, step * 1.8, ladder[order[n % 8] % len(ladder)],
             loud * float(random.uniform(0.85, 1.05)))
        for n in range(int(mood.beats / step))
    ]  # fmt: skip


def _motif(brief: Brief, random: Generator) -> list[Step]:
    """Draw two bars of rhythm and movement."""
    total, at, steps = brief.mood.beats * 2.0, 0.0, []
    while at < total:
        quick = random.random() < brief.mood.busy
        length = float(random.choice([0.5, 0.5, 1.0])) if quick else float(random.choice([1.0, 1.5, 2.0]))
        length = min(length, total - at)
        if random.random() > 0.14 or at == 0:
            steps.append((at, length * 0.92, int(random.choice([-2, -1, -1, 0, 1, 1, 2, 3], p=_MOVES))))
        at += length
    return steps


_MOVES = (0.1, 0.2, 0.14, 0.08, 0.2, 0.12, 0.1, 0.06)


def _melody(
    brief: Brief, motif: list[Step], bar: int, degree: int, place: int, random: Generator
) -> tuple[list[Note], int]:
    """Play the bar's half of the motif over its chord: on strong beats a note of the chord, else the next step."""
    beats = brief.mood.beats
    half = (bar % 2) * beats
    varied = bar % 8 >= 6
    notes = []
    for start, length, move in motif:
        if not half <= start < half + beats:
            continue
        place += -move if varied and random.random() < 0.5 else move
        strong = (start - half) in (0, 2) or length >= 1.5
        if strong:
            place = min((degree + 7 * octave + tone for octave in range(-1, 3) for tone in (0, 2, 4)),
                        key=lambda one: (abs(one - place), one))  # fmt: skip
        pitch = pitch_of(brief, place, 4)
        while pitch > HIGHEST_LEAD:
            place, pitch = place - 7, pitch - 12
        while pitch < LOWEST_LEAD:
            place, pitch = place + 7, pitch + 12
        loud = (0.85 if strong else 0.68) * float(random.uniform(0.93, 1.05))
        notes.append(Note("lead", brief.mood.lead, bar * beats + start - half, length, pitch, loud))
    return notes, place


def _beat(brief: Brief, at: float, plan: Plan, random: Generator, *, fill: bool) -> list[Note]:
    kit = DRUMS[brief.mood.drums]
    notes = []
    for name, places in kit.items():
        for beat in places:
            accent = 1.0 if beat == int(beat) else 0.75
            loud = accent * plan.force * float(random.uniform(0.88, 1.0))
            notes.append(Note("drums", name, at + beat, 0.2, 0, loud))
    if fill and "snare" in kit:
        notes += [Note("drums", "snare", at + 3 + n / 4, 0.2, 0, 0.5 + 0.12 * n) for n in range(1, 4)]
    return notes


def _timed(brief: Brief, note: Note, beat_s: float) -> Note:
    """Turn beats into seconds; off the beat, swing is late."""
    beat = note.start_s
    if brief.mood.swing and abs(beat % 1 - 0.5) < 1e-6:
        beat += brief.mood.swing / 2
    return Note(note.part, note.instrument, beat * beat_s, note.length_s * beat_s, note.pitch, note.velocity)


def _within(pitch: int, low: int, high: int) -> int:
    while pitch < low:
        pitch += 12
    while pitch > high:
        pitch -= 12
    return pitch
