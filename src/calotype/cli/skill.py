"""`calotype skill`: what an agent needs to use this server, made of the table of services."""

from pathlib import Path
from typing import Annotated

import typer

from calotype.app import catalog_of, url_of
from calotype.cli.options import DataDir, Json, settings_for
from calotype.cli.terminal import answer, say
from calotype.skill import files, packed

skill = typer.Typer(help="The skill for agents.", no_args_is_help=True)


@skill.callback()
def _group() -> None:
    """Keep `export` a command of its own while it is the only one."""


@skill.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The archive.")] = Path("calotype-skill.zip"),
    url: Annotated[
        str | None, typer.Option("--url", help="Where agents reach the server; as in the settings without.")
    ] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Write the services of the jobs API as an agent skill: a ZIP archive of instructions, reference and script."""
    settings = settings_for(data_dir)
    catalog, address = catalog_of(settings), (url or url_of(settings)).rstrip("/")
    output.write_bytes(packed(catalog, address))
    if as_json:
        answer({"path": str(output), "url": address, "files": sorted(files(catalog, address))})
        return
    say(f"{output}: for {address}. Unpack it where your agent looks for skills, and give it CALOTYPE_KEY.")
