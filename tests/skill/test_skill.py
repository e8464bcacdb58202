"""The skill for agents: true to the services, and its script makes things at the running server."""

import io
import json
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from PIL import Image

from calotype.catalog import Catalog, Pricing
from calotype.dialects.jobs.app import BELOW, EXACT, PREFIX
from calotype.dialects.jobs.services import SERVICES
from calotype.llms import cards_of
from calotype.skill import files, packed
from calotype.skill.export import NAME, name_of
from running import Account, House

URL = "https://gateway.example"
OFFERED = [one for one in SERVICES if cards_of(one, Catalog.load())]


@pytest.fixture(scope="module")
def written() -> dict[str, str]:
    return files(Catalog.load(), URL)


@pytest.fixture
def unpacked(house: House, tmp_path: Path) -> Path:
    archive = zipfile.ZipFile(io.BytesIO(packed(house.app.catalog, house.url)))
    assert archive.testzip() is None
    assert {Path(name).parts[0] for name in archive.namelist()} == {NAME}
    archive.extractall(tmp_path)
    return tmp_path / NAME


def run(skill: Path, key: str, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    return subprocess.run(
        [sys.executable, "-I", skill / "scripts" / "calotype_job.py", *words, "--every", "0.1"],
        env=kept | {"CALOTYPE_KEY": key} | variables, capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip


def test_its_head_is_that_of_an_agent_skill(written: dict[str, str]) -> None:
    head = re.match(r"---\n(.+?)\n---\n", written["SKILL.md"], re.DOTALL)
    assert head is not None
    fields = dict(line.split(": ", 1) for line in head[1].splitlines())
    assert fields["name"] == NAME and re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", NAME)
    assert 0 < len(fields["description"]) <= 1024 and ": " not in fields["description"]
    assert len(written["SKILL.md"].splitlines()) < 500
    for link in re.findall(r"\]\(([^)]+)\)", written["SKILL.md"]):
        assert link in written


def test_the_same_services_make_the_same_archive() -> None:
    assert packed(Catalog.load(), URL) == packed(Catalog.load(), URL)


def test_every_service_is_in_it_under_a_name_of_its_own(written: dict[str, str]) -> None:
    table = json.loads(written["scripts/services.json"])
    assert table["url"] == URL
    assert len(table["services"]) == len(OFFERED) == len({name_of(one) for one in OFFERED})
    for one in OFFERED:
        assert f"| `{name_of(one)}` |" in written["SKILL.md"]
        assert f"\n## {name_of(one)}\n" in written["references/services.md"]
        assert table["services"][name_of(one)]["create"] == PREFIX + one.create


def test_every_path_in_it_is_served(written: dict[str, str]) -> None:
    exact = {path for _, path in EXACT}
    for text in written.values():
        for path in re.findall(rf"{PREFIX}(/[a-z0-9/-]+)", text):
            assert path in exact or path in BELOW, path


def test_every_field_and_price_of_a_service_is_in_its_reference(written: dict[str, str]) -> None:
    catalog = Catalog.load()
    sections = dict(re.findall(r"## ([a-z0-9-]+)\n(.+?)(?=\n## |\Z)", written["references/services.md"], re.DOTALL))
    for one in OFFERED:
        section = sections[name_of(one)]
        card = catalog.find(one.models[0])
        said = {own: name for name, own in one.names.items()}
        for field in card.fields:
            assert f"- `{said.get(field, field)}` (" in section, (one.create, field)
        assert all(f"`{name}`" in section for name in one.results)
    assert "- Credits: 0.5 per request" in sections["image-to-video"]
    assert "- Credits with `model` veo3: 50 per request" in sections["veo31-video"]
    assert "- Credits: free" in sections["merge-video"]
    assert "Debited when it is done" in sections["seedream"]
    assert "| 2 to 35 per request |" in written["SKILL.md"] and "| 0.5 per 10 MB |" in written["SKILL.md"]


def test_prices_are_in_the_operators_credits() -> None:
    text = files(Catalog.load(pricing=Pricing(credit_micro=60_000, overrides={"local/merge-audio": 6_000})), URL)
    assert re.search(r"\| `merge-audio` \| .+ \| 0\.1 per ", text["SKILL.md"])


def test_a_service_without_a_model_in_force_is_left_out() -> None:
    assert not any(name_of(one).startswith("sora2") for one in OFFERED), "Sora is retired"
    kept = [card for card in Catalog.load().cards() if card.id != "seedream" and card.replacement is None]
    assert "seedream" not in files(Catalog(kept, Pricing()), URL)["SKILL.md"]


def test_its_script_uploads_a_picture_makes_a_film_of_it_and_saves_it(
    unpacked: Path, account: Account, tmp_path: Path
) -> None:
    Image.new("RGB", (96, 64), "teal").save(tmp_path / 'a "photo".png')
    picture, film = tmp_path / 'a "photo".png', tmp_path / "film.mp4"
    done = run(
        unpacked, account.key(), "image-to-video", f"image_url=@{picture}", "duration:=1", "-o", str(film)
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["status"] == "completed"
    assert film.read_bytes()[4:8] == b"ftyp"
    assert (account.jobs, account.spent_micro, account.held_micro) == (1, 15_000, 0)


def test_its_script_says_what_is_wrong_and_nothing_is_charged(unpacked: Path, account: Account) -> None:
    key = account.key()
    wrong = {
        ("image-to-video", "duration:=1"): "image_url",
        ("image-to-video", "image_url=x", "duration=5"): "duration",
        ("image-to-video", "image_url=@nothing.png"): "There is no file nothing.png.",
        ("image-to-video", "duration:=five"): "no JSON",
        ("image-to-video", "duration"): "name=text",
        ("paint",): "There is no service paint; there are extract-last-frame",
    }
    for words, said in wrong.items():
        done = run(unpacked, key, *words)
        assert done.returncode == 1 and said in done.stderr and "Traceback" not in done.stderr, done.stderr
        assert key not in done.stderr and done.stdout == ""
    assert "401" in run(unpacked, "ct_live_wrong", "merge-audio", 'audio_urls:=["x", "y"]').stderr
    assert "CALOTYPE_KEY" in run(unpacked, "", "merge-audio").stderr
    assert "https://" in run(unpacked, key, "merge-audio", CALOTYPE_URL="file:///etc/passwd").stderr
    account.untouched()
    assert json.loads(run(unpacked, key, "list").stdout) == sorted(name_of(one) for one in OFFERED)
