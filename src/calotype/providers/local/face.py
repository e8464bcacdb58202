"""Finding one face in a picture: a detector says where, a mesh of 468 points says where its mouth and eyes are."""

import math
from functools import cache
from typing import Any

import numpy as np
from msgspec import Struct
from numpy.typing import NDArray
from PIL import Image

from calotype.providers.local.extra import THREADS, engine
from calotype.providers.local.weights_data import carried

Points = NDArray[np.float64]
"""Places in a picture, one (x, y) in pixels in each row."""

DETECTOR_SIDE, MESH_SIDE = 128, 192
CERTAIN = 0.6
AROUND = 1.5
"""How much more than the face the mesh looks at."""
_ROWS = ((16, 2), (8, 6))
"""Squares of the detector's grids along a side, and guesses in each."""

UPPER_LIP = (78, 191, 80, 81, 82, 13, 312, 311, 310, 415, 308)
LOWER_LIP = (78, 95, 88, 178, 87, 14, 317, 402, 318, 324, 308)
"""The inner edges of the lips, from corner to corner."""
CHIN, LOWER_LIP_OUTSIDE = 152, 17
UPPER_LIDS = ((33, 246, 161, 160, 159, 158, 157, 173, 133), (362, 398, 384, 385, 386, 387, 388, 466, 263))
LOWER_LIDS = ((33, 7, 163, 144, 145, 153, 154, 155, 133), (362, 382, 381, 380, 374, 373, 390, 249, 263))


class Face(Struct, frozen=True):
    """A face: the middle and side of a square around it, in pixels, and its points."""

    middle: tuple[float, float]
    side: float
    points: Points


def find_face(picture: Image.Image) -> Face | None:
    """Return the clearest face of an RGB picture, or None.

    Raises:
        Unavailable: the extra is not installed.

    """
    found = _detected(picture)
    if found is None:
        return None
    box, right_eye, left_eye = found
    middle = ((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)
    side = max(box[2] - box[0], box[3] - box[1])
    tilt = math.atan2(left_eye[1] - right_eye[1], left_eye[0] - right_eye[0])
    points = _mesh(picture, middle, side * AROUND, tilt)
    return None if points is None else Face(middle, side, points)


def _detected(picture: Image.Image) -> tuple[Points, Points, Points] | None:
    """Return the box of the clearest face, and its eyes."""
    whole = max(picture.size)
    scale = DETECTOR_SIDE / whole
    small = picture.resize((max(1, round(picture.width * scale)), max(1, round(picture.height * scale))))
    seen = Image.new("RGB", (DETECTOR_SIDE, DETECTOR_SIDE))
    seen.paste(small, (0, 0))
    boxes, scores = _run("face_detection_short_range.tflite", np.asarray(seen, np.float32) / 127.5 - 1.0)
    scores = scores.reshape(-1)
    if scores.size != len(boxes.reshape(-1, 16)):
        boxes, scores = scores.reshape(1, -1, 16), boxes.reshape(-1)
    likely = 1.0 / (1.0 + np.exp(-np.clip(scores, -50.0, 50.0)))
    best = int(likely.argmax())
    if likely[best] < CERTAIN:
        return None
    guesses = boxes.reshape(-1, 8, 2).astype(np.float64) / DETECTOR_SIDE
    anchors = _anchors()
    places = guesses + anchors[:, None, :]
    places[:, 1] = guesses[:, 1]
    # guesses close to the best one are the same face: their mean is steadier
    near = np.abs(places[:, 0] - places[best, 0]).max(axis=1) < 0.3 * guesses[best, 1].max()
    weight = likely * (likely > CERTAIN) * near
    mean = (places * weight[:, None, None]).sum(axis=0) / weight.sum() * whole
    middle, size = mean[0], mean[1]
    return np.concatenate([middle - size / 2, middle + size / 2]), mean[2], mean[3]


def _mesh(picture: Image.Image, middle: tuple[float, float], side: float, tilt: float) -> Points | None:
    """Return the points of the face inside a turned square."""
    step = side / MESH_SIDE
    across = (step * math.cos(tilt), -step * math.sin(tilt))
    down = (step * math.sin(tilt), step * math.cos(tilt))
    half = MESH_SIDE / 2
    corner = (
        middle[0] - half * (across[0] + across[1]),
        middle[1] - half * (down[0] + down[1]),
    )
    turned = (across[0], across[1], corner[0], down[0], down[1], corner[1])
    size = (MESH_SIDE, MESH_SIDE)
    seen = picture.transform(size, Image.Transform.AFFINE, turned, Image.Resampling.BILINEAR)
    first, second = _run("face_landmark.tflite", np.asarray(seen, np.float32) / 255.0)
    mesh, sure = (first, second) if first.size > second.size else (second, first)
    if 1.0 / (1.0 + math.exp(-float(sure.reshape(-1)[0]))) < 0.5:
        return None
    flat = mesh.reshape(-1, 3)[:, :2].astype(np.float64)
    x = corner[0] + across[0] * flat[:, 0] + across[1] * flat[:, 1]
    y = corner[1] + down[0] * flat[:, 0] + down[1] * flat[:, 1]
    return np.stack([x, y], axis=1)


@cache
def _anchors() -> Points:
    rows = []
    for count, guesses in _ROWS:
        middles = (np.arange(count) + 0.5) / count
        y, x = np.meshgrid(middles, middles, indexing="ij")
        rows.append(np.repeat(np.stack([x, y], axis=-1).reshape(-1, 2), guesses, axis=0))
    return np.concatenate(rows)


@cache
def _network(name: str) -> Any:
    network = engine("ai_edge_litert.interpreter").Interpreter(str(carried(name)), num_threads=THREADS)
    network.allocate_tensors()
    return network


def _run(name: str, pixels: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    network = _network(name)
    network.set_tensor(network.get_input_details()[0]["index"], pixels[None].astype(np.float32))
    network.invoke()
    first, second = (network.get_tensor(out["index"]).copy() for out in network.get_output_details()[:2])
    return first, second
