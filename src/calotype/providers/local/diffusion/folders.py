"""What a folder of a pipeline holds, read without loading it: its class, its engine, and what forbids its use.

Weights must be safetensors, or a graph and plain numbers of OpenVINO; a pipeline that brings program code, weights that
exist only as pickles, and links that lead out of the folder are refused. Engines look again just before they load.
"""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from msgspec import Struct

INDEX = "model_index.json"
MAX_INDEX_BYTES = 1 << 20
MAX_FILES = 5000
MAX_DEPTH = 4

Engine = Literal["diffusers", "openvino"]

_PICKLES = (".bin", ".pt", ".pth", ".ckpt", ".pkl", ".pickle", ".msgpack", ".h5")
_VARIANT = re.compile(r"\.(?P<variant>[A-Za-z0-9_]+)(?:-\d+-of-\d+)?\.safetensors\Z")
_OTHER_USES = (
    "Img2Img",
    "Inpaint",
    "Video",
    "Audio",
    "Upscale",
    "ControlNet",
    "Pix2Pix",
    "Edit",
    "Image2Image",
    "Depth",
)
"""Words in the names of classes that want more than a text, or make something else than a picture."""


class Unusable(ValueError):  # noqa: N818  (it says what a folder is not)
    """A folder that is not used as a pipeline, in a sentence without its place."""


class Contents(Struct, frozen=True):
    """What a folder holds: `family` is the class of its pipeline, `variant` the only kind of weights it has.

    `transformer` says that a transformer makes the picture, and not a U-Net.
    """

    engine: Engine
    family: str
    variant: str | None = None
    transformer: bool = False


def real(path: Path) -> Path:
    """Return where a path leads; links that go round in a circle lead nowhere and raise nothing."""
    return Path(os.path.realpath(path))


def engine_of(folder: Path) -> Engine:
    """Return which engine a folder was made for."""
    return "openvino" if any(folder.glob("*/openvino_model.xml")) else "diffusers"


def look(folder: Path, root: Path) -> Contents:
    """Look through a folder whose files must all lie in `root`.

    Raises:
        Unusable: it cannot be used, and why.

    """
    if not folder.is_dir():
        raise Unusable("the folder is not there")
    paths = list(_files(folder, real(root)))
    index = _index(folder)
    family = index.get("_class_name")
    if isinstance(family, list):
        raise Unusable("it wants a pipeline class of its own, and program code of a folder is never run")
    if not isinstance(family, str) or not family.endswith("Pipeline"):
        raise Unusable(f"{INDEX} names no pipeline class")
    if found := next((word for word in _OTHER_USES if word in family), None):
        raise Unusable(f"{family} does not make pictures from text alone ({found})")
    parts = {name: pair for name, pair in index.items() if _is_part(name, pair)}
    for name, (library, _) in parts.items():
        if any((place / f"{library}.py").exists() for place in (folder, folder / name)):
            raise Unusable(f"{name} wants program code of the folder, which is never run")
    engine = engine_of(folder)
    if engine == "openvino":
        return Contents(engine, family)
    return Contents(engine, family, _check_weights(paths, folder, parts), "transformer" in parts)


def _files(folder: Path, root: Path) -> Iterator[Path]:
    """Yield every file, having seen that none lies elsewhere."""
    count = 0
    for place, folders, names in os.walk(folder):
        depth = len(Path(place).relative_to(folder).parts)
        if depth >= MAX_DEPTH and folders:
            raise Unusable(f"it has folders more than {MAX_DEPTH} deep")
        for name in (*folders, *names):
            path = Path(place, name)
            count += 1
            if count > MAX_FILES:
                raise Unusable(f"it has more than {MAX_FILES:,} files")
            if path.is_symlink() and not real(path).is_relative_to(root):
                raise Unusable(f"{path.relative_to(folder)} is a link that leads out of the folder")
        yield from (Path(place, name) for name in names)


def _index(folder: Path) -> dict[str, Any]:
    try:
        with (folder / INDEX).open("rb") as body:
            text = body.read(MAX_INDEX_BYTES + 1)
        index = json.loads(text) if len(text) <= MAX_INDEX_BYTES else None
    except FileNotFoundError:
        raise Unusable(f"it has no {INDEX}") from None
    except (OSError, ValueError, RecursionError):
        raise Unusable(f"{INDEX} cannot be read") from None
    if not isinstance(index, dict):
        raise Unusable(f"{INDEX} is not an index of a pipeline")
    return index


def _is_part(name: str, pair: Any) -> bool:
    """Say whether an entry of the index is a component: a library and a class."""
    return not name.startswith("_") and isinstance(pair, list) and len(pair) == 2 and isinstance(pair[0], str)


def _check_weights(paths: list[Path], folder: Path, parts: dict[str, Any]) -> str | None:
    """See that every component with weights has them as safetensors; return their variant if some have only that."""
    variants: list[str] = []
    found = False
    for name in parts:
        names = [path.name for path in paths if path.parent == folder / name]
        tensors = [one for one in names if one.endswith(".safetensors")]
        if not tensors and any(one.endswith(_PICKLES) for one in names):
            raise Unusable(f"{name} has its weights only as a pickle, which can run code; only safetensors are loaded")
        for one in tensors:
            _check_tensors(folder / name / one)
        found = found or bool(tensors)
        matches = [_VARIANT.search(one) for one in tensors]
        variants += [match["variant"] for match in matches[:1] if match is not None and all(matches)]
    if not found:
        raise Unusable("it holds no weights as safetensors")
    return variants[0] if variants else None


def _check_tensors(path: Path) -> None:
    with path.open("rb") as body:
        head = body.read(9)
    if len(head) < 9 or head[8:] != b"{" or int.from_bytes(head[:8], "little") > path.stat().st_size - 8:
        raise Unusable(f"{path.parent.name}/{path.name} is not a file of the format safetensors")
