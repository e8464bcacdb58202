"""Weights that the package carries: small, permissively licensed (see LICENCES.txt), and pinned by digest."""

import hashlib
from functools import cache
from pathlib import Path

from calotype.providers.local.messages import Unavailable

DIGESTS: dict[str, str] = {
    "u2netp.onnx": "309c8469258dda742793dce0ebea8e6dd393174f89934733ecc8b14c76f4ddd8",
    "realesr-animevideov3.bin": "548a36f9c3f4ab8da56cd3b13badf23968bee207b396dad14d04b830e5f2ab2d",
    "realesr-animevideov3-x2.param": "b88ff4f00ebf019a7fdac17fdd45a7fd3665d37509efc5baf2e4da2e24420a04",
    "realesr-animevideov3-x3.param": "d1a5755008791d09b57e3425fc9dd0bd26b00fdf79c606210bc0e693f8230881",
    "realesr-animevideov3-x4.param": "850a248e7c14c27e5bd8cf7265113a9441036a7db63963bb8aa5169d788a435e",
    "face_detection_short_range.tflite": "3bc182eb9f33925d9e58b5c8d59308a760f4adea8f282370e428c51212c26633",
    "face_landmark.tflite": "2efcb4f4de43c7614b80a3cc3e8a37354b3b3b40f75cce20f6f38f0f25d65493",
}
"""File name → SHA-256."""


@cache
def carried(name: str) -> Path:
    """Return the path of a carried file, proved once in this process.

    Raises:
        Unavailable: it is missing or not the file that was carried.

    """
    path = Path(__file__).parent / name
    if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() != DIGESTS[name]:
        raise Unavailable("A file of the installation is damaged: install calotype again.")
    return path
