"""The demo: from nothing to a picture, a charge and commands that work."""

import shlex
from pathlib import Path


def _facts(text: str) -> dict[str, str]:
    return {name.strip(): value for name, _, value in (line.partition("  ") for line in text.splitlines())}


def test_the_demo_draws_a_picture_and_charges_for_it(cli, tmp_path: Path) -> None:
    done = cli(
        "demo", "two penguins", cwd=tmp_path,
        CALOTYPE_DATABASE_URL="postgresql://never:asked@127.0.0.1:1/none", OPENAI_API_KEY="sk-never-used",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    shown = _facts(done.stdout)
    assert (tmp_path / shown["file"].strip()).read_bytes().startswith(b"\x89PNG")
    assert shown["file"].strip().startswith("demo-output/")
    assert shown["price"].strip() == "0.001 USD charged"
    assert shown["balance"].strip() == "1.00 USD before, 0.999 USD after"
    assert shown["model"].strip() == "local/sketch (procedural illustration, not an AI model)"
    again = cli("demo", "two penguins", cwd=tmp_path)
    assert _facts(again.stdout)["balance"].strip() == "1.00 USD before, 0.999 USD after"

    command = next(line for line in done.stderr.splitlines() if " generate " in line)
    arguments = shlex.split(command)
    arguments = arguments[arguments.index("generate") :]
    assert cli(*arguments, cwd=tmp_path).returncode == 0


def test_a_demo_that_fails_shows_the_end_of_the_servers_log(cli, tmp_path: Path) -> None:
    (tmp_path / "demo-output" / "server.log").mkdir(parents=True)
    done = cli("demo", cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    done = cli("demo", "x" * 100_000, "-o", "elsewhere", cwd=tmp_path)
    assert done.returncode == 1
    assert "The demo failed" in done.stderr
    assert "listens on" in done.stderr
