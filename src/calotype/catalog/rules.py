"""Price rules: what is counted for a price, and how much of it one request may use.

A rule is data from a card. It says nothing about margin or rounding; `prices` does both in one place. Amounts are
whole micro-USD (micro-credits for `credit`) for `per` units, so the smallest published price stays an integer.
"""

import math
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta, Struct

from calotype.kernel.money import MAX_MICRO

MEGAPIXEL = 1_048_576
"""Pixels in a megapixel as image models are sold: 1024x1024 is one."""
BLOCK_BYTES = 10_000_000
"""Bytes in one 10 MB block."""
PICTURE, SOUND = "image_url", "input_audio"
FILE_PARTS = frozenset({PICTURE, SOUND, "audio_url", "video_url", "file"})
"""Types of the parts of a chat message that stand for a file."""

Micro = Annotated[int, Meta(ge=0, le=MAX_MICRO)]
Count = Annotated[int, Meta(ge=0, le=10**9)]
Positive = Annotated[int, Meta(ge=1, le=10**9)]


class PriceError(ValueError):
    """A rule that cannot price an input: a defect of the card, found when the card is loaded."""


class Rule(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="unit"):
    """What every rule has: `micro` is charged for `per` units; with `credits` it is in micro-credits, not micro-USD.

    `least` is the least that a request costs that delivers anything, in the same money. `varies` names fields that
    change what the upstream bills in a way that nobody published: a unit price from its list prices no input then.
    """

    micro: Micro = 0
    per: Positive = 1
    credits: bool = False
    least: Micro = 0
    varies: tuple[str, ...] = ()

    @property
    def unit(self) -> str:
        """The unit's name, as cards write it."""
        return str(self.__struct_config__.tag)

    @property
    def in_credits(self) -> bool:
        """Whether its amounts are micro-credits."""
        return self.credits

    def __post_init__(self) -> None:
        if self.micro < 0 or self.per < 1:
            raise ValueError("a price is an integer from 0 up for `per` units, and `per` is at least 1")


class Request(Rule, frozen=True, kw_only=True, tag="request"):
    """One price for the whole request."""


class Image(Rule, frozen=True, kw_only=True, tag="image"):
    """A price for each image."""


class Megapixel(Rule, frozen=True, kw_only=True, tag="megapixel"):
    """A price for each started megapixel of each image; the first may cost something else (`first_micro`).

    The size is read from `size` (`WIDTHxHEIGHT`, or an object with `width` and `height`) or from the fields `width`
    and `height`; `default_pixels` stands for `auto`, whose further megapixels are measured (`further_megapixels`). Each
    file in the `images` fields is held as `max_image` megapixels at `image_micro`; what it had is measured
    (`input_megapixels`).
    """

    first_micro: Micro | None = None
    image_micro: Micro = 0
    images: tuple[str, ...] = ()
    max_image: Count = 0
    pixels: Positive = MEGAPIXEL
    size: str = "size"
    width: str = "width"
    height: str = "height"
    default_pixels: Positive | None = None


class Second(Rule, frozen=True, kw_only=True, tag="second"):
    """A price for each started second. `field` is the length asked for; `max` holds where the input does not say."""

    field: str = "seconds"
    max: Count | None = None


class Minute(Rule, frozen=True, kw_only=True, tag="minute"):
    """A price for a minute, counted in started seconds."""

    field: str = "seconds"
    max: Count | None = None


class Character(Rule, frozen=True, kw_only=True, tag="character"):
    """A price for the characters of one text field, by default for a million of them."""

    per: Positive = 1_000_000
    field: str = "input"


class Token(Rule, frozen=True, kw_only=True, tag="token"):
    """Prices for tokens by kind; `micro` is the output price.

    The hold assumes one token for each byte of the `text` fields (a token is never shorter), at most `max_input`, and
    `max_output` tokens for each output, or what `output_field` allows. `output_table` gives the output bound by the
    value of one input field, and with `by_megapixel` for each started megapixel. Each file in the `images` fields is
    held as `max_image` tokens, and with `max_part` each picture inside a conversation as so many; a recording inside it
    as its bytes, and any other file, whose length nothing tells, as `max_input`. So is with `opens` a picture of which
    only the address is given, as the upstream opens whatever lies there, be it a film. `input_audio_micro` comes on top
    for those of the input's tokens that are sound. Measured usage is named `input_tokens` (text, and what is inside a
    conversation), `input_image_tokens`, `output_tokens`, and `input_audio_tokens` for the part that is sound.
    """

    per: Positive = 1_000_000
    input_micro: Micro = 0
    input_image_micro: Micro = 0
    input_audio_micro: Micro = 0
    text: tuple[str, ...] = ("prompt",)
    max_input: Count
    images: tuple[str, ...] = ()
    max_image: Count = 0
    max_part: Count = 0
    opens: bool = False
    max_output: Count
    output_field: str | None = None
    output_table: dict[str, dict[str, Count]] = {}
    by_megapixel: bool = False
    default_pixels: Positive = MEGAPIXEL


class Page(Rule, frozen=True, kw_only=True, tag="page"):
    """A price for each page; `max` pages are held where the input does not say how many there are."""

    field: str = "pages"
    max: Count | None = None


class Step(Rule, frozen=True, kw_only=True, tag="step"):
    """A price for each step asked for, such as a step of training."""

    field: str = "steps"


class TenMegabytes(Rule, frozen=True, kw_only=True, tag="10 MB"):
    """A price for each started 10 MB of output; `max_bytes` is held and is the most that is delivered."""

    max_bytes: Count


class Credit(Rule, frozen=True, kw_only=True, tag="credit"):
    """A price for the request in micro-credits; what a credit is worth is a setting."""

    @property
    def in_credits(self) -> bool:
        """Always."""
        return True


class Matrix(Rule, frozen=True, kw_only=True, tag="matrix"):
    """A price by the values of input fields, for each `base` unit.

    `cells` maps the values of `fields` joined by `/` to a price (`*` matches any value). Each of `factors` scales the
    price by a whole percentage chosen by one field. Booleans are written `true` and `false`. Where the input does not
    say how many units it wants, `max` are held, or fewer where `max_table` says so by the value of a field.
    """

    base: Literal["request", "image", "second", "credit"]
    fields: tuple[str, ...] = ()
    cells: dict[str, Micro] = {}
    factors: dict[str, dict[str, Count]] = {}
    field: str = "seconds"
    max: Count | None = None
    max_table: dict[str, dict[str, Count]] = {}

    @property
    def in_credits(self) -> bool:
        """Whether its amounts are micro-credits."""
        return self.credits or self.base == "credit"

    def most(self, fields: dict[str, Any]) -> int | None:
        """Return the most units that an input can use which does not say how many it wants."""
        found = [table.get(word_of(fields.get(name))) for name, table in self.max_table.items()]
        return min((count for count in (self.max, *found) if count is not None), default=None)

    def __post_init__(self) -> None:
        super().__post_init__()
        for key in self.cells:
            if len(key.split("/")) != len(self.fields):
                raise ValueError(f"cells are keyed by one value for each of {', '.join(self.fields)}, not {key!r}")


AnyRule = (
    Request | Image | Megapixel | Second | Minute | Character | Token | Page | Step | TenMegabytes | Credit | Matrix
)


def word_of(value: Any) -> str:
    """Write an input value as the keys of `cells` and `factors` write it."""
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(int(value)) if isinstance(value, float) and value.is_integer() else str(value)


def cell(rule: Matrix, fields: dict[str, Any]) -> int:
    """Return the price of the matrix cell that these fields choose, before factors.

    Raises:
        PriceError: no cell matches.

    """
    if not rule.fields:
        return rule.micro
    values = [word_of(fields.get(name)) for name in rule.fields]
    found = rule.cells.get("/".join(values))
    if found is not None:
        return found
    for key, micro in rule.cells.items():
        if all(want in ("*", value) for want, value in zip(key.split("/"), values, strict=False)):
            return micro
    raise PriceError(f"no price for {', '.join(f'{n}={v}' for n, v in zip(rule.fields, values, strict=True))}")


def factor(rule: Matrix, fields: dict[str, Any]) -> int:
    """Return the product of the percentages that these fields choose; divide by 100 for each of `rule.factors`."""
    product = 1
    for name, percents in rule.factors.items():
        word = word_of(fields.get(name))
        percent = percents.get(word, percents.get("*"))
        if percent is None:
            raise PriceError(f"no price factor for {name}={word}")
        product *= percent
    return product


@lru_cache(maxsize=1024)
def parse_size(text: str) -> tuple[int, int] | None:
    """Read `WIDTHxHEIGHT`; None when the text is something else, such as `auto`."""
    width, cross, height = text.partition("x")
    plain = cross and len(text) <= 11 and width.isascii() and height.isascii() and width.isdigit() and height.isdigit()
    return (int(width), int(height)) if plain else None


def sized(rule: Megapixel, fields: dict[str, Any]) -> bool:
    """Say whether the input tells the size of what is made: by itself, or because it gives no picture to follow."""
    if rule.images and not image_units(rule, fields):
        return True
    return _sides(fields.get(rule.size)) is not None or all(
        isinstance(fields.get(name), int) for name in (rule.width, rule.height)
    )


def megapixels(rule: Megapixel | Token, fields: dict[str, Any]) -> int:
    """Return the started megapixels of one image of the size asked for."""
    if isinstance(rule, Megapixel):
        one, size, width, height = rule.pixels, fields.get(rule.size), fields.get(rule.width), fields.get(rule.height)
    else:
        one, size, width, height = MEGAPIXEL, fields.get("size"), fields.get("width"), fields.get("height")
    pair = _sides(size)
    if pair is None and isinstance(width, int) and isinstance(height, int):
        pair = (width, height)
    pixels = pair[0] * pair[1] if pair else rule.default_pixels
    if pair is None and isinstance(rule, Megapixel) and sized(rule, fields):
        pixels = one
    if pixels is None:
        raise PriceError("no price for an input without a size: the rule needs default_pixels")
    return max(1, -(-pixels // one))


def _sides(size: Any) -> tuple[int, int] | None:
    """Read a size as a text or as an object with width and height."""
    if isinstance(size, str):
        return parse_size(size)
    if isinstance(size, dict) and type(size.get("width")) is int and type(size.get("height")) is int:
        return size["width"], size["height"]
    return None


def amount(fields: dict[str, Any], field: str, at_most: int | None) -> int:
    """Return how many units the input asks for, rounded up, of a list how many it names; `at_most` where it says none.

    Raises:
        PriceError: the input does not say and the rule has no `max`.

    """
    value = fields.get(field)
    if isinstance(value, list) and value:
        return len(value)
    if isinstance(value, str):
        value = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else None
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return max(0, math.ceil(value))
    if at_most is None:
        raise PriceError(f"no price for an input without {field}: the rule needs max")
    return at_most


def text_bytes(value: Any) -> int:
    """Return the size of a text or of any JSON value in UTF-8: at least as many bytes as it has tokens."""
    if value is None:
        return 0
    return len(value.encode(errors="surrogatepass")) if isinstance(value, str) else len(msgspec.json.encode(value))


def input_tokens(rule: Token, fields: dict[str, Any]) -> int:
    """Return the most tokens that the input's texts can have, and the files among the parts of their messages."""
    found = 0
    for name in rule.text:
        value = fields.get(name)
        parts = _files_inside(value) if rule.max_part else []
        found += text_bytes(value) + sum(_part_tokens(rule, part) - text_bytes(part) for part in parts)
    return min(rule.max_input, found)


def audio_tokens(rule: Token, fields: dict[str, Any]) -> int:
    """Return the most of the input's tokens that can be sound: those of the files inside it but for pictures."""
    if not rule.input_audio_micro:
        return 0
    parts = [part for name in rule.text for part in _files_inside(fields.get(name))]
    return min(rule.max_input, sum(_part_tokens(rule, part) for part in parts if part["type"] != PICTURE))


def _files_inside(messages: Any) -> list[dict[str, Any]]:
    """Return the parts of messages that are no text: `image_url`, `input_audio`, `file` and their like."""
    contents = [one.get("content") for one in messages if isinstance(one, dict)] if isinstance(messages, list) else []
    parts = [part for content in contents if isinstance(content, list) for part in content if isinstance(part, dict)]
    return [part for part in parts if part.get("type") in FILE_PARTS]


def _part_tokens(rule: Token, part: dict[str, Any]) -> int:
    """Return the most tokens of a file in a conversation; beside the address of a picture its part is text."""
    if part["type"] == SOUND:
        return max(rule.max_part, text_bytes(part))
    held = part.get(PICTURE)
    address = held.get("url") if isinstance(held, dict) else held
    if part["type"] != PICTURE or not isinstance(address, str) or _no_picture(address, linked=rule.opens):
        return rule.max_input
    return rule.max_part + text_bytes(part) - text_bytes(address)


def _no_picture(address: str, *, linked: bool) -> bool:
    """Say whether an address holds another kind of file itself, or with `linked` may lead to one."""
    head = address[:20].lower()
    return not head.startswith("data:image/") if head.startswith("data:") else linked


def output_tokens(rule: Token, fields: dict[str, Any]) -> int:
    """Return the most output tokens that one output can have."""
    most = rule.max_output
    for field, table in rule.output_table.items():
        most = min(most, table.get(word_of(fields.get(field)), most))
    if rule.by_megapixel:
        most *= megapixels(rule, fields)
    if rule.output_field is not None and fields.get(rule.output_field) is not None:
        most = min(most, amount(fields, rule.output_field, None))
    return most


def image_units(rule: Megapixel | Token, fields: dict[str, Any]) -> int:
    """Return the most tokens or megapixels that the input's pictures can have."""
    files = (fields.get(name) for name in rule.images)
    return rule.max_image * sum(len(value) if isinstance(value, list) else value is not None for value in files)
