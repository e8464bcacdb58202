"""What an upstream's own price list says of one of its models, and what that makes of a card's way to count."""

import re
from collections.abc import Mapping
from decimal import Decimal
from typing import Any, Literal

from msgspec import Struct
from msgspec.structs import replace

from calotype.catalog.rules import MEGAPIXEL, AnyRule, Image, Matrix, Megapixel, Minute, Request, Second
from calotype.kernel.money import MAX_MICRO, MICRO

Unit = Literal["request", "image", "megapixel", "second", "minute", "character", "token", "step"]
MOST_PER = 10**9
PRESETS = frozenset({"square_hd", "square", "portrait_4_3", "portrait_16_9", "landscape_4_3", "landscape_16_9"})
"""Words for sizes of at most one megapixel."""
NOUNS: dict[str, Unit] = {
    "request": "request", "generation": "request", "video": "request", "image": "image", "megapixel": "megapixel",
    "second": "second", "minute": "minute", "character": "character", "char": "character", "step": "step",
    "token": "token",
}  # fmt: skip


class UnitPrice(Struct, frozen=True):
    """`micro` micro-USD for `per` units of an upstream's model; of tokens that is the output, `input_micro` the input.

    `base_url` is the address that answered (empty: the provider's own), `on` the day in UTC.
    """

    provider: str
    base_url: str
    upstream: str
    unit: Unit
    micro: int
    per: int
    source: str
    on: str
    input_micro: int = 0

    @property
    def cost_source(self) -> str:
        """Where a cost made of it comes from."""
        return f"{self.source}, {self.on}"

    def same_as(self, other: "UnitPrice") -> bool:
        """Say whether the two ask for the same money, whenever they were read."""
        return replace(self, on="", source="") == replace(other, on="", source="")


def unit_of(words: str) -> tuple[Unit, int] | None:
    """Read a unit such as `images` or `1000 characters`: what is counted, and how many of it; None for any other."""
    match = re.fullmatch(r"(?:(\d{1,7})\s*([km]?)\s+)?([a-z]+?)s?", words.strip().lower())
    if match is None or match[3] not in NOUNS:
        return None
    per = int(match[1] or 1) * {"k": 1_000, "m": 1_000_000}.get(match[2] or "", 1)
    return (NOUNS[match[3]], per) if 0 < per <= MOST_PER else None


def exact(usd: Decimal, per: int) -> tuple[int, int] | None:
    """Write a price as whole micro-USD for a whole number of units, without rounding; None where that cannot be."""
    if not usd.is_finite() or usd < 0:
        return None
    micro = usd * MICRO
    while micro != micro.to_integral_value():
        micro, per = micro * 10, per * 10
        if per > MOST_PER:
            return None
    return (int(micro), per) if micro <= MAX_MICRO and per <= MOST_PER else None


def counted(
    written: AnyRule | None, price: UnitPrice, *, output: str, count: str | None, fields: Mapping[str, Any]
) -> AnyRule | None:
    """Return the rule by which a model costs that much; None where its card does not say how to count such units.

    `written` is the card's own way to count, `fields` are the properties of its input.
    """
    amounts: dict[str, Any] = {"micro": price.micro, "per": price.per}
    if written is not None and written.varies:
        return None
    if isinstance(written, Matrix):
        fits = written.base == price.unit and not written.cells
        return replace(written, **amounts) if fits else None
    if written is not None and written.unit == price.unit:
        if price.unit == "token":
            amounts["input_micro"] = price.input_micro
        return replace(written, **amounts)
    if isinstance(written, Second | Minute) and price.unit in ("second", "minute"):
        rule = Second if price.unit == "second" else Minute
        return rule(field=written.field, max=written.max, **amounts)
    if price.unit == "image" and output == "image":
        return Image(**amounts)
    if price.unit == "megapixel" and output == "image":
        size = next((name for name in ("image_size", "size") if name in fields), None)
        words = fields[size].get("x-size", {}).get("words", ()) if size is not None else ()
        return Megapixel(size=size, default_pixels=MEGAPIXEL, **amounts) if size and set(words) <= PRESETS else None
    if price.unit == "request" and count is None:
        return Request(**amounts)
    return None
