"""A scene: what a prompt asked for, in the terms the painter knows."""

from typing import Literal

import msgspec

Relation = Literal["on", "riding", "under", "beside", "front", "behind", "above", "in", "left", "right", "wearing",
                   "holding", "filled"]  # fmt: skip


class Figure(msgspec.Struct, frozen=True):
    """One kind of subject: how many, how coloured, and where it lives.

    `relation` says how the figure `target` stands to this one ("a cat on a mat": the mat holds `on` and the cat);
    `joined` that it was named together with the figure before it ("apples and a banana").
    """

    art: str
    count: int = 1
    colour: str | None = None
    scale: float = 1.0
    home: str = "ground"
    relation: Relation | None = None
    target: int | None = None
    joined: bool = False


class Scene(msgspec.Struct, frozen=True):
    """Everything a prompt asked for that can be drawn."""

    time: str = "day"
    weather: frozenset[str] = frozenset()
    season: str | None = None
    sky: frozenset[str] = frozenset()
    setting: str = "outdoors"
    backdrops: tuple[str, ...] = ()
    ground: str | None = None
    water: str | None = None
    colours: tuple[tuple[str, str], ...] = ()
    figures: tuple[Figure, ...] = ()
    warnings: tuple[str, ...] = ()

    def colour_of(self, part: str) -> str | None:
        """Give the colour the prompt gave to the sky, the ground, the water or the backdrop."""
        return dict(self.colours).get(part)
