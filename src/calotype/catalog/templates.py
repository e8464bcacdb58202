"""The templates in force, by `<id>@<version>`: those of the house, then the operator's.

A template is a folder `<id>/<version>/` with `template.toml`, `graph.json` and, for long videos, `repeat.json`.
"""

import difflib
import re
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_args

import msgspec

from calotype.catalog.template_check import check
from calotype.catalog.template_render import FOLDER, draw_seed, render, seed_in
from calotype.catalog.template_types import AnyField, Graph, Manifest, RefusedField, Template, TemplateError

__all__ = [
    "BUILTIN",
    "FOLDER",
    "OWN_FOLDER",
    "Graph",
    "RefusedField",
    "Template",
    "TemplateError",
    "Templates",
    "draw_seed",
    "read_template",
    "render",
    "seed_in",
]

BUILTIN = Path(__file__).parent / "templates"
OWN_FOLDER = "templates"
"""The operator's templates, below the folder of the operator's cards."""

T = TypeVar("T")
FIELD: Any = AnyField
KINDS = tuple(str(kind.__struct_config__.tag) for kind in get_args(AnyField))
"""The types that fields can have."""
_ID = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


class Templates(Mapping[str, Template]):
    """Every template in force, by `<id>@<version>`."""

    def __init__(self, templates: Iterable[Template]) -> None:
        self._by_ref = {template.ref: template for template in templates}

    @classmethod
    def load(cls, cards_dir: Path | None = None) -> "Templates":
        """Read the templates of the house and the operator's; one there replaces that of the same id and version.

        Raises:
            TemplateError: a template that cannot be used, with file, key and what would be accepted.

        """
        own = cards_dir / OWN_FOLDER if cards_dir is not None else None
        folders = [BUILTIN, *([own] if own is not None and own.is_dir() else [])]
        return cls(read_template(folder) for root in folders for folder in _folders(root))

    def find(self, ref: str) -> Template:
        """Return the template of a route's `upstream`; an id without a version means its newest.

        Raises:
            TemplateError: there is none, with near matches.

        """
        if (template := self._by_ref.get(ref)) is not None:
            return template
        if versions := [template for template in self._by_ref.values() if template.id == ref]:
            return max(versions, key=lambda template: template.version)
        near = ", ".join(difflib.get_close_matches(ref, self._by_ref, n=3, cutoff=0.5)) or ", ".join(self)
        raise TemplateError("routes", "upstream", f"{ref!r} is not a template; there are {near}")

    def __getitem__(self, ref: str) -> Template:
        return self._by_ref[ref]

    def __iter__(self) -> Iterator[str]:
        return iter(sorted(self._by_ref))

    def __len__(self) -> int:
        return len(self._by_ref)


def read_template(folder: Path) -> Template:
    """Read the template of a folder `<id>/<version>` and check that it is whole.

    Raises:
        TemplateError: it cannot be used, with file, key and what would be accepted.

    """
    origin = f"{folder.parent.name}/{folder.name}"
    if not _ID.fullmatch(folder.parent.name):
        raise TemplateError(origin, "id", f"{folder.parent.name!r}: use small letters, digits and . _ -")
    manifest = _manifest(origin, folder / "template.toml")
    graph = _graph(origin, folder / "graph.json")
    block = _graph(origin, folder / "repeat.json") if (folder / "repeat.json").exists() else {}
    template = Template(folder.parent.name, int(folder.name), origin, manifest, graph, block)
    check(template)
    return template


def _folders(root: Path) -> list[Path]:
    """Return every `<id>/<version>` below a folder."""
    found = [path for path in root.glob("*/*") if path.is_dir() and path.name.isascii() and path.name.isdigit()]
    return sorted(found, key=lambda path: (path.parent.name, int(path.name)))


def _manifest(origin: str, path: Path) -> Manifest:
    try:
        raw = tomllib.loads(_read(origin, path).decode())
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise TemplateError(origin, path.name, f"is not TOML: {error}") from error
    fields = raw.get("fields")
    for name, field in fields.items() if isinstance(fields, dict) else ():
        _converted(origin, f"{path.name}: fields.{name}", field, FIELD)
    return _converted(origin, path.name, raw, Manifest)


def _converted(origin: str, key: str, raw: Any, wanted: type[T]) -> T:
    try:
        return msgspec.convert(raw, wanted)
    except msgspec.ValidationError as error:
        sentence, _, path = str(error).partition(" - at `")
        path = path.rstrip("`").removeprefix("$").lstrip(".")
        hint = f"; accepted: {', '.join(KINDS)}" if path == "type" or "`type`" in sentence else ""
        raise TemplateError(origin, f"{key}.{path}" if path else key, f"{sentence}{hint}") from error


def _graph(origin: str, path: Path) -> Graph:
    try:
        raw: Any = msgspec.json.decode(_read(origin, path))
    except msgspec.DecodeError as error:
        raise TemplateError(origin, path.name, f"is not JSON: {error}") from error
    if not isinstance(raw, dict) or not raw:
        raise TemplateError(origin, path.name, "must be an object of nodes, in API format")
    if isinstance(raw.get("nodes"), list):
        raise TemplateError(origin, path.name, "is in UI format; export it in API format, or import it")
    return raw


def _read(origin: str, path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise TemplateError(origin, path.name, f"cannot be read: {error.strerror}") from error
