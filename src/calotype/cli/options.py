"""Options that many commands share, and the settings a command runs with."""

from pathlib import Path
from typing import Annotated, Any

import typer

from calotype.kernel.money import parse_usd
from calotype.settings import Settings

DataDir = Annotated[
    Path | None,
    typer.Option("--data-dir", help="The data directory; also CALOTYPE_DATA_DIR.", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Answer JSON on standard output.")]
Org = Annotated[str, typer.Option("--org", help="An organisation's id or name.")]

_root: dict[str, Path] = {}


def remember_data_dir(data_dir: Path | None) -> None:
    """Keep what was given before the command's name: `calotype --data-dir DIR keys list`."""
    _root.clear()
    if data_dir is not None:
        _root["data_dir"] = data_dir


def settings_for(data_dir: Path | None, **given: Any) -> Settings:
    """Return the settings of this command: its options, then the environment, then the file.

    Raises:
        ValidationError: a setting that cannot be used.

    """
    chosen = data_dir or _root.get("data_dir")
    if chosen is not None:
        given["data_dir"] = chosen
    return Settings(**{name: value for name, value in given.items() if value is not None})


def amount(text: str) -> int:
    """Read an amount of USD from the command line as micro-USD.

    Raises:
        typer.BadParameter: not an amount.

    """
    try:
        micro = parse_usd(text)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    if micro < 0:
        raise typer.BadParameter("an amount is not negative")
    return micro
