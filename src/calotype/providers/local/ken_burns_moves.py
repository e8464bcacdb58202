"""What the camera does over a still: named motions, and zooms whose speed, end and corner the caller chooses."""

import math
from typing import Any

from msgspec import Struct

from calotype.providers.local.messages import BadInput

PAN_ZOOM = 1.12
MAX_SPEED = 0.05
MAX_SCALE = 2.0
MAX_PAN_SPEED = 10.0

# direction of travel as (x, y) from first to last frame; None stays in the middle
PANS: dict[str, tuple[int, int]] = {
    "pan-left": (-1, 0),
    "pan-right": (1, 0),
    "pan-up": (0, -1),
    "pan-down": (0, 1),
}
MOTIONS = ("zoom-in", "zoom-out", *PANS, "static")

FOCUSES: dict[str, tuple[float, float]] = {
    "center": (0.5, 0.5),
    "top_left": (0.0, 0.0),
    "top_right": (1.0, 0.0),
    "bottom_left": (0.0, 1.0),
    "bottom_right": (1.0, 1.0),
}
"""What a zoom closes in on, as a part of width and height."""
MODES = (*FOCUSES, *(name.replace("-", "_") for name in PANS), "none")

View = tuple[float, float, float]
"""How close the camera is, and where it stands between the left and right, and the top and bottom edge, 0 to 1."""


class Move(Struct, frozen=True):
    """A camera move: the closest it comes, along which sides it travels, and what each frame sees."""

    closest: float
    across: int
    down: int
    views: tuple[View, ...]


def moved(motion: str, seconds: float, frames: int) -> Move:
    """Return a named motion, started and stopped softly.

    Raises:
        BadInput: there is none of this name.

    """
    if motion not in MOTIONS:
        raise BadInput("motion", f"motion must be one of {', '.join(MOTIONS)}.")
    closest = _closest(motion, seconds)
    across, down = PANS.get(motion, (0, 0))
    views: list[View] = []
    for n in range(frames):
        part = 0.5 - 0.5 * math.cos(math.pi * (n / max(1, frames - 1)))
        near = closest
        if motion in ("zoom-in", "zoom-out"):
            # equal steps of the exponent look like an even speed
            near = closest ** (part if motion == "zoom-in" else 1.0 - part)
        views.append((near, 0.5 + across * (part - 0.5), 0.5 + down * (part - 0.5)))
    return Move(closest, across, down, tuple(views))


def zoomed(zoom: Any, frames: int) -> Move:
    """Return a move by its numbers: `mode`, `speed` a frame, `max_scale`, and `pan_speed` in ways over the picture.

    A zoom closes in by `speed` with each frame until it is `max_scale` times as near; a pan stays that near and goes
    over the picture `pan_speed` times as fast as it takes to arrive with the last frame.

    Raises:
        BadInput: not an object, or a value out of range.

    """
    if not isinstance(zoom, dict):
        raise BadInput("zoom", "zoom must be an object with mode, speed, max_scale and pan_speed.")
    mode = zoom.get("mode", "center")
    if mode not in MODES:
        raise BadInput("zoom.mode", f"zoom.mode must be one of {', '.join(MODES)}.")
    speed = _number(zoom, "speed", 0.0015, (0.0, MAX_SPEED))
    scale = _number(zoom, "max_scale", 1.5, (1.0, MAX_SCALE))
    pan_speed = _number(zoom, "pan_speed", 1.0, (0.0, MAX_PAN_SPEED))
    if mode == "none":
        return Move(1.0, 0, 0, ((1.0, 0.5, 0.5),) * frames)
    if focus := FOCUSES.get(mode):
        nears = [min(scale, 1.0 + speed * n) for n in range(frames)]
        return Move(nears[-1], 0, 0, tuple((near, *focus) for near in nears))
    across, down = PANS[mode.replace("_", "-")]
    views: list[View] = []
    for n in range(frames):
        part = min(1.0, pan_speed * n / max(1, frames - 1))
        views.append((scale, 0.5 + across * (part - 0.5), 0.5 + down * (part - 0.5)))
    return Move(scale, across, down, tuple(views))


def _closest(motion: str, seconds: float) -> float:
    """Return how close the camera comes: a longer film goes further, so that the speed stays pleasant."""
    if motion == "static":
        return 1.0
    return PAN_ZOOM if motion in PANS else 1.0 + min(0.4, 0.1 + 0.02 * seconds)


def _number(zoom: dict[str, Any], name: str, default: float, bounds: tuple[float, float]) -> float:
    value = zoom.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not bounds[0] <= value <= bounds[1]:
        raise BadInput(f"zoom.{name}", f"zoom.{name} must be from {bounds[0]:g} to {bounds[1]:g}.")
    return float(value)
