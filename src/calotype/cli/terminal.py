"""What commands write: the answer on standard output, everything else on standard error."""

import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table


class Failure(Exception):  # noqa: N818  (a command's own refusal, shown as one sentence)
    """What a command cannot do, in a sentence for people; it ends the program with `exit_code`."""

    def __init__(self, message: str, *, exit_code: int = 1) -> None:
        super().__init__(message)
        self.exit_code = exit_code


def answer(value: Any) -> None:
    """Write a value as JSON on standard output."""
    text = msgspec.json.format(msgspec.json.encode(value), indent=2).decode()
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def say(text: str) -> None:
    """Tell people something on standard error."""
    sys.stderr.write(text + "\n")
    sys.stderr.flush()


def table(columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """Write rows: a table for people, tab-separated lines where standard output is no terminal."""
    texts = [["" if cell is None else str(cell) for cell in row] for row in rows]
    if not sys.stdout.isatty():
        for line in (columns, *texts):
            sys.stdout.write("\t".join(line) + "\n")
        return
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for index, name in enumerate(columns):
        grid.add_column(name, overflow="fold", no_wrap=index == 0)
    for line in texts:
        grid.add_row(*(escape(cell) for cell in line))
    Console().print(grid)


def facts(pairs: Sequence[tuple[str, Any]]) -> None:
    """Write names and values, one pair on a line; what is None is left out."""
    known = [(name, str(value)) for name, value in pairs if value is not None]
    width = max((len(name) for name, _ in known), default=0)
    for name, value in known:
        sys.stdout.write(f"{name:<{width}}  {value}\n")
    sys.stdout.flush()


def moment(at_ms: int | None) -> str | None:
    """Write Unix milliseconds as a time in UTC."""
    if at_ms is None:
        return None
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S")


def progress_bar() -> Progress:
    """Return a progress bar on standard error; silent where that is no terminal."""
    return Progress(
        TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeElapsedColumn(),
        console=Console(stderr=True), transient=True, disable=not sys.stderr.isatty(),
    )  # fmt: skip
