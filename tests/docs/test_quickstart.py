"""docs/quickstart.md is true: its commands, as they stand there, in a clean home, beside a server just started."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "quickstart.md").read_text()
SECTIONS = dict(re.findall(r"^## (\d)\. .+?\n(.+?)(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL))
RUN = ("3", "4", "5", "6")
"""The sections that work beside a running server; the others start one, install, or need an account elsewhere."""
HERE = "http://127.0.0.1:8700"


def commands(section: str) -> str:
    return "\n".join(re.findall(r"```sh\n(.*?)```", SECTIONS[section], re.DOTALL))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """Return a folder with nothing in it but the program where the page says that it is."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    program = tmp_path / ".venv" / "bin" / "calotype"
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m calotype "$@"\n')
    program.chmod(0o755)
    return tmp_path


@pytest.fixture
def environment(home: Path) -> dict[str, str]:
    """Return an environment that knows no setting of anybody's."""
    return {"HOME": str(home), "PATH": os.environ["PATH"], "LANG": "C.UTF-8", "TMPDIR": str(home)}


@pytest.fixture
def url(home: Path, environment: dict[str, str]) -> Iterator[str]:
    """Return the address of a server started as the page says, on a free port."""
    note, log = home / "calotype-data" / "engine.json", home / "server.log"
    assert ".venv/bin/calotype serve " in commands("2")
    with log.open("wb") as written:
        server = subprocess.Popen(
            [".venv/bin/calotype", "serve", "--port", "0"], cwd=home, env=environment, stdout=written, stderr=written
        )
    try:
        until = time.monotonic() + 30
        while "listens on" not in log.read_text():
            assert server.poll() is None and time.monotonic() < until, log.read_text()
            time.sleep(0.05)
        yield json.loads(note.read_text())["url"]
        server.send_signal(signal.SIGTERM)
        assert server.wait(30) == 0, log.read_text()
    finally:
        if server.poll() is None:
            server.kill()
            server.wait()


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="needs curl and jq")
def test_its_commands_work_one_after_the_other(url: str, home: Path, environment: dict[str, str]) -> None:
    script = "set -eu -o pipefail\n" + "\n".join(map(commands, RUN)) + "\n.venv/bin/calotype ledger verify\n"
    script += f"curl -s {HERE}/llms.txt\n"
    assert script.count(HERE) >= 5
    script = re.sub(r"curl -s(L?) ", r"curl -fsS\1 ", script.replace(HERE, url))
    done = subprocess.run(
        ["bash", "-c", script], cwd=home, env=environment, capture_output=True, text=True, timeout=90, check=False
    )
    assert done.returncode == 0, done.stdout[-1000:] + done.stderr[-1000:]
    assert (home / "waves.mp4").read_bytes()[4:8] == b"ftyp"
    assert "5.00 USD" in done.stdout and '"duration":20.0' in done.stdout and "adds up" in done.stdout
    assert f"\n- Base: {url}\n" in done.stdout, "the text for agents names this server"
    left = {path.name for path in home.iterdir()} - {".venv", "calotype-data", "server.log", "waves.mp4"}
    assert left <= {".cache"}, "nothing is written anywhere else"


def test_its_settings_and_options_exist() -> None:
    settings = (ROOT / "docs" / "configuration.md").read_text()
    for name in re.findall(r"\bCALOTYPE_[A-Z_]+[A-Z]\b", PAGE):
        assert name in settings or name in ("CALOTYPE_KEY", "CALOTYPE_PROVIDERS"), name
    options = (ROOT / "docs" / "cli.md").read_text()
    for name in re.findall(r"`(--[a-z-]+)", PAGE):
        assert f"`{name}`" in options, name
    for path in re.findall(r"\]\(([^)#]+)\)", PAGE):
        assert (ROOT / "docs" / path).exists(), path
