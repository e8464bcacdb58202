"""Whether a picture may be unsafe for work: one score from a coarse network, which looks for nudity only."""

import io
from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from PIL import Image

from calotype.providers.local.extra import onnx_session
from calotype.providers.local.messages import BadInput, Made
from calotype.providers.local.pictures import flat, open_picture
from calotype.providers.local.weights import folder_of

WEIGHTS = "open-nsfw"
SEEN, CROP = 256, 224
_MEAN_BGR = np.array((104.0, 117.0, 123.0), np.float32)


def render(*, image: str, models_dir: str | None, threshold: float = 0.8, progress: Callable[[float], None]) -> Made:
    """Return `nsfw_score` from 0 (safe) to 1, and `flagged` from the threshold up.

    Raises:
        BadInput: a threshold out of range, or a file that is not a picture.
        Unavailable: the weights are not pulled, or the extra is not installed.

    """
    if not 0.0 < threshold <= 1.0:
        raise BadInput("threshold", "threshold must be above 0 and at most 1.")
    picture = flat(open_picture(image))
    progress(0.2)
    session = _session(str(folder_of(models_dir, WEIGHTS) / "open-nsfw.onnx"))
    progress(0.5)
    (out, *_) = session.run(None, {session.get_inputs()[0].name: _seen(picture)[None]})
    score = round(float(np.asarray(out)[0, 1]), 4)
    return Made(None, data={"nsfw_score": score, "flagged": score >= threshold, "threshold": threshold})


def _seen(picture: Image.Image) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return what the network was trained to see: small, through JPEG, the middle, blue first."""
    packed = io.BytesIO()
    picture.resize((SEEN, SEEN), Image.Resampling.BILINEAR).save(packed, "JPEG")
    with Image.open(packed) as small:
        pixels = np.asarray(small, np.float32)
    edge = (SEEN - CROP) // 2
    return pixels[edge : edge + CROP, edge : edge + CROP, ::-1] - _MEAN_BGR


@cache
def _session(path: str) -> Any:
    return onnx_session(path)
