"""Every example of `examples/` runs as it stands, with the real packages, against the running server."""

import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from example_house import CONTENT_MICRO, PICTURE_MICRO
from PIL import Image

import calotype.dialects
import node
from dialects_fal.fal_tls import Secure
from running import House

pytestmark = pytest.mark.client
ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "examples"
DIALECTS = sorted(one.name for one in pkgutil.iter_modules(calotype.dialects.__path__) if one.ispkg)
EXAMPLES = sorted(path for name in DIALECTS for path in (FOLDER / name).iterdir() if path.is_file())
PACKAGES = {"fal": "fal-node"}
"""Dialect → where the npm packages of its example are; those of the others are in `node`."""
CHARGED_MICRO = {
    "openai": PICTURE_MICRO, "fal": PICTURE_MICRO, "image": PICTURE_MICRO, "content": CONTENT_MICRO, "jobs": 15_000,
}  # fmt: skip


def command(example: Path, folder: Path) -> list[str | Path]:
    """Return how an example is run, after it was laid into a folder of its own."""
    script = Path(shutil.copy(example, folder))
    if example.suffix == ".py":
        return [sys.executable, script]
    if example.suffix == ".sh":
        for tool in ("curl", "jq"):
            if shutil.which(tool) is None:
                pytest.skip(f"needs {tool}")
        return ["sh", script]
    packages = node.installed(PACKAGES.get(example.parent.name, "node"))
    (folder / "node_modules").symlink_to(packages.folder / "node_modules")
    return [node.BIN / "node", script]


def variables(house: House, key: str) -> dict[str, str]:
    """Return an environment without anything of whoever runs the tests, and with a home of its own."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR", "LD_LIBRARY_PATH") if name in os.environ}
    return kept | {"CALOTYPE_URL": house.url, "CALOTYPE_KEY": key}


def test_every_api_has_an_example_in_every_language() -> None:
    for name in DIALECTS:
        assert {path.suffix for path in EXAMPLES if path.parent.name == name} == {".py", ".mjs", ".sh"}, name


def test_the_list_of_examples_names_each_of_them_and_nothing_else() -> None:
    links = re.findall(r"\]\(((?!\.\.)[^)#:]+)\)", (FOLDER / "README.md").read_text())
    assert {link for link in links if "/" in link} == {str(path.relative_to(FOLDER)) for path in EXAMPLES}
    assert all((FOLDER / link).exists() for link in links)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: f"{path.parent.name}-{path.name}")
def test_it_makes_what_it_says_and_is_charged_once(
    example: Path, house: House, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    account = house.account()
    key = account.key()
    environment = variables(house, key) | {"HOME": str(tmp_path)}
    if example.parent.name == "fal" and example.suffix == ".py":
        secure: Secure = request.getfixturevalue("secure")
        environment |= secure.recipe_a() | {"FAL_KEY": key}
    given = []
    if example.stem == "film":
        Image.new("RGB", (320, 240), "teal").save(tmp_path / "photo.jpg")
        given = ["photo.jpg"]
    done = subprocess.run(
        [*command(example, tmp_path), *given], cwd=tmp_path, env=environment, capture_output=True, text=True,
        timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]
    assert key not in done.stdout + done.stderr
    if example.stem == "film":
        assert (tmp_path / "film.mp4").read_bytes()[4:8] == b"ftyp"
        assert "film.mp4; " in done.stdout
    else:
        with Image.open(tmp_path / "lighthouse.png") as picture:
            assert (picture.format, picture.size) == ("PNG", (1024, 768))
        assert "lighthouse.png" in done.stdout
    charged = CHARGED_MICRO[example.parent.name]
    assert (account.jobs, account.spent_micro, account.held_micro) == (1, charged, 0)
