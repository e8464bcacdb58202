"""What both engines share: what is loaded and how, what a caller may ask of it, and how its picture is written."""

import gc
import io
import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal
from xml.sax.saxutils import quoteattr

import msgspec
from msgspec import Struct
from PIL import Image, PngImagePlugin

from calotype.providers.local.diffusion.folders import Contents, Unusable, look
from calotype.providers.local.messages import BadInput, Made, Unavailable

STEPS = (1, 150)
GUIDANCE = (0.0, 50.0)
SIDE_MULTIPLE = 8
FORMATS = {"png": "image/png", "jpeg": "image/jpeg", "webp": "image/webp"}
MAX_NEGATIVE_CHARS = 8000
JPEG_QUALITY = WEBP_QUALITY = 95

_AI_MADE = "http://cv.iptc.org/newscodes/digitalsourcetype/trainedAlgorithmicMedia"
_NO_MEMORY = ("out of memory", "can't allocate memory", "bad_alloc", "bad allocation", "cannot allocate memory")


class Loading(Struct, frozen=True):
    """A pipeline to load: its model id, its folder, where all its files must lie, and on what it runs.

    Without `threads` it uses every processor.
    """

    name: str
    folder: str
    root: str
    device: Literal["auto", "cpu", "gpu"] = "auto"
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    threads: int | None = None

    @property
    def processors(self) -> int:
        """How many threads compute."""
        return self.threads or os.cpu_count() or 1


class Wishes(Struct, frozen=True):
    """What a caller asks for; None leaves it to the pipeline."""

    prompt: str
    seed: int
    negative_prompt: str | None = None
    steps: int | None = None
    guidance_scale: float | None = None
    width: int | None = None
    height: int | None = None
    output_format: str = "png"


def wishes_of(fields: dict[str, Any]) -> Wishes:
    """Return what is asked for.

    Raises:
        BadInput: a value out of range.

    """
    try:
        wishes = msgspec.convert(fields, Wishes)
    except msgspec.ValidationError as error:
        field = str(error).rpartition("`$.")[2].rstrip("`") or "prompt"
        raise BadInput(field, f"{field} is not of the right type.") from None
    if not wishes.prompt.strip():
        raise BadInput("prompt", "prompt must not be empty.")
    if wishes.negative_prompt is not None and len(wishes.negative_prompt) > MAX_NEGATIVE_CHARS:
        raise BadInput("negative_prompt", f"negative_prompt may have at most {MAX_NEGATIVE_CHARS:,} characters.")
    if wishes.steps is not None and not STEPS[0] <= wishes.steps <= STEPS[1]:
        raise BadInput("steps", f"steps must be from {STEPS[0]} to {STEPS[1]}.")
    if wishes.guidance_scale is not None and not GUIDANCE[0] <= wishes.guidance_scale <= GUIDANCE[1]:
        raise BadInput("guidance_scale", f"guidance_scale must be from {GUIDANCE[0]:g} to {GUIDANCE[1]:g}.")
    if any(side is not None and side % SIDE_MULTIPLE for side in (wishes.width, wishes.height)):
        raise BadInput("size", f"Both sides of size must be multiples of {SIDE_MULTIPLE}.")
    if wishes.output_format not in FORMATS:
        raise BadInput("output_format", f"output_format must be one of {', '.join(FORMATS)}.")
    return wishes


class Shelf:
    """Keeps the pipeline that was loaded last, until another one is wanted or its folder has changed."""

    def __init__(self, load: Callable[[Loading, Contents], Any]) -> None:
        self._load = load
        self._kept: tuple[Any, Any] | None = None

    def get(self, loading: Loading) -> Any:
        """Return the loaded pipeline.

        Raises:
            Unavailable: its folder cannot be used, or the engine cannot load it.
            MemoryError: it does not fit.

        """
        folder = Path(loading.folder)
        try:
            contents = look(folder, Path(loading.root))
            mark = (loading, (folder / "model_index.json").stat().st_mtime_ns)
        except (Unusable, OSError) as error:
            reason = str(error) if isinstance(error, Unusable) else "it cannot be read"
            raise Unavailable(f"The folder of {loading.name} cannot be used: {reason}.") from None
        if self._kept is not None and self._kept[0] == mark:
            return self._kept[1]
        self._kept = None
        gc.collect()  # the old one goes before the new one comes: both may not fit
        try:
            loaded = self._load(loading, contents)
        except (MemoryError, Unavailable):
            raise
        except Exception as error:
            if is_out_of_memory(error):
                raise MemoryError from None
            traceback.print_exc(file=sys.stderr)  # for the operator; no request has a part in it
            raise Unavailable(f"{loading.name} could not be loaded ({type(error).__name__}).") from None
        self._kept = (mark, loaded)
        return loaded


def is_out_of_memory(error: Exception) -> bool:
    """Say whether an engine's error means that memory ran out, of the machine or of the device."""
    text = f"{type(error).__name__} {error}".lower()
    return isinstance(error, MemoryError) or "outofmemory" in text or any(word in text for word in _NO_MEMORY)


def made(picture: Image.Image, loading: Loading, output_format: str, warnings: list[str]) -> Made:
    """Write a picture with the mark of what made it: the model's id, and that an AI made it, but no prompt."""
    software = f"Calotype {loading.name}"
    mark = _mark(software)
    out = io.BytesIO()
    flat = picture.convert("RGB")
    match output_format:
        case "jpeg":
            flat.save(out, "JPEG", quality=JPEG_QUALITY, xmp=mark)
        case "webp":
            flat.save(out, "WEBP", quality=WEBP_QUALITY, xmp=mark)
        case _:
            notes = PngImagePlugin.PngInfo()
            notes.add_text("Software", software)
            notes.add_itxt("XML:com.adobe.xmp", mark.decode())
            flat.save(out, "PNG", compress_level=3, pnginfo=notes)
    return Made(out.getvalue(), tuple(warnings), FORMATS[output_format])


def _mark(software: str) -> bytes:
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#"><rdf:Description rdf:about=""'
        ' xmlns:xmp="http://ns.adobe.com/xap/1.0/" xmlns:Iptc4xmpExt="http://iptc.org/std/Iptc4xmpExt/2008-02-29/"'
        f' xmp:CreatorTool={quoteattr(software)} Iptc4xmpExt:DigitalSourceType="{_AI_MADE}"/>'
        '</rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()
