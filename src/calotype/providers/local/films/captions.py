"""Captions: the text of an SRT or WebVTT file as cues, and a cue as a picture."""

import re
from functools import cache
from html import unescape

from msgspec import Struct
from PIL import Image, ImageDraw, ImageFont

from calotype.providers.local.messages import BadInput

MAX_CHARS = 200_000
MAX_CUES = 5_000
MAX_LINES = 6
WIDEST = 0.9
_TIME = r"(?:(\d{1,2}):)?(\d{1,2}):(\d{2})[.,](\d{3})"
_TIMES = re.compile(rf"\s*{_TIME}\s*-->\s*{_TIME}(?:\s.*)?\Z")
_TAGS = re.compile(r"<[^>\n]{0,100}>|\{\\[^}\n]{0,100}\}")
_FONTS = (
    "NotoSans-Bold.ttf", "NotoSans-Regular.ttf", "DejaVuSans-Bold.ttf", "LiberationSans-Bold.ttf", "Arial Bold.ttf",
    "Arial.ttf", "NotoSansThai-Bold.ttf", "NotoSansThai-Regular.ttf", "NotoSansCJK-Bold.ttc", "NotoSansCJK-Regular.ttc",
)  # fmt: skip
Font = ImageFont.FreeTypeFont


class Cue(Struct, frozen=True):
    """A text and when it is shown."""

    start_s: float
    end_s: float
    text: str


def parse(text: str, field: str = "captions") -> tuple[Cue, ...]:
    """Return the cues of an SRT or WebVTT text, in order of time.

    Raises:
        BadInput: too long, or no cue in it.

    """
    if len(text) > MAX_CHARS:
        raise BadInput(field, f"The captions may have {MAX_CHARS:,} characters at most.")
    cues = []
    for block in re.split(r"\n[ \t]*\n", text.replace("\r\n", "\n").replace("\r", "\n").lstrip("\ufeff")):
        lines = block.strip("\n").split("\n")
        at = next((n for n, line in enumerate(lines[:2]) if "-->" in line), None)
        if at is None:
            continue
        times = _TIMES.match(lines[at])
        if times is None:
            raise BadInput(field, f"This line is not a time: {lines[at][:60]!r}; write 00:00:01,000 --> 00:00:02,500.")
        start_s, end_s = _seconds(times.groups()[:4]), _seconds(times.groups()[4:])
        if end_s <= start_s:
            raise BadInput(field, f"This caption ends before it begins: {lines[at][:60]!r}.")
        shown = unescape(_TAGS.sub("", "\n".join(lines[at + 1 :]))).strip()
        if shown:
            cues.append(Cue(start_s, end_s, shown))
    if not cues:
        raise BadInput(field, "There are no captions in this text; send the text of an SRT or WebVTT file.")
    if len(cues) > MAX_CUES:
        raise BadInput(field, f"There may be {MAX_CUES:,} captions at most.")
    return tuple(sorted(cues, key=lambda cue: cue.start_s))


def drawn(text: str, frame: tuple[int, int], high: int, position: str) -> tuple[Image.Image, tuple[int, int]]:
    """Return a caption as a picture, and its place in frames of that size: white with a dark edge."""
    font = _font(high, text)
    edge = max(1, high // 12)
    lines = _wrapped(text, font, round(frame[0] * WIDEST))
    body = "\n".join(lines[:MAX_LINES])
    ruler = ImageDraw.Draw(Image.new("L", (1, 1)))
    left, top, right, bottom = ruler.multiline_textbbox((0, 0), body, font, stroke_width=edge, align="center")
    picture = Image.new("RGBA", (int(right - left) + 4, int(bottom - top) + 4), (0, 0, 0, 0))
    ImageDraw.Draw(picture).multiline_text(
        (2 - left, 2 - top), body, "white", font, stroke_width=edge, stroke_fill=(0, 0, 0, 220), align="center"
    )
    margin = round(frame[1] * 0.06)
    y = margin if position == "top" else frame[1] - margin - picture.height
    return picture, ((frame[0] - picture.width) // 2, max(0, y))


def unknown_letters(cues: tuple[Cue, ...]) -> str:
    """Return some letters that no font of this machine can draw."""
    letters = sorted({letter for cue in cues for letter in cue.text if not letter.isspace()})
    if all(letter.isascii() for letter in letters):
        return ""
    missing = [letter for letter in letters if not any(_has(name, letter) for name in _found())]
    return "".join(missing[:20])


def _seconds(parts: tuple[str | None, ...]) -> float:
    hours, minutes, seconds, milliseconds = (int(part or 0) for part in parts)
    return hours * 3600 + minutes * 60 + seconds + milliseconds / 1000


def _wrapped(text: str, font: Font, widest: int) -> list[str]:
    """Break lines at spaces, and inside a word only where it is wider than the film."""
    lines: list[str] = []
    for line in text.split("\n"):
        now = ""
        for word in line.split():
            longer = f"{now} {word}".strip()
            if font.getlength(longer) <= widest:
                now = longer
                continue
            if now:
                lines.append(now)
            now = word
            while font.getlength(now) > widest and len(now) > 1:
                cut = next(n for n in range(len(now) - 1, 0, -1) if n == 1 or font.getlength(now[:n]) <= widest)
                lines.append(now[:cut])
                now = now[cut:]
        if now:
            lines.append(now)
    return lines


@cache
def _found() -> tuple[str, ...]:
    """Return the fonts of this machine that are worth trying; the empty name is the one that Pillow carries."""
    names = []
    for name in _FONTS:
        try:
            ImageFont.truetype(name, 12)
        except OSError:
            continue
        names.append(name)
    return (*names, "")


def _font(high: int, text: str) -> Font:
    """Return the font that has most of the letters; among equals the first."""
    letters = [letter for letter in dict.fromkeys(text) if not letter.isspace()]
    best = max(_found(), key=lambda name: sum(_has(name, letter) for letter in letters))
    return _load(best, high)


@cache
def _load(name: str, high: int) -> Font:
    if name:
        return ImageFont.truetype(name, high)
    font = ImageFont.load_default(high)
    assert isinstance(font, Font), "Pillow is built with FreeType"
    return font


@cache
def _has(name: str, letter: str) -> bool:
    """Say whether a font draws a letter otherwise than as the box for unknown ones."""
    font = _load(name, 24)
    return bytes(font.getmask(letter)) != bytes(font.getmask("\U0010fffe"))
