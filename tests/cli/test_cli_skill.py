"""`calotype skill export`: an archive for the server that the settings name."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path

from program import Done

Cli = Callable[..., Done]


def table(archive: Path) -> dict[str, object]:
    with zipfile.ZipFile(archive) as opened:
        found: dict[str, object] = json.loads(opened.read("calotype/scripts/services.json"))
        return found


def test_it_is_written_where_it_is_asked_for_and_names_the_public_address(cli: Cli, tmp_path: Path) -> None:
    done = cli("skill", "export", cwd=tmp_path, CALOTYPE_PUBLIC_URL="https://media.example.org/")
    assert done.returncode == 0 and done.stdout == "" and "https://media.example.org" in done.stderr
    assert table(tmp_path / "calotype-skill.zip")["url"] == "https://media.example.org"


def test_an_address_that_is_given_wins(cli: Cli, tmp_path: Path) -> None:
    done = cli(
        "skill", "export", "-o", "agent.zip", "--url", "http://10.0.0.7:8700/", "--json", cwd=tmp_path,
        CALOTYPE_PUBLIC_URL="https://media.example.org",
    )  # fmt: skip
    assert json.loads(done.stdout)["url"] == table(tmp_path / "agent.zip")["url"] == "http://10.0.0.7:8700"


def test_it_needs_no_data_directory(cli: Cli, data_dir: Path, tmp_path: Path) -> None:
    assert cli("skill", "export", cwd=tmp_path).returncode == 0
    assert not data_dir.exists()


def test_a_folder_that_is_not_there_is_told_in_a_sentence(cli: Cli, tmp_path: Path) -> None:
    done = cli("skill", "export", "-o", "nowhere/agent.zip", cwd=tmp_path)
    assert done.returncode == 1 and done.stderr.startswith("calotype: ") and "Traceback" not in done.stderr
