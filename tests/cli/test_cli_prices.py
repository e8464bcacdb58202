"""`calotype prices sync` against emulated lists: what it keeps, what it leaves, and what it says."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from program import Done

from calotype.catalog.synced import FILE
from calotype.sandbox.fal import Fal
from calotype.sandbox.openrouter import OpenRouter
from calotype.sandbox.serve import on_a_thread

Cli = Callable[..., Done]
KLING = "fal-ai/kling-video/v2.1/master/image-to-video"


@pytest.fixture(scope="module")
def fal() -> Iterator[Fal]:
    emulator = Fal()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture(scope="module")
def emulators(fal: Fal) -> Iterator[dict[str, str]]:
    """Return the variables that lead to running emulators."""
    openrouter = OpenRouter()
    with on_a_thread(openrouter):
        yield fal.environment() | openrouter.environment()


@pytest.fixture
def sync(cli: Cli, emulators: dict[str, str]) -> Callable[..., dict[str, Any]]:
    def run(*arguments: str) -> dict[str, Any]:
        done = cli("prices", "sync", "--json", *arguments, **emulators)
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def rows(answer: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {row["upstream"]: row for row in answer["prices"]}


def test_a_dry_run_shows_everything_and_keeps_nothing(sync, data_dir: Path) -> None:
    answer = sync("--dry-run")
    assert answer["dry_run"] and answer["new"] > 50
    assert not (data_dir / FILE).exists()
    found = rows(answer)
    assert found["fal-ai/flux/dev"]["price"] == {"unit": "megapixel", "per": 1, "micro": 25_000}
    assert found["fal-ai/minimax/speech-02-hd"]["price"] == {"unit": "character", "per": 1000, "micro": 100_000}
    token = found["google/gemini-3-flash-preview"]["price"]
    assert (token["unit"], token["per"]) == ("token", 1_000_000) and token["micro"] > token["input_micro"] > 0


def test_every_way_not_to_have_a_price_is_told_apart(sync) -> None:
    found = rows(sync("--dry-run"))
    assert found["fal-ai/flux/krea"]["state"] == "card"
    assert found["fal-ai/clarity-upscaler"]["state"] == "unfit"
    assert found["comfy/fal-ai/dynamic-lora-loading"]["state"] == "unread"
    assert "compute second" in found["comfy/fal-ai/dynamic-lora-loading"]["why"]


def test_what_is_kept_prices_the_models_and_is_the_same_the_next_time(
    sync, cli: Cli, emulators: dict[str, str]
) -> None:
    shown = json.loads(cli("models", "show", "fal-ai/flux/dev", "--json", **emulators).stdout)
    assert shown["price"]["text"] == "free", "nobody bills in the sandbox"
    first = sync()
    again = sync()
    assert (again["new"], again["changed"], again["same"]) == (0, 0, first["new"])
    shown = json.loads(cli("models", "show", "fal-ai/flux/dev", "--json", **emulators).stdout)
    assert (shown["price"]["unit"], shown["price"]["price_micro"]) == ("megapixel", 27_500)
    own = {"CALOTYPE_PRICES": '{"fal-ai/flux/dev": 7}'}
    shown = json.loads(cli("models", "show", "fal-ai/flux/dev", "--json", **emulators, **own).stdout)
    assert shown["price"]["price_micro"] == 7


def test_a_changed_price_is_shown_beside_the_one_before(sync, data_dir: Path) -> None:
    sync()
    kept = json.loads((data_dir / FILE).read_text())
    for one in kept["prices"]:
        if one["upstream"] == "fal-ai/flux/dev":
            one["micro"] = 1
    (data_dir / FILE).write_text(json.dumps(kept))
    answer = sync()
    assert (answer["changed"], answer["new"]) == (1, 0)
    assert rows(answer)["fal-ai/flux/dev"]["before"]["micro"] == 1


def test_a_file_that_cannot_be_read_is_written_anew(sync, data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / FILE).write_text("{")
    assert sync()["new"] > 50
    assert json.loads((data_dir / FILE).read_text())["prices"]


def test_people_are_told_where_it_is_kept_and_when_it_counts(cli: Cli, emulators: dict[str, str]) -> None:
    done = cli("prices", "sync", **emulators)
    assert f"{KLING}\tnew\t0.28 USD / second" in done.stdout
    (varies,) = [line for line in done.stdout.splitlines() if line.startswith("fal\tfal-ai/veo3\t")]
    assert "unfit" in varies and "generate_audio and resolution" in varies
    assert "when it is restarted" in done.stderr
    assert KLING not in cli("prices", "sync", **emulators).stdout, "only what differs is listed"


def test_trouble_is_one_sentence_without_the_key(cli: Cli, emulators: dict[str, str]) -> None:
    nobody = cli("prices", "sync")
    assert nobody.returncode == 1 and "fal or openrouter" in nobody.stderr
    refused = cli("prices", "sync", **emulators | {"FAL_KEY": "unknown:secret-5f0c"})
    assert refused.returncode == 1 and "401" in refused.stderr and "secret-5f0c" not in refused.stderr
    gone = cli("prices", "sync", FAL_KEY="a:b", CALOTYPE_PROVIDERS__FAL__BASE_URL="http://127.0.0.1:9/queue")
    assert gone.returncode == 1 and "cannot be reached" in gone.stderr and "Traceback" not in gone.stderr


def test_one_name_that_a_list_refuses_does_not_hide_the_others(cli: Cli, emulators: dict[str, str], fal: Fal) -> None:
    fal.settings["strict"] = 1
    try:
        named = {"CALOTYPE_PROVIDERS__FAL__MODELS": '{"krea-2": "me/unknown"}'}
        done = cli("prices", "sync", "--json", "--dry-run", **emulators, **named)
    finally:
        fal.reset()
    found = rows(json.loads(done.stdout))
    assert found["me/unknown"]["why"] == "the list refuses it with status 404"
    assert found["fal-ai/flux/dev"]["state"] == "new"
