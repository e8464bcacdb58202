"""Placing: where every subject of a scene stands, how big and in what order, before anything is drawn."""

import msgspec
import numpy as np

from calotype.providers.local.sketch.chance import Chance
from calotype.providers.local.sketch.layers import Stage
from calotype.providers.local.sketch.scene import Figure, Scene
from calotype.providers.local.sketch.subjects import TONES, Tone, drawing
from calotype.providers.local.sketch.words import vocabulary

_MOVES_THE_FIRST = frozenset({"on", "riding", "under", "behind", "front", "above", "in", "left", "right"})
_MOVES_THE_SECOND = frozenset({"wearing", "holding", "filled"})
_AIR_HEIGHT = {"air": 0.17, "sky": 0.24}


class Placement(msgspec.Struct, frozen=True):
    """One drawn subject: its box in pixels, `foot` the row it stands on, `order` back to front."""

    figure: int
    art: str
    tone: Tone
    x: float
    y: float
    width: float
    height: float
    order: float
    home: str
    flip: bool = False
    anchored: bool = False
    depth: float = 0.0
    colour: str | None = None

    @property
    def foot(self) -> float:
        """The row the subject stands on."""
        return self.y + self.height

    @property
    def centre(self) -> float:
        """The middle column."""
        return self.x + self.width / 2


class Field(msgspec.Struct, frozen=True):
    """Where things may stand: the rows of the ground and of the water, in pixels."""

    ground: tuple[float, float]
    water: tuple[float, float] | None
    floating: bool = False


def place(scene: Scene, stage: Stage, field: Field, chance: Chance) -> tuple[Placement, ...]:
    """Place all figures of a scene; each figure of count n gives n placements."""
    return _Placer(scene, stage, field, chance).all()


class _Placer:
    def __init__(self, scene: Scene, stage: Stage, field: Field, chance: Chance) -> None:
        self.figures = scene.figures
        self.stage, self.field = stage, field
        self.rng = chance.stream("place")
        self.side = float(self.rng.choice([-1.0, 1.0]))
        self.variety = int(self.rng.integers(8))
        self.left, self.frame = float(stage.margin), float(stage.width - 2 * stage.margin)
        self.arts = vocabulary().arts
        self.tones: list[list[Tone]] = [
            [TONES[int(self.rng.integers(3))] for _ in range(f.count)] for f in self.figures
        ]
        self.placed: dict[int, list[Placement]] = {}
        self.anchor: dict[int, tuple[int, str]] = {}
        self.tallest_m = max((self._metres(f) for f in self.figures), default=1.0)
        self._find_anchors()

    def all(self) -> tuple[Placement, ...]:
        roots = [index for index in range(len(self.figures)) if index not in self.anchor]
        if self.field.floating:
            self._drift(roots)
        else:
            self._stand([index for index in roots if self.figures[index].home in ("ground", "plant", "surface")])
            self._float([index for index in roots if self.figures[index].home in ("afloat", "swim")])
            self._fly([index for index in roots if self.figures[index].home in ("air", "sky")])
        waiting = [index for index in self.anchor if index not in self.placed]
        while waiting:
            other, relation = next(self.anchor[index] for index in waiting if self.anchor[index][0] in self.placed)
            group = [index for index in waiting if self.anchor[index] == (other, relation)]
            self._relate(group, self.placed[other], relation)
            waiting = [index for index in waiting if index not in self.placed]
        everything = [placement for index in sorted(self.placed) for placement in self.placed[index]]
        return tuple(sorted(everything, key=lambda placement: (placement.order, placement.figure, placement.x)))

    def _find_anchors(self) -> None:
        for index, figure in enumerate(self.figures):
            if figure.target is None or figure.relation is None:
                continue
            mover, other = index, figure.target
            if figure.relation in _MOVES_THE_FIRST:
                mover, other = figure.target, index
            elif figure.relation not in _MOVES_THE_SECOND:
                continue
            if figure.relation == "under" and self.figures[other].home in ("air", "sky"):
                continue
            while mover not in self.anchor and mover != other and not self._leads_to(other, mover):
                self.anchor[mover] = (other, figure.relation)
                if mover != figure.target or not self.figures[mover].joined:
                    break
                mover -= 1

    def _leads_to(self, start: int, goal: int) -> bool:
        while start in self.anchor:
            start = self.anchor[start][0]
        return start == goal

    def _metres(self, figure: Figure) -> float:
        return self.arts[figure.art].height_m

    def _ratio(self, index: int, copy: int) -> float:
        return drawing(self.figures[index].art, self.tones[index][copy]).ratio

    def _share(self, figure: Figure, tallest_m: float) -> float:
        """Give a subject's height as a share of the stage's unit: true to scale, but gently so."""
        hero = min(0.60, max(0.30, 0.48 * (tallest_m / 1.7) ** 0.13))
        return float(hero * (self._metres(figure) / tallest_m) ** 0.36 * figure.scale**0.8)

    def _make(self, index: int, copy: int, centre: float, foot: float, height: float, *, order: float | None = None,
              flip: bool | None = None, anchored: bool = False, depth: float = 0.0) -> Placement:  # fmt: skip
        figure = self.figures[index]
        height = min(height, self.stage.height * 0.9)
        width = height * self._ratio(index, copy)
        if width > self.frame * 0.94:
            height *= self.frame * 0.94 / width
            width = self.frame * 0.94
        edge = self.frame * 0.015
        x = min(max(centre - width / 2, self.left + edge), self.left + self.frame - edge - width)
        y = min(max(foot - height, self.stage.height * 0.01), self.stage.height * 0.985 - height)
        turned = bool(self.rng.random() < 0.5) if flip is None else flip
        return Placement(
            index, figure.art, self.tones[index][copy], x, y, width, height, foot if order is None else order,
            figure.home, turned, anchored, depth, self._variety(figure, copy),
        )  # fmt: skip

    def _variety(self, figure: Figure, copy: int) -> str | None:
        words = vocabulary()
        if figure.count == 1 or figure.art not in words.varied:
            return None
        return words.varied_colours[(copy + int(self.variety)) % len(words.varied_colours)]

    def _stand(self, indexes: list[int]) -> None:
        """Spread the ground's subjects over one to three rows, large ones behind small ones."""
        copies = [(index, copy) for index in indexes for copy in range(self.figures[index].count)]
        if not copies:
            return
        tallest = max(self._metres(self.figures[index]) for index in indexes)
        crowd = len(copies) ** -0.18
        carries = {other for other, relation in self.anchor.values() if relation in ("on", "riding", "filled")}
        heights = {
            item: self.stage.unit
            * self._share(self.figures[item[0]], tallest)
            * crowd
            * (0.8 if item[0] in carries else 1.0)
            for item in copies
        }
        biggest = max(heights.values())
        rows: list[list[tuple[int, int]]] = [[], [], []]
        small = [item for item in copies if heights[item] < biggest * 0.72]
        large = [item for item in copies if item not in small]
        if small and large:
            rows = [large if len(large) <= 5 else large[::2], [] if len(large) <= 5 else large[1::2], small]
            if len(small) > 5:
                rows = [large, small[::2], small[1::2]]
        elif len(copies) <= 4:
            rows[1] = copies
        elif len(copies) <= 8:
            rows[0], rows[2] = copies[::2], copies[1::2]
        else:
            rows = [copies[::3], copies[1::3], copies[2::3]]
        top, bottom = self.field.ground
        for number, row in enumerate(rows):
            if row:
                alone = sum(1 for other in rows if other) == 1
                paired = not alone and len(row) == 1
                self._row(
                    row,
                    heights,
                    top + (bottom - top) * (0.62 if alone else (0.26, 0.52, 0.86)[number]),
                    number,
                    paired=paired,
                )

    def _row(
        self,
        row: list[tuple[int, int]],
        heights: dict[tuple[int, int], float],
        foot: float,
        number: int,
        *,
        paired: bool,
    ) -> None:
        back = (0.82, 0.92, 1.0)[number] if len(row) > 1 else 1.0
        widths = [heights[item] * back * self._ratio(*item) for item in row]
        room = self.frame * 0.92
        squeeze = min(1.0, room / (sum(widths) * 1.08))
        widths = [width * squeeze for width in widths]
        spare = room - sum(widths)
        gaps = np.array([self.rng.uniform(0.6, 1.4) for _ in range(len(row) + 1)])
        if len(row) > 1:
            gaps[[0, -1]] *= 0.55
            between = min(spare * 0.8 / (len(row) - 1), 0.7 * sum(widths) / len(row))
            gaps = gaps / gaps[1:-1].sum() * between * (len(row) - 1)
            used = float(gaps[1:-1].sum()) + sum(widths)
            start = (
                self.left
                + self.frame / 2
                - used / 2
                + float(self.rng.uniform(-0.3, 0.3)) * max(0.0, self.frame * 0.9 - used)
            )
        else:
            side = self.side if number < 2 else -self.side
            offset = side * float(self.rng.uniform(0.12, 0.2) if paired else self.rng.uniform(0.02, 0.12))
            start = self.left + self.frame * (0.5 + offset) - widths[0] / 2
        x = start
        for slot, (index, copy) in enumerate(row):
            step = float(self.rng.uniform(-0.024, 0.024)) * self.stage.height if len(row) > 1 else 0.0
            tall = heights[(index, copy)] * back * squeeze * (1 + step / self.stage.height * 3)
            made = self._make(index, copy, x + widths[slot] / 2, foot + step, tall)
            self.placed.setdefault(index, []).append(made)
            x += widths[slot] + (float(gaps[slot + 1]) if slot + 1 < len(row) else 0.0)

    def _float(self, indexes: list[int]) -> None:
        copies = [(index, copy) for index in indexes for copy in range(self.figures[index].count)]
        if not copies:
            return
        top, bottom = self.field.water or self.field.ground
        tallest = max(self._metres(self.figures[index]) for index in indexes)
        for slot, (index, copy) in enumerate(copies):
            figure = self.figures[index]
            t = 0.45 if len(copies) == 1 else 0.2 + 0.7 * ((slot * 0.618) % 1.0)
            foot = top + (bottom - top) * t
            swims = 0.7 if figure.home == "swim" else 0.8
            height = self.stage.unit * self._share(figure, tallest) * swims * (0.6 + 0.5 * t) * len(copies) ** -0.22
            lane = (slot + 0.5) / len(copies) if len(copies) > 1 else 0.5 + float(self.rng.uniform(-0.14, 0.14))
            centre = self.left + self.frame * (0.05 + 0.9 * lane)
            height = min(height, self.frame * 0.9 / len(copies) ** 0.7 / self._ratio(index, copy))
            self.placed.setdefault(index, []).append(self._make(index, copy, centre, foot, height))

    def _fly(self, indexes: list[int]) -> None:
        copies = [(index, copy) for index in indexes for copy in range(self.figures[index].count)]
        taken = [box for row in self.placed.values() for box in row]
        lonely = 1.7 if not taken and len(copies) <= 2 else 1.25 if len(copies) <= 2 else 1.0
        for slot, (index, copy) in enumerate(copies):
            figure = self.figures[index]
            share = _AIR_HEIGHT[figure.home] * (self._metres(figure) / 0.5) ** (0.2 if figure.home == "air" else 0.0)
            height = self.stage.unit * share * lonely * figure.scale**0.8 * len(copies) ** -0.2
            best: tuple[float, Placement] | None = None
            for _ in range(14):
                lane = (slot + float(self.rng.uniform(0.2, 0.8))) / len(copies)
                centre = self.left + self.frame * (0.08 + 0.84 * lane)
                up = float(self.rng.uniform(0.12, 0.62))
                foot = self.stage.horizon * up + height
                guess = self._make(index, copy, centre, foot, height, order=-1.0, depth=0.06)
                cost = sum(_overlap(guess, box) for box in taken)
                if best is None or cost < best[0] - 1e-9:
                    best = (cost, guess)
            if best is not None:
                taken.append(best[1])
                self.placed.setdefault(index, []).append(best[1])

    def _drift(self, indexes: list[int]) -> None:
        """Spread everything over the open picture: under water and in space nothing has to stand."""
        top, bottom = self.field.ground
        standing = [i for i in indexes if self.figures[i].home in ("ground", "plant") and bottom > top]
        self._stand(standing)
        free = [(i, copy) for i in indexes if i not in standing for copy in range(self.figures[i].count)]
        taken = [box for row in self.placed.values() for box in row]
        tallest = max((self._metres(self.figures[i]) for i, _ in free), default=1.0)
        for index, copy in free:
            figure = self.figures[index]
            height = self.stage.unit * self._share(figure, tallest) * 0.86 * (len(free) + len(standing)) ** -0.3
            best: tuple[float, Placement] | None = None
            for attempt in range(30):
                spread = 0.07 if len(free) == 1 and not standing else 0.18 if not taken else 0.38
                centre = self.left + self.frame * (0.5 + float(self.rng.uniform(-spread, spread)))
                ceiling = top if bottom > top else self.stage.height
                middle = ceiling * (0.5 + float(self.rng.uniform(-spread, spread)) * 0.9)
                guess = self._make(index, copy, centre, middle + height / 2, height * (0.9 if attempt % 2 else 1.0),
                                   order=float(copy))  # fmt: skip
                cost = sum(_overlap(guess, box) for box in taken)
                if best is None or cost < best[0] - 1e-9:
                    best = (cost, guess)
            if best is not None:
                taken.append(best[1])
                self.placed.setdefault(index, []).append(best[1])

    def _relate(self, group: list[int], anchors: list[Placement], relation: str) -> None:
        """Set a group of figures by their relation to the copies of another one, side by side."""
        if relation == "in" and self._metres(self.figures[anchors[0].figure]) >= 6:
            relation = "front"
        copies = [(index, copy) for index in group for copy in range(self.figures[index].count)]
        siblings = -(-len(copies) // len(anchors))
        for slot, (index, copy) in enumerate(copies):
            shift = (slot // len(anchors) + 0.5) / siblings - 0.5
            made = self._beside(index, copy, anchors[slot % len(anchors)], relation, shift, siblings)
            self.placed.setdefault(index, []).append(made)

    def _beside(
        self, index: int, copy: int, anchor: Placement, relation: str, shift: float, siblings: int
    ) -> Placement:
        """One subject set by its relation to an anchor; `shift` in (-0.5, 0.5) spreads several over the anchor."""
        figure, ratio = self.figures[index], self._ratio(index, copy)
        words = vocabulary()
        other_m = self._metres(self.figures[anchor.figure])
        height = anchor.height * float((self._metres(figure) / other_m) ** 0.55) * figure.scale**0.8
        height = min(max(height, self.stage.unit * 0.07), self.stage.unit * 0.55)
        centre, foot, order, flip = anchor.centre + shift * anchor.width * 0.85, anchor.foot, anchor.order, anchor.flip
        if relation in ("on", "riding"):
            height = min(height, anchor.height * 1.25, anchor.width * 1.0 / siblings / ratio)
            foot = anchor.y + anchor.height * words.perch.get(anchor.art, 0.05)
            foot += height * (0.27 if relation == "riding" else 0.03)
            order += -0.3 if relation == "riding" else 0.3
            if relation == "riding":
                centre += anchor.width * (-0.07 if anchor.flip else 0.07)
            room = (foot - height * (0.27 if relation == "riding" else 0.03) - self.stage.height * 0.015) / 0.74
            if height > room:
                foot -= (height - room) * (0.27 if relation == "riding" else 0.03)
                height = max(room, self.stage.unit * 0.06)
        elif relation == "filled":
            height = min(max(height, anchor.height * 0.6), anchor.height * 1.2, anchor.width * 1.5 / siblings / ratio)
            centre = anchor.centre + shift * anchor.width * 0.6
            foot, order = anchor.y + anchor.height * 0.4, order - 0.3
        elif relation == "in":
            height = min(height, anchor.height * 0.85, anchor.width * 0.75 / siblings / ratio)
            afloat = self.figures[anchor.figure].home == "afloat"
            foot, order = anchor.y + anchor.height * (0.86 if afloat else 0.44), order - 0.3
        elif relation == "under":
            height = min(height, anchor.height * 0.5)
            foot, order = anchor.foot + self.stage.unit * 0.012, order + 0.3
        elif relation == "behind":
            side = 1 if self.rng.random() < 0.5 else -1
            centre, foot = centre + side * anchor.width * 0.42, foot - self.stage.unit * 0.02
            order -= 0.3
        elif relation == "front":
            foot = min(anchor.foot + self.stage.unit * 0.05, self.stage.height * 0.97)
            order = foot + 0.3
            centre += shift * anchor.width + float(self.rng.uniform(-0.16, 0.16)) * anchor.width / siblings
        elif relation == "above":
            height = min(height, max(anchor.y * 0.7, self.stage.unit * 0.12))
            foot, order = anchor.y - self.stage.unit * 0.05, -1.0
            foot = max(foot, height + self.stage.height * 0.02)
        elif relation in ("left", "right"):
            side = -1 if relation == "left" else 1
            centre = anchor.centre + side * (anchor.width / 2 + height * ratio * 0.62 + abs(shift) * height * ratio)
        else:
            centre, foot, height = self._carried(figure, anchor, relation, ratio, height)
            order += 0.2
        return self._make(index, copy, centre, foot, height, order=order, flip=flip, anchored=True)

    def _carried(self, figure: Figure, anchor: Placement, relation: str, ratio: float,
                 height: float) -> tuple[float, float, float]:  # fmt: skip
        """Centre, foot and height of something worn or held."""
        words = vocabulary()
        upright = self.arts[anchor.art].people or anchor.art in words.bodies or anchor.art in words.upright
        head = 0.5 if upright or anchor.width < anchor.height * 0.8 else (0.76 if anchor.flip else 0.24)
        centre = anchor.x + anchor.width * head
        if relation == "wearing" and figure.art in words.worn:
            down, wide = words.worn[figure.art]
            height = anchor.width * wide * (1.0 if head == 0.5 else 0.55) / ratio
            return centre, anchor.y + anchor.height * (down + (0.0 if head == 0.5 else 0.2)) + height / 2, height
        height = min(height, anchor.height * 0.42)
        hand = anchor.y + anchor.height * 0.66
        centre = anchor.centre + anchor.width * 0.46 * (-1 if anchor.flip else 1)
        return centre, hand if figure.home == "air" else hand + height * 0.35, height


def _overlap(a: Placement, b: Placement) -> float:
    wide = min(a.x + a.width, b.x + b.width) - max(a.x, b.x)
    tall = min(a.foot, b.foot) - max(a.y, b.y)
    return max(0.0, wide) * max(0.0, tall)
