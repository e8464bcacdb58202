"""The vocabulary: which words the engine knows, read once from the packaged tables."""

import functools
import tomllib
from importlib import resources
from typing import Any, Literal

import msgspec

Kind = Literal[
    "subject", "time", "sky", "weather", "season", "ground", "backdrop", "water", "setting", "surroundings",
    "colour", "number", "size", "relation", "manner", "pose", "style", "stop", "negation",
]  # fmt: skip

_IRREGULAR = {
    "men": "man", "women": "woman", "children": "child", "mice": "mouse", "geese": "goose", "wolves": "wolf",
    "policemen": "policeman", "firemen": "fireman", "calves": "calf", "leaves": "leaf", "knives": "knife",
    "loaves": "loaf", "elves": "elf", "oxen": "ox", "cacti": "cactus", "octopi": "octopus", "dice": "dice",
    "ladies": "lady", "snowmen": "snowman", "fishermen": "fisherman", "wives": "woman", "grasses": "grass",
}  # fmt: skip

_CROWDS = frozenset({"people", "children"})


class Meaning(msgspec.Struct, frozen=True):
    """What one word or phrase stands for."""

    kind: Kind
    value: str
    plural: bool = False


class Art(msgspec.Struct, frozen=True):
    """One drawing: where its subject lives and how tall it is in the world, in metres."""

    name: str
    home: str
    height_m: float
    people: bool = False
    built: bool = False


class Vocabulary(msgspec.Struct, frozen=True):
    """Everything the tables say, ready for lookup."""

    meanings: dict[str, Meaning]
    arts: dict[str, Art]
    poses: dict[str, dict[str, str]]
    brings: dict[str, str]
    native: dict[str, str]
    perch: dict[str, float]
    sink: dict[str, float]
    bodies: dict[str, tuple[str, ...]]
    worn: dict[str, tuple[float, float]]
    scatter: dict[str, tuple[tuple[str, int, float], ...]]
    contains: frozenset[str]
    dyed: dict[str, str]
    upright: frozenset[str]
    glowing: frozenset[str]
    varied: frozenset[str]
    varied_colours: tuple[str, ...]
    night_bodies: frozenset[str]

    def look_up(self, phrase: str) -> Meaning | None:
        """Find a phrase (words joined by "_"), as it stands or as the plural of a known one."""
        found = self.meanings.get(phrase)
        if found is not None:
            return Meaning(found.kind, found.value, plural=phrase in _CROWDS) if phrase in _CROWDS else found
        for singular in _singulars(phrase):
            found = self.meanings.get(singular)
            if found is not None and found.kind not in ("stop", "number", "negation", "colour"):
                return Meaning(found.kind, found.value, plural=True)
        return None


@functools.cache
def vocabulary() -> Vocabulary:
    """Read the packaged tables; the result is shared and never changed."""
    subjects, scenery = asset_table("subjects.toml"), asset_table("scenery.toml")
    meanings: dict[str, Meaning] = {}
    arts: dict[str, Art] = {}
    poses: dict[str, dict[str, str]] = {}
    for shelf in subjects["shelf"]:
        for name, words in shelf["art"].items():
            arts[name] = Art(
                name, shelf["home"], shelf["height_m"], shelf.get("people", False), shelf.get("built", False)
            )
            for word in words.split():
                meanings.setdefault(word, Meaning("subject", name))
    by_value: tuple[Kind, ...] = (
        "time", "sky", "weather", "season", "ground", "backdrop", "water", "setting", "surroundings",
        "colour", "number", "size", "relation", "manner",
    )  # fmt: skip
    for kind in by_value:
        for value, words in scenery[kind].items():
            for word in words.split():
                meanings.setdefault(word, Meaning(kind, value))
    for name, row in scenery["pose"].items():
        poses[name] = {key: art for key, art in row.items() if key != "words"}
        for word in row["words"].split():
            meanings.setdefault(word, Meaning("pose", name))
    plain: tuple[Kind, ...] = ("style", "negation", "stop")
    for kind in plain:
        for word in scenery[kind]["words"].split():
            meanings.setdefault(word, Meaning(kind, word))
    return Vocabulary(
        meanings=meanings,
        arts=arts,
        poses=poses,
        brings=scenery["brings"],
        native=scenery["native"],
        perch=scenery["perch"],
        sink=subjects["sink"],
        bodies={name: tuple(row) for name, row in subjects["bodies"].items()},
        worn={name: (row[0], row[1]) for name, row in scenery["worn"].items()},
        scatter={name: tuple((art, n, tall) for art, n, tall in rows) for name, rows in scenery["scatter"].items()},
        contains=frozenset(scenery["contains"]["arts"]),
        dyed=scenery["dyed"],
        glowing=frozenset(scenery["glowing"]["arts"]),
        upright=frozenset(scenery["upright"]["arts"]),
        varied=frozenset(scenery["varied"]["arts"]),
        varied_colours=tuple(scenery["varied"]["colours"]),
        night_bodies=frozenset(scenery["sky_is_night"]["bodies"]),
    )


def asset_table(name: str) -> dict[str, Any]:
    """Read one TOML table out of the package."""
    return tomllib.loads(resources.files(__package__).joinpath("assets", name).read_text("utf-8"))


def _singulars(phrase: str) -> list[str]:
    head, _, last = phrase.rpartition("_")
    prefix = f"{head}_" if head else ""
    guesses = [_IRREGULAR[last]] if last in _IRREGULAR else []
    if last.endswith("ies"):
        guesses.append(last[:-3] + "y")
    if last.endswith("es"):
        guesses.append(last[:-2])
    if last.endswith("s") and len(last) > 2:
        guesses.append(last[:-1])
    return [prefix + guess for guess in guesses]
