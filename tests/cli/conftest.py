"""Real processes: the program as people run it, and a server beside which commands work."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from program import Done, Program
from served import Running, start

Cli = Callable[..., Done]


@pytest.fixture(scope="session")
def program() -> Iterator[Program]:
    """Return the loaded program, forked once for each command."""
    with Program() as loaded:
        yield loaded


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    """Return a data directory that does not exist yet."""
    return tmp_path / "data"


@pytest.fixture
def cli(program: Program, data_dir: Path) -> Cli:
    """Return a function that runs a command on this test's own data directory."""
    return lambda *arguments, **named: program.run(data_dir, *arguments, **named)


@pytest.fixture(scope="module")
def running(program: Program, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """Return a server that the tests of one file share, with a paid key and 1 USD."""
    data_dir = tmp_path_factory.mktemp("served") / "data"
    made = program.run(data_dir, "keys", "create", "--name", "tests", "--json")
    program.run(data_dir, "credits", "grant", "1")
    with start(data_dir, prices={"local/sketch": 1000, "local/sketch-video": 1000}) as server:
        server.key = json.loads(made.stdout)["key"]
        yield server


@pytest.fixture
def beside(program: Program, running: Running) -> Cli:
    """Return a function that runs a command beside the shared server."""
    return lambda *arguments, **named: program.run(running.data_dir, *arguments, **named)
