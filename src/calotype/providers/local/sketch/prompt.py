"""A prompt becomes a `Scene`: what to draw, without a pixel drawn."""

import re
import unicodedata

import msgspec

from calotype.providers.local.sketch.scene import Figure, Relation, Scene
from calotype.providers.local.sketch.words import Meaning, Vocabulary, vocabulary

MAX_WORDS = 400
MAX_OF_A_KIND = 12
MAX_KINDS = 8
MAX_NAMED_IN_WARNING = 20

_CHARACTERS_READ = 8_000
_LONGEST_WORD_SHOWN = 24
_WORD = re.compile(r"[^\W_]+(?:['\u2019-][^\W_]+)*|[.,;:!?\n]")
_SAME_IN_PLURAL = frozenset({"fish", "sheep", "deer", "salmon", "trout", "squid", "buffalo", "goldfish", "clownfish"})
_PUNCTUATION = frozenset(".,;:!?\n")


def read(prompt: str) -> Scene:
    """Parse a prompt of any length and language; what is not understood comes back in `warnings`."""
    return _Reader(vocabulary()).read(prompt)


class _Pending:
    """Adjectives waiting for their noun."""

    def __init__(self) -> None:
        self.count: int | None = None
        self.count_word = ""
        self.colour: str | None = None
        self.colour_word = ""
        self.scale = 1.0
        self.negated = False
        self.article = False


class _Reader:
    def __init__(self, words: Vocabulary) -> None:
        self.words = words
        self.times: list[str] = []
        self.weather: set[str] = set()
        self.season: str | None = None
        self.sky: set[str] = set()
        self.settings: list[str] = []
        self.backdrops: list[str] = []
        self.grounds: list[str] = []
        self.waters: list[str] = []
        self.colours: dict[str, str] = {}
        self.figures: list[Figure] = []
        self.unknown: list[str] = []
        self.styled: list[str] = []
        self.notes: list[str] = []
        self.pending = _Pending()
        self.relation: Relation | None = None
        self.last_part: str | None = None
        self.copula = False
        self.joining = False

    def read(self, prompt: str) -> Scene:
        text = unicodedata.normalize("NFKC", prompt[:_CHARACTERS_READ].encode("utf-8", "replace").decode()).lower()
        tokens = [token.replace("\u2019", "'") for token in _WORD.findall(text)]
        words = [token for token in tokens if token not in _PUNCTUATION]
        if len(words) > MAX_WORDS or len(prompt) > _CHARACTERS_READ:
            self.notes.append(f"read the first {min(len(words), MAX_WORDS)} words of the prompt, not the rest")
            tokens = tokens[: MAX_WORDS * 2]
        position = 0
        while position < len(tokens):
            position += self._step(tokens, position)
        self._end_of_clause()
        return self._scene(blank=not words)

    def _step(self, tokens: list[str], position: int) -> int:
        """Understand the longest phrase at a position and say how many tokens it took."""
        if tokens[position] in _PUNCTUATION:
            self._end_of_clause()
            return 1
        for length in (4, 3, 2, 1):
            phrase = "_".join(tokens[position : position + length])
            meaning = None if length > len(tokens) - position else self.words.look_up(phrase)
            if meaning is not None:
                self._understand(meaning, phrase.replace("_", " "))
                return length
        word = tokens[position]
        if word.isdecimal():
            self.pending.count, self.pending.count_word = int(word[:6]), word[:6]
        elif "-" in word and all(self.words.look_up(part) for part in word.split("-")):
            for part in word.split("-"):
                meaning = self.words.look_up(part)
                if meaning is not None:
                    self._understand(meaning, part)
        else:
            self.unknown.append(word[:_LONGEST_WORD_SHOWN])
            self.pending = _Pending()
        return 1

    def _understand(self, meaning: Meaning, word: str) -> None:
        kind, value = meaning.kind, meaning.value
        if kind == "stop":
            self.copula = self.copula or word in ("is", "are", "was", "were")
            self.pending.article = self.pending.article or word in ("a", "an", "the", "this", "that")
            self.joining = self.joining or word in ("and", "with")
            if word == "of" and self.figures and self.figures[-1].art in self.words.contains:
                self.relation = "filled"
            return
        if kind == "negation":
            self.pending.negated = True
        elif kind == "number":
            self.pending.count, self.pending.count_word = int(value), word
        elif kind == "colour":
            self._colour(value, word)
        elif kind == "size":
            self.pending.scale = float(value)
        elif kind == "style":
            self.styled.append(word)
        elif kind == "relation":
            self._settle_colour()
            self.relation = value  # type: ignore[assignment]
        elif kind == "manner":
            self._revise_last(home=value)
        elif kind == "pose":
            self._pose(value, word)
        elif self.pending.negated:
            self.pending = _Pending()
            self.relation = None
        elif kind == "subject":
            self._subject(meaning, word)
        else:
            self._surroundings(kind, value)

    def _surroundings(self, kind: str, value: str) -> None:
        part = {"sky": "sky", "weather": "sky", "time": "sky", "surroundings": value, "setting": "backdrop"}.get(kind)
        part = part or kind
        if kind == "surroundings" and value not in ("sky", "ground"):
            return
        if self.pending.colour:
            self.colours[part] = self.pending.colour
        self.last_part = part
        if kind == "time":
            self.times.append(value)
        elif kind == "weather":
            self.weather.add(value)
        elif kind == "season":
            self.season = value
        elif kind == "sky":
            self.sky.add(value)
        elif kind == "setting":
            self.settings.append(value)
        elif kind == "backdrop" and value not in self.backdrops:
            self.backdrops.append(value)
        elif kind == "ground":
            self.grounds.append(value)
        elif kind == "water":
            self.waters.append(value)
        if kind == "water" and value != "beach" and self.relation in ("on", "in"):
            self._revise_last(on_water=True)
        if kind in ("sky", "weather", "surroundings") and self.relation == "in" and value in ("sky", "clouds"):
            self._revise_last(home="air")
        self.pending, self.relation, self.copula, self.joining = _Pending(), None, False, False

    def _subject(self, meaning: Meaning, word: str) -> None:
        pending, art = self.pending, self.words.arts[meaning.value]
        plural = meaning.plural or (word.rpartition(" ")[2] in _SAME_IN_PLURAL and not pending.article)
        asked = pending.count if pending.count is not None else (3 if plural else 1)
        if asked == 0:
            self.notes.append(f'not drawn: "{word}" (the prompt asks for none)')
            self.pending, self.relation = _Pending(), None
            return
        count = min(asked, MAX_OF_A_KIND)
        if asked > MAX_OF_A_KIND:
            self.notes.append(f'drew {MAX_OF_A_KIND} of {asked} "{word}" (at most {MAX_OF_A_KIND} of a kind)')
        target = self._head() if self.relation is not None and self.figures else None
        colour = pending.colour or self.words.dyed.get(word.removesuffix("s"))
        if len(self.figures) >= MAX_KINDS:
            self.notes.append(f'not drawn: "{word}" (at most {MAX_KINDS} kinds of subject)')
        else:
            self.figures.append(
                Figure(
                    art=art.name,
                    count=count,
                    colour=colour,
                    scale=pending.scale,
                    home=art.home,
                    relation=self.relation if target is not None else None,
                    target=target,
                    joined=self.joining and target is None and bool(self.figures),
                )
            )
        self.pending, self.relation, self.last_part, self.copula = _Pending(), None, None, False
        self.joining = False

    def _head(self) -> int:
        """Find the figure a relation speaks of: the last one, or what holds it."""
        last = len(self.figures) - 1
        figure = self.figures[last]
        return figure.target if figure.relation == "filled" and figure.target is not None else last

    def _colour(self, value: str, word: str) -> None:
        if self.copula and self._paint_last(value):
            return
        self.pending.colour, self.pending.colour_word = value, word

    def _paint_last(self, colour: str) -> bool:
        if self.last_part is not None:
            self.colours[self.last_part] = colour
        elif self.figures:
            self._revise_last(colour=colour)
        else:
            return False
        return True

    def _settle_colour(self) -> None:
        """Give a colour that met no noun to what was named before it ("a car in red")."""
        word = self.pending.colour_word
        if word == "orange":
            self.pending.colour = None
            self.pending.colour_word = ""
            self._subject(Meaning("subject", "tangerine", plural=False), word)
        elif self.pending.colour is not None:
            if not self._paint_last(self.pending.colour):
                self.colours["sky"] = self.pending.colour
            self.pending.colour = None

    def _end_of_clause(self) -> None:
        self._settle_colour()
        if self.pending.count_word.isdecimal():
            self.unknown.append(self.pending.count_word)
        self.pending, self.relation, self.copula, self.joining = _Pending(), None, False, True

    def _pose(self, pose: str, word: str) -> None:
        row = self.words.poses[pose]
        if not (self.figures and self.figures[-1].art in row):
            self.unknown.append(word)
            return
        for index in range(len(self.figures) - 1, -1, -1):
            figure = self.figures[index]
            self.figures[index] = msgspec.structs.replace(figure, art=row.get(figure.art, figure.art))
            if not figure.joined:
                break

    def _revise_last(self, *, home: str | None = None, colour: str | None = None, on_water: bool = False) -> None:
        if not self.figures:
            return
        last = self.figures[-1]
        if on_water and last.relation is None and last.home in ("ground", "plant", "surface"):
            home = "afloat"
        self.figures[-1] = msgspec.structs.replace(last, home=home or last.home, colour=colour or last.colour)

    def _scene(self, *, blank: bool) -> Scene:
        time = self._time()
        native = {self.words.native[figure.art] for figure in self.figures if figure.art in self.words.native}
        setting = self._setting(native)
        backdrops, ground, water = list(self.backdrops), self.grounds[-1] if self.grounds else None, None
        if self.waters:
            water = self.waters[-1]
        if setting == "outdoors" and not (backdrops or ground or water):
            backdrops, ground, water = self._home_place(native)
        if setting == "outdoors" and ground is None:
            for place in backdrops:
                ground = ground or self.words.brings.get(place)
        if water is None and "island" in backdrops:
            water = "sea"
        grounded = any(figure.home in ("ground", "plant", "surface") for figure in self.figures)
        if water == "beach" or (water == "sea" and grounded):
            water, ground = "sea", ground or "sand"
        if self.season == "winter" and ground in (None, "grass"):
            ground = "snow"
        if "snow" in self.weather and ground in (None, "grass"):
            ground = "snow"
        if water is None and setting == "outdoors" and any(f.home in ("afloat", "swim") for f in self.figures):
            water = "lake" if backdrops else "sea"
        return Scene(
            time=time,
            weather=frozenset(self.weather),
            season=self.season,
            sky=frozenset(self.sky),
            setting=setting,
            backdrops=tuple(backdrops),
            ground=ground,
            water=water,
            colours=tuple(sorted(self.colours.items())),
            figures=tuple(self.figures),
            warnings=self._warnings(blank=blank),
        )

    def _time(self) -> str:
        if self.times:
            return self.times[-1]
        if self.sky & self.words.night_bodies:
            return "night"
        return "day"

    def _setting(self, native: set[str]) -> str:
        outdoors = bool(self.backdrops or self.grounds or self.waters)
        homes = {figure.home for figure in self.figures}
        if self.settings:
            return "table" if self.settings[-1] == "room" and homes == {"surface"} else self.settings[-1]
        if outdoors or self.sky or self.weather or not homes:
            return "outdoors"
        for place in ("room", "underwater", "space"):
            if place in native:
                return place
        if homes == {"swim"}:
            return "underwater"
        if homes == {"surface"}:
            return "table"
        return "outdoors"

    def _home_place(self, native: set[str]) -> tuple[list[str], str | None, str | None]:
        """Where the subjects are at home when the prompt names no place: backdrops, ground, water."""
        for place in sorted(native):
            if place in ("snow", "grass", "sand", "savanna"):
                return [], place, None
            if place in ("sea", "beach", "lake", "river"):
                return [], None, place
            if place not in ("space", "underwater", "room"):
                return [place], None, None
        return [], None, None

    def _warnings(self, *, blank: bool) -> tuple[str, ...]:
        found = list(self.notes)
        if self.styled:
            found.append(f"not drawn: {_quoted(self.styled)} (style words have no effect on local/sketch)")
        if self.unknown:
            found.append(f"not drawn: {_quoted(self.unknown)} (words local/sketch does not know)")
        if blank:
            found.append("the prompt named nothing to draw; the seed chose a landscape")
        return tuple(found)


def _quoted(words: list[str]) -> str:
    distinct = list(dict.fromkeys(words))
    named = ", ".join(f'"{word}"' for word in distinct[:MAX_NAMED_IN_WARNING])
    rest = len(distinct) - MAX_NAMED_IN_WARNING
    return f"{named} and {rest} more" if rest > 0 else named
