"""A watched server whose providers differ in region, agreement and key class."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from upstream import Upstream

FOREVER = {"reference": "BAA-1", "expires": "2099-12-31"}
OVER = {"reference": "BAA-0", "expires": "2020-12-31"}

PROVIDERS: dict[str, dict[str, Any]] = {
    "world": {"regions": ["*"]},
    "eu": {"regions": ["EU", "CH"], "phi": FOREVER},
    "us": {"regions": ["US"], "phi": OVER},
    "anywhere": {"regions": ["*"], "phi": FOREVER},
    "lab": {"regions": ["*"], "key_classes": ["test", "unlimited"]},
}
MODELS: dict[str, list[str]] = {
    "test/world": ["world"],
    "test/eu": ["eu"],
    "test/us": ["us"],
    "test/anywhere": ["anywhere"],
    "test/lab": ["lab"],
    "test/many": ["world", "us", "eu", "lab"],
}
"""Model → its routes, cheapest first."""

ORGS: dict[str, dict[str, Any]] = {
    "plain": {},
    "strict": {"strict": True},
    "swiss": {"region": "CH"},
    "poor": {"micro": 5},
    "bound": {"models": ["local/*"]},
}

_CARD = """
[[cards]]
id = "{id}"
title = "Test"
operation = "text-to-image"
output = "image"
[cards.input]
required = ["prompt"]
[cards.input.properties]
prompt = {{ "$ref" = "_shared.toml#/prompt" }}
[cards.example]
prompt = "x"
"""
_ROUTE = """
[[cards.routes]]
provider = "{provider}"
kind = "openai"
upstream = "{provider}-model"
cost_source = "a test"
cost = {{ unit = "image", micro = {micro} }}
"""


@dataclass
class Watched:
    """The server's address, its keys, and what it did on the network since `mark`."""

    url: str
    keys: dict[str, str]
    notes: Path
    data_dir: Path
    _seen: int = 0

    def mark(self) -> None:
        self._seen = self.notes.stat().st_size

    @property
    def done(self) -> list[tuple[str, str]]:
        with self.notes.open("rb") as notes:
            notes.seek(self._seen)
            return [tuple(json.loads(line)) for line in notes]


@pytest.fixture(scope="session")
def watched(_upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Return the watched server."""
    folder = tmp_path_factory.mktemp("watched")
    cards = folder / "cards"
    cards.mkdir()
    written = ""
    for model, routes in MODELS.items():
        written += _CARD.format(id=model)
        written += "".join(_ROUTE.format(provider=name, micro=1000 * (n + 1)) for n, name in enumerate(routes))
    (cards / "test.toml").write_text(written)
    base = _upstream.url.removesuffix("/v1")
    settings = {
        "data_dir": str(folder / "data"),
        "cards_dir": str(cards),
        "limits": {"test_requests_per_minute": 1_000_000},
        "providers": {
            name: {"kind": "openai", "base_url": f"{base}/{name}", "api_key": "sk-x", **declared}
            for name, declared in PROVIDERS.items()
        },
    }
    given = folder / "given.json"
    given.write_text(json.dumps({"settings": settings, "orgs": ORGS}))
    notes = folder / "notes"
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CALOTYPE_", "OPENAI_"))}
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [sys.executable, Path(__file__).with_name("watched.py"), given, notes], stdout=subprocess.PIPE, stderr=log,
            text=True, env=clean, cwd=folder,
        )  # fmt: skip
        assert process.stdout is not None
        line = process.stdout.readline()
        assert line, (folder / "log").read_text()
        ready = json.loads(line)
        try:
            yield Watched(f"http://127.0.0.1:{ready['port']}", ready["keys"], notes, folder)
        finally:
            process.terminate()
            assert process.wait(30) is not None


@pytest.fixture(scope="session")
def client(watched: Watched) -> Iterator[httpx2.Client]:
    """Return an HTTP client of the watched server."""
    with httpx2.Client(base_url=watched.url, timeout=30) as one:
        yield one
