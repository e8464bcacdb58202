"""Pictures that come in: opened within bounds, upright, and never trusted to be what they say."""

import io

from PIL import Image, ImageOps

from calotype.providers.local.messages import BadInput

FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF")
MAX_PIXELS = 80_000_000
MIN_SIDE = 16


def open_picture(path: str, field: str = "image_url", *, draft_side: int | None = None) -> Image.Image:
    """Return the picture upright, in RGB or, with transparency, in RGBA.

    `draft_side` lets a JPEG be decoded smaller, its longer side still at least that long.

    Raises:
        BadInput: not a picture, too large or too small.

    """
    try:
        with Image.open(path, formats=FORMATS) as file:
            if file.width * file.height > MAX_PIXELS:
                raise BadInput(field, f"The image has more than {MAX_PIXELS // 1_000_000} million pixels.")
            if min(file.size) < MIN_SIDE:
                raise BadInput(field, f"The image must be at least {MIN_SIDE} pixels wide and high.")
            if draft_side is not None:
                file.draft("RGB", (draft_side, draft_side))
            upright = ImageOps.exif_transpose(file)
            return upright.convert("RGBA" if upright.has_transparency_data else "RGB")
    except BadInput:
        raise
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError):
        raise BadInput(field, f"This is not an image that can be read; send {', '.join(FORMATS)}.") from None


def flat(picture: Image.Image, colour: str = "white") -> Image.Image:
    """Return the picture in RGB, transparent parts in one colour."""
    if picture.mode == "RGB":
        return picture
    pane = Image.new("RGBA", picture.size, colour)
    return Image.alpha_composite(pane, picture.convert("RGBA")).convert("RGB")


def png_of(picture: Image.Image) -> bytes:
    """Encode without loss, rather fast than small."""
    out = io.BytesIO()
    picture.save(out, "PNG", compress_level=3)
    return out.getvalue()
