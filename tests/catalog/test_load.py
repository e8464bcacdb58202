"""Operator cards and settings change the catalogue; a mistake in them names file, key and what would be accepted."""

from datetime import date
from pathlib import Path

import pytest

from calotype.catalog import CardError, Catalog, Declaration, Pricing
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import KeyClass
from calotype.settings import PhiAgreement, ProviderSettings

BENCH = """
id = "bench-image"
title = "Bench"
description = "For measuring."
operation = "text-to-image"
output = "image"
aliases = ["bench"]

[input]
required = ["prompt"]
[input.properties]
prompt = { "$ref" = "_shared.toml#/prompt" }
n = { "$ref" = "_shared.toml#/n" }

[example]
prompt = "a cat"

[[routes]]
provider = "bench"
upstream = "instant"
fields = { n = "count" }
constants = { response_format = "b64_json" }
cost_source = "ours"
cost = { unit = "image", micro = 1000 }
"""


def load(folder: Path, *texts: str, pricing: Pricing | None = None, **providers: ProviderSettings) -> Catalog:
    for index, text in enumerate(texts):
        (folder / f"own{index}.toml").write_text(text)
    return Catalog.load(folder, providers, pricing)


def test_an_operator_adds_a_model_of_a_named_provider(tmp_path: Path) -> None:
    catalog = load(tmp_path, BENCH, bench=ProviderSettings(kind="openai", base_url="http://127.0.0.1:9"))
    card = catalog.find("bench")
    (route,) = card.routes
    assert (card.id, card.count, route.kind, route.priced) == ("bench-image", "n", "openai", True)
    assert route.example_micro == 1100
    sent = route.upstream_fields({"prompt": "a", "n": 2})
    assert sent == {"prompt": "a", "count": 2, "response_format": "b64_json"}
    assert route.key_classes == {KeyClass.PAID, KeyClass.UNLIMITED}


def test_an_operators_card_replaces_the_built_in_one(tmp_path: Path) -> None:
    catalog = load(tmp_path, BENCH.replace("bench-image", "krea-2").replace("aliases", "tags"))
    assert catalog.find("krea-2").title == "Bench"
    assert catalog.find("local/sketch").title == "Sketch"


def test_a_family_shares_a_file_and_own_fragments(tmp_path: Path) -> None:
    (tmp_path / "_own.toml").write_text('[words]\ntype = "string"\n')
    one = '[[cards]]\nid = "ID"\ntitle = "T"\noperation = ["chat", "ocr"]\noutput = "text"\n'
    one += '[cards.input.properties]\nwords = { "$ref" = "_own.toml#/words", maxLength = 5 }\n[cards.example]\n'
    catalog = load(tmp_path, one.replace("ID", "x/one") + one.replace("ID", "x/two"))
    assert catalog.find("x/two").schema.properties["words"] == {"type": "string", "maxLength": 5}


def test_settings_say_where_a_provider_runs_and_under_which_agreement() -> None:
    agreement = PhiAgreement(reference="DPA 7", expires=date(2027, 1, 1))
    settings = ProviderSettings(regions=["EU", "CH"], phi=agreement, key_classes=[KeyClass.PAID])
    (route,) = Catalog.load(providers={"openai": settings}).find("gpt-image-2").routes
    assert route.regions == {"EU", "CH"}
    assert route.phi == Declaration("DPA 7", date(2027, 1, 1))
    assert route.key_classes == {KeyClass.PAID}


def test_a_card_and_settings_narrow_the_regions_together(tmp_path: Path) -> None:
    card = BENCH.replace('upstream = "instant"', 'upstream = "instant"\nregions = ["EU", "US"]')
    own = load(tmp_path, card, bench=ProviderSettings(kind="openai", regions=["EU", "CH"]))
    assert own.find("bench").routes[0].regions == {"EU"}
    assert load(tmp_path, card).find("bench").routes[0].regions == {"EU", "US"}


def test_settings_add_a_route_to_a_card() -> None:
    azure = ProviderSettings(kind="openai", models={"gpt-image-2": "my-deployment"})
    mirror = ProviderSettings(kind="openai", models={"gpt-image-2": "gpt-image-2"})
    card = Catalog.load(providers={"azure": azure, "mirror": mirror}).find("gpt-image-2")
    by_provider = {route.provider: route for route in card.routes}
    assert list(by_provider) == ["openai", "mirror", "azure"], "known costs come first"
    assert by_provider["azure"].upstream == "my-deployment"
    assert not by_provider["azure"].priced
    assert by_provider["mirror"].priced
    own = Pricing(overrides={"gpt-image-2": 50_000})
    assert all(route.priced for route in Catalog.load(None, {"azure": azure}, own).find("gpt-image-2").routes)


def test_settings_rename_the_upstream_model_of_a_cards_own_route() -> None:
    fal = ProviderSettings(models={"krea-2": "fal-ai/krea-2/turbo"})
    routes = Catalog.load(providers={"fal": fal}).find("krea-2").routes
    assert [route.upstream for route in routes if route.provider == "fal"] == ["fal-ai/krea-2/turbo"]


def test_the_demos_price_makes_a_free_model_cost() -> None:
    catalog = Catalog.load(pricing=Pricing(overrides={"local/sketch": 1_000}))
    assert catalog.find("local/sketch").routes[0].example_micro == 1_000


def test_an_unknown_model_is_refused_with_near_matches() -> None:
    catalog = Catalog.load()
    with pytest.raises(Problem) as caught:
        catalog.find("krea2")
    assert (caught.value.code, caught.value.data["near"]) == (Code.MODEL_NOT_FOUND, ["krea-2"])
    assert "krea-2" in caught.value.message
    with pytest.raises(Problem) as caught:
        catalog.find("sketch")
    assert caught.value.data["near"][0] == "local/sketch"
    with pytest.raises(Problem) as caught:
        catalog.find("z" * 5000)
    assert len(caught.value.message) < 200


def test_a_retired_model_names_its_replacement(tmp_path: Path) -> None:
    catalog = load(tmp_path, BENCH.replace('aliases = ["bench"]', 'status = "retired"\nreplacement = "krea-2"'))
    with pytest.raises(Problem) as caught:
        catalog.find("bench-image")
    assert (caught.value.code, caught.value.data) == (Code.MODEL_RETIRED, {"replacement": "krea-2"})
    assert "bench-image" not in {card.id for card in catalog.cards()}
    assert "bench-image" in {card.id for card in catalog.cards(everything=True)}


def test_a_deprecated_model_warns(tmp_path: Path) -> None:
    life = 'status = "deprecated"\nshutdown_date = 2027-03-01\nreplacement = "krea-2"'
    card = load(tmp_path, BENCH.replace('aliases = ["bench"]', life)).find("bench-image")
    assert card.check({"prompt": "a"}).warnings == ("bench-image stops on 2027-03-01; use krea-2 instead",)
    assert card.retired(date(2027, 3, 1))
    assert not card.retired(date(2027, 2, 28))


MISTAKES: dict[str, tuple[str, str, str, str]] = {
    "unknown key": ('title = "Bench"', 'titel = "Bench"', "titel", "title"),
    "missing key": ('title = "Bench"', "", "title", "is required"),
    "unknown key in a route": ('upstream = "instant"', 'upstrem = "instant"', "upstrem", "upstream"),
    "unknown key in a rule": ("micro = 1000", "price = 1000", "price", "micro"),
    "unknown unit": ('unit = "image"', 'unit = "picture"', "cost", "megapixel"),
    "no unit": ('unit = "image", ', "", "unit", "megapixel"),
    "fractional price": ("micro = 1000", "micro = 0.001", "micro", "int"),
    "negative price": ("micro = 1000", "micro = -1", "micro", ">= 0"),
    "unknown operation": ('operation = "text-to-image"', 'operation = "painting"', "operation", "text-to-image"),
    "unknown output": ('output = "image"', 'output = "picture"', "output", "video"),
    "unknown region": ('upstream = "instant"', 'upstream = "i"\nregions = ["Mars"]', "regions", "LATAM"),
    "cost without a source": ('cost_source = "ours"', "", "cost_source", "published"),
    "unknown field in a mapping": ("{ n =", "{ m =", "routes[0].fields", "prompt"),
    "unknown fragment": ("#/prompt", "#/promt", "input.properties.prompt.$ref", "#/prompt"),
    "no schema": ("[input]\n", '[input]\npatternProperties = "x"\n', "input", "JSON Schema"),
    "unknown size rule": ("maximum = 3", "x", "input", "JSON Schema"),
    "example it does not take": ('prompt = "a cat"', 'promt = "a cat"', "example", "prompt"),
    "taken alias": ('["bench"]', '["wan"]', "aliases", "choose another"),
    "reserved id": ('"bench-image"', '"auto"', "id", "taken"),
    "odd id": ('"bench-image"', '"bench image"', "id", "letters"),
    "count of no field": ('output = "image"', 'output = "image"\ncount = "num"', "count", "prompt"),
    "retired without replacement": ('aliases = ["bench"]', 'status = "retired"', "replacement", "use instead"),
    "deprecated without a day": ('aliases = ["bench"]', 'status = "deprecated"', "shutdown_date", "YYYY-MM-DD"),
    "unknown replacement": ('aliases = ["bench"]', 'replacement = "krea2"', "replacement", "krea-2"),
    "no length to price": ('unit = "image"', 'unit = "second"', "cost", "max"),
    "a cell missing": (
        'unit = "image", micro = 1000',
        'unit = "matrix", base = "image", fields = ["n"], cells = { 1 = 5 }',
        "cost",
        "n=10",
    ),
    "a cell of another shape": (
        'unit = "image", micro = 1000',
        'unit = "matrix", base = "image", fields = ["n"], cells = { "1/2" = 5 }',
        "cost",
        "cells",
    ),
    "cost in credits": ('unit = "image"', 'unit = "credit"', "cost", "USD"),
    "not TOML": ("[input]", "[input", "file", "TOML"),
}


@pytest.mark.parametrize("mistake", MISTAKES)
def test_a_mistake_in_a_card_names_file_key_and_what_would_do(mistake: str, tmp_path: Path) -> None:
    written, instead, key, accepted = MISTAKES[mistake]
    text = BENCH.replace(written, instead, 1)
    if mistake == "unknown size rule":
        text = BENCH.replace("[example]", 'size = { type = "string", x-size = { minimum = 3 } }\n[example]')
    with pytest.raises(CardError) as caught:
        load(tmp_path, text)
    said = str(caught.value)
    assert said.startswith("own0.toml: ")
    assert key in caught.value.key
    assert accepted in said


def test_mistakes_in_settings_are_named(tmp_path: Path) -> None:
    with pytest.raises(CardError, match=r"prices\.local/sketh: .*local/sketch"):
        Catalog.load(pricing=Pricing(overrides={"local/sketh": 1}))
    with pytest.raises(CardError, match=r"prices\.local/sketch: .*from 0"):
        Catalog.load(pricing=Pricing(overrides={"local/sketch": -1}))
    with pytest.raises(CardError, match=r"providers\.x\.models: .*gpt-image-2"):
        Catalog.load(providers={"x": ProviderSettings(kind="openai", models={"gpt-image": "a"})})
    with pytest.raises(CardError, match="not a folder"):
        Catalog.load(tmp_path / "nowhere")
    with pytest.raises(CardError, match="already in own0"):
        load(tmp_path, BENCH, BENCH)
