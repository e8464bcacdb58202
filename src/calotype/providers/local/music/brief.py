"""From the words of a prompt to a brief: mood, tempo, key, metre, drums and instruments."""

import re

from msgspec import Struct
from msgspec.structs import replace
from numpy.random import Generator

MAJOR = (0, 2, 4, 5, 7, 9, 11)
MINOR = (0, 2, 3, 5, 7, 8, 10)
DORIAN = (0, 2, 3, 5, 7, 9, 10)
LYDIAN = (0, 2, 4, 6, 7, 9, 11)
HARMONIC = (0, 2, 3, 5, 7, 8, 11)
SCALES = {"major": MAJOR, "minor": MINOR, "dorian": DORIAN, "lydian": LYDIAN, "harmonic minor": HARMONIC}
KEYS = ("C", "C#", "D", "Eb", "E", "F", "F#", "G", "Ab", "A", "Bb", "B")
MIN_BPM, MAX_BPM = 40, 200


class Mood(Struct, frozen=True):
    """A kind of music: scale, range of tempo, chords as steps of the scale, drums, and who plays."""

    scale: str
    bpm: tuple[int, int]
    chords: tuple[tuple[int, ...], ...]
    drums: str
    lead: str
    chord: str
    bass: str = "bass"
    pad: str = "pad"
    seventh: bool = False
    swing: float = 0.0
    beats: int = 4
    busy: float = 0.5


_BRIGHT = ((0, 4, 5, 3), (0, 3, 4, 4), (0, 5, 3, 4), (3, 4, 0, 5))
_DIM = ((0, 5, 2, 6), (0, 3, 5, 4), (0, 6, 5, 6), (5, 6, 0, 0))
_WIDE = ((0, 1, 3, 0), (0, 2, 3, 4), (3, 0, 1, 0))
_TURN = ((1, 4, 0, 5), (0, 5, 1, 4), (2, 5, 1, 4))

MOODS: dict[str, Mood] = {
    "happy": Mood("major", (108, 124), _BRIGHT, "pop", "marimba", "guitar", busy=0.65),
    "calm": Mood("lydian", (62, 74), _WIDE, "none", "bell", "piano", seventh=True, busy=0.25),
    "sad": Mood("minor", (60, 74), _DIM, "none", "strings", "piano", busy=0.3),
    "epic": Mood("minor", (84, 100), _DIM, "war", "strings", "harp", pad="strings", busy=0.4),
    "dark": Mood("harmonic minor", (70, 86), _DIM, "pulse", "flute", "synth", busy=0.3),
    "dance": Mood("minor", (120, 128), _DIM, "house", "synth", "synth", bass="synth-bass", busy=0.6),
    "lofi": Mood("dorian", (72, 84), _TURN, "lofi", "bell", "piano", seventh=True, swing=0.16, busy=0.35),
    "jazz": Mood("major", (112, 140), _TURN, "swing", "piano", "guitar", seventh=True, swing=0.3, busy=0.6),
    "folk": Mood("major", (92, 110), _BRIGHT, "shaker", "flute", "guitar", busy=0.5),
    "classical": Mood("major", (84, 104), _BRIGHT, "none", "strings", "piano", pad="strings", busy=0.5),
    "waltz": Mood("major", (132, 156), _BRIGHT, "none", "strings", "piano", pad="strings", beats=3, busy=0.5),
    "game": Mood("major", (124, 144), _BRIGHT, "pop", "square", "square", bass="square", busy=0.8),
    "rock": Mood("minor", (112, 132), _DIM, "rock", "synth", "guitar", bass="synth-bass", busy=0.5),
}

_MOOD_WORDS: dict[str, str] = {
    "happy": "happy joyful joy cheerful upbeat fun bright sunny summer playful positive uplifting pop ukulele party"
    " optimistic energetic",
    "calm": "calm peaceful relax relaxing relaxed ambient meditation meditative sleep gentle soft dreamy quiet serene"
    " atmospheric soothing spa yoga ocean lullaby floating space warm",
    "sad": "sad melancholic melancholy lonely grief emotional nostalgic rain rainy tearful sorrow longing",
    "epic": "epic cinematic heroic orchestral trailer adventure triumphant battle powerful majestic film soundtrack",
    "dark": "dark tense scary horror mysterious suspense eerie spooky ominous thriller haunted",
    "dance": "dance edm house techno club electronic trance disco synthwave retrowave electro driving workout",
    "lofi": "lofi lo-fi chill chillhop study hiphop hip-hop beats coffee cozy laid-back groovy",
    "jazz": "jazz jazzy swing blues bossa lounge smoky",
    "folk": "folk acoustic country campfire rustic celtic medieval indie",
    "classical": "classical baroque chamber elegant romantic sonata orchestra",
    "waltz": "waltz ballroom carousel",
    "game": "game chiptune 8-bit 8bit arcade pixel retro videogame",
    "rock": "rock punk metal grunge garage heavy",
}
_INSTRUMENTS: dict[str, str] = {
    "piano": "piano", "guitar": "guitar", "harp": "harp", "strings": "strings", "violin": "strings",
    "cello": "strings", "violins": "strings", "flute": "flute", "whistle": "flute", "bell": "bell", "bells": "bell",
    "glockenspiel": "bell", "celesta": "bell", "musicbox": "bell", "marimba": "marimba", "xylophone": "marimba",
    "kalimba": "marimba", "synth": "synth", "synthesizer": "synth", "synths": "synth", "organ": "organ",
    "square": "square", "pad": "pad", "pads": "pad",
}  # fmt: skip
_CHORDAL = frozenset({"guitar", "harp", "piano", "organ"})
_SILENT_WORDS = (
    "a an and the of for with in on to my some music song track tune melody piece background instrumental bpm major"
    " minor by at from that is it very feel feeling mood style sound sounding drums drum percussion no without beat"
    " bass slow fast tempo quick uptempo medium mid key loop theme make me please about"
)
_SILENT = frozenset(_SILENT_WORDS.split())
_MOOD_OF = {word: mood for mood, words in _MOOD_WORDS.items() for word in words.split()}


class Brief(Struct, frozen=True):
    """What is to be composed. `root` is a pitch class; `unread` are words that changed nothing."""

    name: str
    mood: Mood
    bpm: int
    root: int
    unread: tuple[str, ...] = ()

    @property
    def key(self) -> str:
        """The key in words."""
        return f"{KEYS[self.root]} {self.mood.scale}"

    @property
    def instruments(self) -> tuple[str, ...]:
        """Who plays, each once."""
        mood = self.mood
        drums = () if mood.drums == "none" else ("drums",)
        return tuple(dict.fromkeys((mood.lead, mood.chord, mood.bass, mood.pad, *drums)))


def read(prompt: str, random: Generator) -> Brief:
    """Read a prompt; what it leaves open is drawn."""
    text = prompt.lower()
    words = re.findall(r"[a-z0-9#][a-z0-9#'-]*", text.replace("music box", "musicbox").replace("hip hop", "hiphop"))
    moods = [_MOOD_OF[word] for word in words if word in _MOOD_OF]
    name = max(dict.fromkeys(moods), key=moods.count) if moods else str(random.choice(["happy", "calm", "folk"]))
    mood = _played(MOODS[name], words)
    low, high = mood.bpm
    bpm = int(random.integers(low, high + 1))
    if {"slow", "slowly"} & set(words):
        bpm = max(MIN_BPM, round(low * 0.85))
    elif {"fast", "quick", "uptempo"} & set(words):
        bpm = min(MAX_BPM, round(high * 1.15))
    if (asked := re.search(r"(\d{2,3})\s*bpm", text)) is not None:
        bpm = min(max(int(asked[1]), MIN_BPM), MAX_BPM)
    root = int(random.integers(12))
    if (key := re.search(r"\b([a-g])(#|b| sharp| flat)?[ -](major|minor)\b", text)) is not None:
        root = _root(key[1], key[2] or "")
        mood = replace(mood, scale=key[3])
    elif "minor" in words and mood.scale in ("major", "lydian"):
        mood = replace(mood, scale="minor")
    elif "major" in words:
        mood = replace(mood, scale="major")
    known = _MOOD_OF.keys() | _INSTRUMENTS.keys() | _SILENT
    unread = tuple(dict.fromkeys(word for word in words if word not in known and not re.fullmatch(r"\d+|\w#?", word)))
    return Brief(name, mood, bpm, root, unread)


def _played(mood: Mood, words: list[str]) -> Mood:
    """Give the parts to the instruments that are named."""
    text = " ".join(words)
    asked = list(dict.fromkeys(_INSTRUMENTS[word] for word in words if word in _INSTRUMENTS))
    if "pad" in asked:
        asked.remove("pad")
    chordal = [one for one in asked if one in _CHORDAL]
    if chordal:
        mood = replace(mood, chord=chordal[0])
        asked.remove(chordal[0])
    if asked:
        mood = replace(mood, lead=asked[0])
    elif chordal:
        mood = replace(mood, lead=chordal[0])
    if re.search(r"\b(no|without) (drums?|percussion|beat)\b", text):
        return replace(mood, drums="none")
    if mood.drums == "none" and {"drums", "drum", "percussion", "beat"} & set(words):
        return replace(mood, drums="lofi" if mood.bpm[1] < 90 else "pop")
    return mood


def _root(letter: str, sign: str) -> int:
    base = {"c": 0, "d": 2, "e": 4, "f": 5, "g": 7, "a": 9, "b": 11}[letter]
    step = 1 if sign in ("#", " sharp") else -1 if sign in ("b", " flat") else 0
    return (base + step) % 12
