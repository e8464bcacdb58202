"""Bodies: a head or a bust is set on a simple body, drawn in the same soft manner as the art above it."""

import functools
import string

import msgspec

from calotype.providers.local.sketch.colour import RGB, hexed, mix, to_hex
from calotype.providers.local.sketch.words import asset_table

Box = tuple[float, float, float, float]

_SKIN = {"medium-light": "#f0b48c", "medium": "#c58262", "medium-dark": "#8a5540"}
_ORDINALS = ("one", "two", "three")
_SHADOW: RGB = (0.16, 0.08, 0.26)
_LIGHT: RGB = (1.0, 0.97, 0.94)


class Chassis(msgspec.Struct, frozen=True):
    """A body to be coloured: how far it reaches (left, right, foot) and its SVG with colours left open."""

    reach: tuple[float, float, float]
    svg: str


def body(chassis: str, colours: tuple[str, ...], head: str, tone: str) -> str:
    """Draw a whole figure as SVG: the chassis in its colours, the head or bust in front of it."""
    named = dict(zip(_ORDINALS, colours, strict=False))
    bare_handed = named.get("three") == _SKIN["medium"]
    named["skin"] = _SKIN.get(tone, _SKIN["medium"]) if bare_handed else named.get("three", _SKIN["medium"])
    shades: dict[str, str] = {}
    for name, code in named.items():
        if code == "none":
            shades |= dict.fromkeys((name, f"{name}_dark", f"{name}_light", f"{name}_deep"), "none")
            continue
        colour = hexed(code)
        shades[name] = code
        shades[f"{name}_dark"] = to_hex(mix(colour, _SHADOW, 0.22))
        shades[f"{name}_deep"] = to_hex(mix(colour, _SHADOW, 0.45))
        shades[f"{name}_light"] = to_hex(mix(colour, _LIGHT, 0.18))
    return f"<g>{string.Template(_chassis()[chassis].svg).substitute(shades)}</g><g>{head}</g>"


def body_box(chassis: str, head: Box) -> Box:
    """Give the box of a whole figure from the box of its head or bust."""
    left, right, foot = _chassis()[chassis].reach
    return min(head[0], left), head[1], max(head[2], right), foot


@functools.cache
def _chassis() -> dict[str, Chassis]:
    return msgspec.convert(asset_table("chassis.toml"), dict[str, Chassis])
