"""Prices from upstreams' own lists: exact, never guessed, and never in the place of a figure that somebody wrote."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from calotype.catalog import CardError, Catalog, quote
from calotype.catalog import rules as r
from calotype.catalog.card import SANDBOX
from calotype.catalog.prices import Pricing
from calotype.catalog.synced import FILE, pricing_of, read, write
from calotype.catalog.unit_prices import UnitPrice, counted, exact, unit_of
from calotype.settings import ProviderSettings, Settings

FLUX, TTS, LLM = "fal-ai/flux/dev", "fal-ai/minimax/speech-02-hd", "fal-ai/any-llm"


def price(upstream: str = FLUX, unit: Any = "image", micro: int = 25_000, per: int = 1, **more: Any) -> UnitPrice:
    more = {"provider": "fal", "base_url": "", "source": "fal's price list", "on": "2026-11-20"} | more
    return UnitPrice(upstream=upstream, unit=unit, micro=micro, per=per, **more)


def hold(model: str, fields: dict[str, Any], *prices: UnitPrice, **pricing: Any) -> tuple[int, str]:
    synced = {(one.provider, one.upstream): one for one in prices}
    catalog = Catalog.load(
        None, {"fal": ProviderSettings()}, Pricing(**{"margin_bps": 0, **pricing, "synced": synced})
    )  # fmt: skip
    card = catalog.find(model)
    route = next(one for one in card.routes if one.provider == "fal")
    checked = card.check({**card.example, **fields}).input
    return quote(card, route, checked, catalog.pricing).hold_micro, route.cost_source


@pytest.mark.parametrize(
    ("words", "unit"),
    [
        ("image", ("image", 1)), ("images", ("image", 1)), ("Megapixels", ("megapixel", 1)), ("second", ("second", 1)),
        ("minutes", ("minute", 1)), ("videos", ("request", 1)), ("1000 characters", ("character", 1000)),
        ("1k chars", ("character", 1000)), ("1m tokens", ("token", 1_000_000)), ("1000 steps", ("step", 1000)),
        ("compute second", None), ("compute seconds", None), ("GPU-H100", None), ("", None), ("0 images", None),
        ("per image", None), ("12345678 images", None),
    ],
)  # fmt: skip
def test_a_unit_is_understood_or_not_guessed(words: str, unit: tuple[str, int] | None) -> None:
    assert unit_of(words) == unit


@pytest.mark.parametrize(
    ("usd", "per", "amount"),
    [
        ("0.025", 1, (25_000, 1)), ("0.1", 1000, (100_000, 1000)), ("0.0000025", 1, (25, 10)), ("0", 1, (0, 1)),
        ("0.00000000000000001", 1, None), ("-1", 1, None), ("NaN", 1, None), ("1e30", 1, None),
    ],
)  # fmt: skip
def test_a_price_is_whole_micro_usd_without_rounding(usd: str, per: int, amount: tuple[int, int] | None) -> None:
    assert exact(Decimal(usd), per) == amount


def test_a_model_without_a_figure_takes_the_lists_in_the_lists_unit() -> None:
    assert hold(FLUX, {"num_images": 2}, price()) == (50_000, "fal's price list, 2026-11-20")
    assert hold(FLUX, {"num_images": 2}, price(unit="megapixel"))[0] == 50_000
    assert hold(FLUX, {"image_size": {"width": 2048, "height": 1024}}, price(unit="megapixel"))[0] == 50_000
    assert hold(TTS, {"text": "x" * 50}, price(TTS, "character", 100_000, 1000))[0] == 5_000
    kling = "fal-ai/kling-video/v2.1/master/image-to-video"
    assert hold(kling, {"duration": "5"}, price(kling, "second", 280_000))[0] == 1_400_000
    assert hold(kling, {}, price(kling, "request", 400_000))[0] == 400_000


def test_a_premium_language_model_costs_ten_times_the_rate() -> None:
    rate = price(LLM, "request", 1_000)
    assert hold(LLM, {"model": "openai/gpt-4o"}, rate)[0] == 10_000
    assert hold(LLM, {"model": "openai/gpt-4o-mini"}, rate)[0] == 1_000
    assert hold("openai/gpt-4o", {}, rate)[0] == 10_000
    assert hold("openai/gpt-4o-mini", {}, rate)[0] == 1_000


def test_a_figure_of_the_card_and_one_of_the_operator_stay_in_force() -> None:
    assert hold("krea-2", {}, price("fal-ai/flux/krea", micro=1))[0] == 30_000
    assert hold(FLUX, {}, price(), overrides={FLUX: 99_000})[0] == 99_000
    assert hold("content-image-generate", {}, price("fal-ai/flux/schnell"))[0] == 198_000


def test_a_unit_that_the_card_cannot_count_changes_nothing() -> None:
    for unit in ("second", "character", "token", "step"):
        assert hold(FLUX, {}, price(unit=unit)) == (0, "unknown")
    assert hold("fal-ai/clarity-upscaler", {}, price("fal-ai/clarity-upscaler", "megapixel"))[1] == "unknown"


def test_a_unit_does_not_price_a_model_whose_options_change_the_bill_in_an_unpublished_way() -> None:
    assert hold("fal-ai/veo3", {"generate_audio": True}, price("fal-ai/veo3", "second", 200_000)) == (0, "unknown")


def test_sizes_of_unknown_meaning_are_not_counted_in_megapixels() -> None:
    size = {"x-size": {"words": ["auto_4K"]}}
    for fields in ({"image_size": size}, {}):
        found = counted(None, price(unit="megapixel"), output="image", count=None, fields=fields)
        assert found is None
    many = counted(r.Image(), price(unit="request"), output="image", count="num_images", fields={})
    assert many is None, "a price for a request says nothing about several images"


def test_what_is_kept_is_read_again_and_counts_only_where_it_was_asked(tmp_path: Path) -> None:
    assert read(tmp_path) == ()
    here = price(base_url="http://127.0.0.1:1/queue")
    write(tmp_path, [price(LLM, "request", 1_000), here])
    assert set(read(tmp_path)) == {price(LLM, "request", 1_000), here}

    def settings(url: str | None) -> Settings:
        return Settings(data_dir=tmp_path, providers={"fal": ProviderSettings(base_url=url)})

    assert set(pricing_of(settings(None)).synced) == {("fal", LLM)}
    assert set(pricing_of(settings("http://127.0.0.1:1/queue")).synced) == {("fal", FLUX)}
    assert pricing_of(settings("https://queue.example.com")).synced == {}


def test_the_sandboxs_own_list_comes_before_its_being_free() -> None:
    url = "http://127.0.0.1:1/queue"
    fal = ProviderSettings(base_url=url)
    here = Pricing(synced={("fal", FLUX): price(base_url=url)})
    assert Catalog.load(None, {"fal": fal}, here).find(FLUX).routes[0].cost_source.startswith("fal's price list")
    assert Catalog.load(None, {"fal": fal}).find(FLUX).routes[0].cost_source == SANDBOX


def test_a_file_that_is_not_ours_is_named(tmp_path: Path) -> None:
    (tmp_path / FILE).write_text("{}]")
    with pytest.raises(CardError, match=FILE):
        read(tmp_path)
