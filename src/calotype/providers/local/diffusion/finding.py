"""Which pipelines this machine offers: those the operator named, and the folders among the pulled weights."""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from calotype.providers.local.diffusion.folders import INDEX, Contents, Engine, Unusable, engine_of, look, real
from calotype.settings import PIPELINE_NAME, PipelineSettings

_CACHED = "models--"
_REVISION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class Pipeline(Struct, frozen=True):
    """A pipeline by name. All its files lie in `root`; `problem` says why it cannot be used, if it cannot.

    `named` says that the settings name it, and `wishes` are its settings.
    """

    name: str
    folder: Path
    root: Path
    engine: Engine
    contents: Contents | None = None
    problem: str | None = None
    named: bool = False
    wishes: PipelineSettings | None = None

    @property
    def upstream(self) -> str:
        """What the provider calls it."""
        return f"{self.engine}:{self.name}"

    @property
    def id(self) -> str:
        """What clients call it."""
        return f"local/{self.upstream}"


def find_pipelines(models_dir: Path, named: Mapping[str, PipelineSettings]) -> tuple[Pipeline, ...]:
    """Return the pipelines of the settings and those in the folder of weights, in order of their names.

    A folder may be a pipeline, an owner's folder of pipelines, or an entry of a hub's cache (`models--owner--name`). A
    name in the settings comes before a folder of that name.
    """
    found = {name: _seen(name, one.path.expanduser(), one) for name, one in named.items()}
    for name, folder in _folders(models_dir):
        if name not in found and PIPELINE_NAME.fullmatch(name):
            found[name] = _seen(name, folder, None, models_dir)
    return tuple(found[name] for name in sorted(found))


def _folders(models_dir: Path) -> Iterator[tuple[str, Path]]:
    for folder in _inside(models_dir):
        if folder.name.startswith(_CACHED):
            yield folder.name.removeprefix(_CACHED).replace("--", "/", 1), folder
        elif (folder / INDEX).is_file():
            yield folder.name, folder
        else:
            yield from ((f"{folder.name}/{one.name}", one) for one in _inside(folder) if (one / INDEX).is_file())


def _inside(folder: Path) -> list[Path]:
    """Return the folders in a folder, without hidden ones; none where it cannot be read."""
    try:
        return sorted(one for one in folder.iterdir() if not one.name.startswith(".") and one.is_dir())
    except OSError:
        return []


def _seen(name: str, given: Path, wishes: PipelineSettings | None, inside: Path | None = None) -> Pipeline:
    """Look at one folder; one that was only found, not named, must really lie among the weights."""
    root = real(given)
    folder = _snapshot(root)
    one = Pipeline(name, folder, root, engine_of(folder), named=wishes is not None, wishes=wishes)
    try:
        if inside is not None and not root.is_relative_to(real(inside)):
            raise Unusable("it is a link that leads out of the folder of weights; name it in local.pipelines")
        return replace(one, contents=look(folder, root))
    except Unusable as error:
        return replace(one, problem=str(error))
    except OSError as error:
        return replace(one, problem=f"it cannot be read ({error.strerror})")


def _snapshot(root: Path) -> Path:
    """Return the folder of the revision that an entry of a hub's cache has in use; any other folder is itself."""
    snapshots = root / "snapshots"
    if not snapshots.is_dir():
        return root
    try:
        revision = (root / "refs" / "main").read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError):
        revision = ""
    if _REVISION.fullmatch(revision):
        return snapshots / revision
    revisions = [one for one in snapshots.iterdir() if one.is_dir()]
    return revisions[0] if len(revisions) == 1 else root
