"""`calotype models check`: every route of every model runs at an emulated upstream, and what is wrong is found."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from program import Done, Program

from calotype.catalog import Catalog
from calotype.cli.checking.cases import cases_of

CARDS = {card.id: card for card in Catalog.load().cards(everything=True)}
BUDGET_S = 60.0
Cli = Callable[..., Done]

CARD = """
id = "own/picture"
title = "Own picture"
operation = "text-to-image"
output = "{output}"
{price}

[input]
required = ["prompt"]

[input.properties]
prompt = {{ "$ref" = "_shared.toml#/prompt" }}

[example]
prompt = "a lighthouse"

[[routes]]
provider = "{provider}"
kind = "{kind}"
upstream = "{upstream}"
"""


def own(folder: Path, **changes: str) -> dict[str, str]:
    """Write a card of the operator's own and return the variables that lead to it."""
    words = {"output": "image", "price": "", "provider": "den", "kind": "openai", "upstream": "gpt-image-2"} | changes
    folder.mkdir()
    (folder / "own.toml").write_text(CARD.format(**words))
    return {"CALOTYPE_CARDS_DIR": str(folder)}


@pytest.fixture(scope="module")
def everything(program: Program, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Check all there is, once."""
    done = program.run(tmp_path_factory.mktemp("all") / "data", "models", "check", "--sandbox", "--all", "--json")
    found: dict[str, Any] = json.loads(done.stdout)
    faults = [one for one in found["findings"] if one["state"] == "failed"]
    assert not faults, json.dumps(faults, indent=1)
    assert (done.returncode, found["ok"]) == (0, True)
    return found


def test_every_card_is_looked_at_and_every_route_runs_or_is_not_here(everything: dict[str, Any]) -> None:
    looked_at = {one["card"] for one in everything["findings"] if one["provider"] is None}
    assert looked_at >= set(CARDS)
    ran = {(one["card"], one["provider"], one["upstream"], one["operation"]) for one in everything["findings"]}
    for case in cases_of(CARDS.values()):
        assert (case.card.id, case.route.provider, case.route.upstream, case.operation.value) in ran
    for one in everything["findings"]:
        if one["state"] == "skipped":
            assert one["provider"] == "local"
            assert one["why"].startswith("not here: ")


def test_a_retired_model_is_refused_with_what_to_use_instead(everything: dict[str, Any]) -> None:
    refused = {one["card"]: one["why"] for one in everything["findings"] if "is retired" in one["why"]}
    assert refused["dall-e-3"] == "dall-e-3 is retired. Use gpt-image-2 instead."
    assert "sora2-video" not in refused, "the emulator still has it"


def test_runs_deliver_and_charge_what_was_quoted(everything: dict[str, Any]) -> None:
    runs = [one for one in everything["findings"] if one["seconds"] is not None]
    assert len(runs) == everything["runs"] > 250
    assert all((one["charged_micro"] or 0) <= one["quote_micro"] for one in runs)
    charged = {one["card"] for one in runs if one["charged_micro"]}
    assert {"krea-2", "seedance-video", "gpt-image-2", "qwen3.5", "video-download", "voxtral-tts"} <= charged
    ledger = next(one for one in everything["findings"] if one["card"] == "(ledger)")
    assert ledger["charged_micro"] == sum(one["charged_micro"] or 0 for one in runs)
    assert "(paid requests)" in {one["card"] for one in everything["findings"]}


def test_conversations_are_shown_as_they_come(everything: dict[str, Any]) -> None:
    streamed = {one["provider"] for one in everything["findings"] if one["streamed"]}
    assert {"openrouter", "infomaniak", "scaleway", "google", "anthropic"} <= streamed


def test_it_is_done_in_the_time_of_a_step_of_continuous_integration(everything: dict[str, Any]) -> None:
    assert everything["seconds"] < BUDGET_S


def test_without_the_sandbox_cards_and_prices_are_looked_at(cli: Cli) -> None:
    found = json.loads(cli("models", "check", "--all", "--json").stdout)
    assert (found["ok"], found["cards"], found["runs"]) == (True, len(CARDS), 0)
    usual = json.loads(cli("models", "check", "--json").stdout)
    assert 0 < usual["cards"] < found["cards"]


def test_an_operators_own_card_and_provider_are_checked_too(cli: Cli, tmp_path: Path) -> None:
    variables = own(tmp_path / "cards")
    den = {"CALOTYPE_PROVIDERS__DEN__KIND": "openai", "CALOTYPE_PROVIDERS__DEN__BASE_URL": "http://10.255.255.1/v1"}
    done = cli("models", "check", "own/picture", "--sandbox", "--json", **variables, **den)
    assert done.returncode == 0, done.stderr
    (run,) = [one for one in json.loads(done.stdout)["findings"] if one["seconds"] is not None]
    assert (run["card"], run["provider"], run["outputs"]) == ("own/picture", "den", 1)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"upstream": "unknown-model"}, "unavailable"),
        (
            {
                "output": "video",
                "provider": "local",
                "kind": "local",
                "upstream": "sketch",
                "price": 'price = { unit = "request", micro = 10 }',
            },
            "could not be fetched",
        ),
        ({"provider": "nobody", "kind": "nobodys"}, "no emulator speaks as nobodys does"),
        ({"price": 'price = { unit = "second", micro = 10 }'}, "seconds"),
    ],
)
def test_what_is_wrong_with_a_card_is_told_in_a_row_of_a_table(
    cli: Cli, tmp_path: Path, changes: dict[str, str], why: str
) -> None:
    done = cli("models", "check", "own/picture", "--sandbox", **own(tmp_path / "cards", **changes))
    assert why in done.stdout
    (row,) = done.stdout.splitlines()[1:]
    left_out = "\tskipped\t" in row
    assert done.returncode == (0 if left_out else 1), "what cannot be emulated is no failure"
    assert left_out is (changes.get("kind") == "nobodys")


def test_the_list_shows_every_row_priced_or_marked_and_what_each_route_lacks(cli: Cli) -> None:
    listed = json.loads(cli("models", "list", "--all", "--json").stdout)
    assert {row for one in listed for row in one["csv_rows"]} == set(range(1, 135))
    cards = {one["id"]: one for one in listed}
    assert cards["krea-2"]["price"]["price_micro"] == 33_000
    assert {route["provider"]: route["why"] for route in cards["krea-2"]["routes"]} == {
        "fal": "fal is not set up: set FAL_KEY",
        "comfyui": "no worker here: run calotype workers add, or set workers.<name>.url for comfyui",
    }
    veo = cards["fal-ai/veo3"]
    assert veo["price"] is None
    assert veo["unpriced"] == (
        "no price list that is known says what fal charges for it: set prices.fal-ai/veo3, or run calotype prices sync"
    )
    weights = cards["local/transcribe"]["routes"][0]
    assert "weights:whisper-base" in weights["lacks"]
    assert "calotype models pull whisper-base" in weights["why"]


def test_an_unknown_model_is_refused_with_those_that_are_near(cli: Cli) -> None:
    done = cli("models", "check", "local/skech")
    assert done.returncode == 1
    assert "local/sketch" in done.stderr
