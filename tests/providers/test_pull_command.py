"""`calotype models pull` and `pulled`, as an operator runs them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from calotype.providers.local.weights import entries


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """Return a folder with files of the right names and sizes, and wrong content."""
    entry = entries()["whisper-base"]
    folder = tmp_path / "source"
    (folder / entry.id).mkdir(parents=True)
    for file in entry.files:
        with (folder / entry.id / file.name).open("wb") as body:
            body.truncate(file.size_bytes)
    return folder


def run(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("CALOTYPE_")}
    command = [sys.executable, "-m", "calotype", "--data-dir", str(data_dir), "models", *arguments]
    return subprocess.run(
        command, check=False, capture_output=True, text=True, env=environment, cwd=data_dir.parent, timeout=60
    )


def test_what_cannot_be_pulled_is_one_sentence_and_exit_1(tmp_path: Path, source: Path) -> None:
    data_dir = tmp_path / "data"
    for arguments, words in (
        (("no-such",), "No weights are called 'no-such'; there are "),
        (("whisper-base", "--from", str(tmp_path / "nowhere")), "nowhere is not a folder."),
        (("whisper-base", "--from", str(source)), "model.bin is not the pinned file: its SHA-256 is "),
        (("whisper-base", "--url", "ftp://mirror"), "ftp://mirror is not an http or https address."),
    ):
        done = run(data_dir, "pull", *arguments)
        assert (done.returncode, done.stdout) == (1, "")
        (line,) = done.stderr.splitlines()
        assert line.startswith("calotype: ") and words in line
    assert json.loads(run(data_dir, "pulled", "--json").stdout) == []


def test_the_lists_say_what_is_here_and_how_to_have_the_rest(tmp_path: Path, source: Path) -> None:
    data_dir = tmp_path / "data"
    listed = run(data_dir, "pulled", "--all").stdout.splitlines()
    assert listed[0].split("\t") == ["ID", "TITLE", "LICENCE", "SIZE", "ON THIS MACHINE"]
    assert any(line.endswith("calotype models pull whisper-base") for line in listed)
    shown = run(data_dir, "show", "local/transcribe").stdout
    assert "runs here    no" in shown and "run calotype models pull whisper-base" in shown
    runs = {one["id"]: one["available"] for one in json.loads(run(data_dir, "list", "--all", "--json").stdout)}
    assert runs["local/tts"] and not runs["local/transcribe"] and not runs["local/smollm2-135m"]
    data_dir.mkdir(exist_ok=True)
    source.rename(data_dir / "models")
    (here,) = json.loads(run(data_dir, "pulled", "--json").stdout)
    assert (here["id"], here["pulled"]) == ("whisper-base", True)
    assert "runs here    yes" in run(data_dir, "show", "local/transcribe").stdout
