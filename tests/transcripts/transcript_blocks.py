"""Transcripts as they are written down: a title, a command as a user would paste it, and the answer that is expected.

A page is Markdown. Below a heading stand a fence of bash and a fence of http: the status, headers, an empty line, and
a template of the body (`transcript_match`). A word beside `bash` tells what to await first: `after=JOB` the end of the
job that the variable names, `begun=JOB` that its upstream took it.
"""

import re
from pathlib import Path

from msgspec import Struct

PAGES = Path(__file__).parent
_BLOCK = re.compile(
    r"^## (?P<title>[^\n]+)\n\n```bash(?P<await>[^\n]*)\n(?P<command>.*?)```\n\n```http\n(?P<answer>.*?)```\n",
    re.DOTALL | re.MULTILINE,
)
_ADDRESS = re.compile(r"\$BASE(/[^\s\"'?]*)")
_METHOD = re.compile(r"(?:-X|--request) ?([A-Z]+)")
_BODY = re.compile(r"(?<!\S)(?:-d|--data\S*|-F|--form\S*|--json)(?!\S)")
_AS_QUERY = re.compile(r"(?<!\S)(?:-G|--get)(?!\S)")


class Block(Struct, frozen=True):
    """One exchange."""

    title: str
    awaited: str
    command: str
    status: int
    headers: tuple[tuple[str, str], ...]
    body: str

    @property
    def calls(self) -> list[tuple[str, str]]:
        """Return methods and paths of what the command asks, as far as can be seen by reading it."""
        found = []
        for part in re.split(r"(?m)(?:^|(?<=[|;&(]))\s*curl\b", self.command)[1:]:
            method = _METHOD.search(part)
            usual = "POST" if _BODY.search(part) and not _AS_QUERY.search(part) else "GET"
            found += [(method[1] if method else usual, path[1]) for path in _ADDRESS.finditer(part)]
        return found


def read(page: Path) -> list[Block]:
    """Return a page's blocks; every heading must be one."""
    text = page.read_text()
    blocks = [_block(found) for found in _BLOCK.finditer(text)]
    headings = [line for line in text.splitlines() if line.startswith("## ")]
    assert [f"## {one.title}" for one in blocks] == headings, "a heading without a command and an answer"
    return blocks


def pages() -> list[Path]:
    """Return every page."""
    return sorted(path for path in PAGES.glob("*.md") if path.name != "README.md")


def _block(found: re.Match[str]) -> Block:
    head, _, body = found["answer"].partition("\n\n")
    status, *headers = head.strip().splitlines()
    pairs = tuple((name.strip().lower(), value.strip()) for name, _, value in (one.partition(":") for one in headers))
    return Block(found["title"], found["await"].strip(), found["command"], int(status), pairs, body.strip("\n"))
