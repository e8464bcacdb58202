"""KIE's variables, its models once an account is set up, and their published prices in credits."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from calotype.catalog import Card, Catalog, Pricing, Quote, cost_of, quote
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation
from calotype.providers.registry import build_runtimes
from calotype.sandbox.kie import Kie
from calotype.settings import Settings

Set = Callable[..., Settings]
RUNNING = (
    "text-to-image", "seedream", "nano-banana", "text-to-music", "seedance-video", "kling-motion-control", "veo3_fast",
    "veo3",
)  # fmt: skip
TAKEN_AWAY = ("sora2-text-to-video", "sora2-video", "sora2-character")
CREDIT = 30_000


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Set:
    """Return a reader of the settings that these variables make."""
    monkeypatch.chdir(tmp_path)

    def read(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Settings()

    return read


async def test_kies_variables_set_up_an_account(settings: Set, tmp_path: Path) -> None:
    read = settings(KIE_API_KEY="k", KIE_BASE_URL="http://den:9", KIE_UPLOAD_BASE_URL="http://den:10")
    one = read.providers["kie"]
    assert (one.kind, one.base_url, one.upload_base_url) == ("kie", "http://den:9", "http://den:10")
    runtime = build_runtimes(read, scratch_dir=tmp_path)["kie"]
    assert (runtime.kind, runtime.callbacks, runtime.max_in_progress) == ("kie", True, 100)
    await runtime.close()


def test_the_emulators_variables_lead_here_and_bring_sora_back(settings: Set) -> None:
    emulator = Kie()
    emulator.url = "http://127.0.0.1:9"
    read = settings(**emulator.environment())
    one = read.providers["kie"]
    assert one.base_url == emulator.url and one.webhook_secret is not None
    assert one.webhook_secret.get_secret_value() == emulator.webhook_key
    catalog = Catalog.load(providers=read.providers)
    assert {catalog.find(model).status for model in (*RUNNING, *TAKEN_AWAY)} == {"active"}
    assert all(route.priced for model in RUNNING for route in catalog.find(model).routes)


def test_models_wait_for_an_account_and_those_kie_took_away_name_another(settings: Set) -> None:
    before, after = Catalog.load(), Catalog.load(providers=settings(KIE_API_KEY="k").providers)
    assert {before.find(model).status for model in RUNNING} == {"planned"}
    assert {after.find(model).status for model in RUNNING} == {"active"}
    for model in TAKEN_AWAY:
        with pytest.raises(Problem) as refusal:
            after.find(model)
        assert refusal.value.code is Code.MODEL_RETIRED and "seedance-video" in refusal.value.message


def priced(model: str, /, **fields: Any) -> tuple[Card, Quote, dict[str, Any]]:
    card = Catalog.load().get(model)
    assert card is not None
    checked = card.check({**card.example, **fields}).input
    return card, quote(card, card.routes[0], checked, Pricing()), checked


@pytest.mark.parametrize(
    ("model", "fields", "credits_micro"),
    [
        ("text-to-image", {}, 1_000_000),
        ("seedream", {"quality": "high"}, 1_500_000),
        ("nano-banana", {"resolution": "1K"}, 2_000_000),
        ("nano-banana", {"resolution": "2K"}, 3_000_000),
        ("nano-banana", {"resolution": "4K"}, 4_000_000),
        ("text-to-music", {}, 3_000_000),
        ("sora2-text-to-video", {"n_frames": "15"}, 8_000_000),
        ("sora2-video", {"n_frames": "20"}, 8_000_000),
        ("sora2-character", {}, 500_000),
        ("veo3_fast", {}, 15_000_000),
        ("veo3", {}, 50_000_000),
        ("kling-motion-control", {"mode": "720p"}, 30 * 1_210_000),
        ("kling-motion-control", {"mode": "1080p", "character_orientation": "image"}, 10 * 1_820_000),
        *(
            ("seedance-video", {"resolution": size, "duration": seconds, "generate_audio": sound}, amount * 1_000_000)
            for size, row in {
                "480p": ((2, 3), (3, 6), (4, 8)), "720p": ((3, 6), (6, 12), (9, 18)),
                "1080p": ((6, 12), (12, 23), (18, 35)),
            }.items()
            for seconds, pair in zip(("4", "8", "12"), row, strict=True)
            for sound, amount in zip((False, True), pair, strict=True)
        ),
    ],
)  # fmt: skip
def test_products_cost_their_published_credits(model: str, fields: dict[str, Any], credits_micro: int) -> None:
    assert priced(model, **fields)[1].hold_micro == credits_micro * CREDIT // 1_000_000


@pytest.mark.parametrize(
    ("model", "fields", "micro"),
    [
        ("text-to-image", {}, 4_000),
        ("seedream", {}, 27_500),
        ("nano-banana", {"resolution": "4K"}, 90_000),
        ("seedance-video", {}, None),
        ("text-to-music", {}, None),
    ],
)
def test_what_kie_charges_is_known_where_it_is_published(model: str, fields: dict[str, Any], micro: int | None) -> None:
    card, _, checked = priced(model, **fields)
    assert cost_of(card, card.routes[0], checked) == micro


@pytest.mark.parametrize(
    ("model", "fields", "words"),
    [
        ("nano-banana", {"resolution": "2K", "aspect_ratio": "8:1"}, "at 1K only"),
        ("text-to-music", {"prompt": "x" * 501}, "at most 500 characters without a style"),
        ("text-to-music", {"model": "V9"}, "V3, V3_5, V4, V5"),
        ("sora2-character", {"character_file_url": "data:video/mp4;base64,AA=="}, "public address"),
        ("veo3", {"seeds": 5}, "from 10000 to 99999"),
        ("seedance-video", {"duration": "5"}, "4, 8, 12"),
        ("kling-motion-control", {"input_urls": []}, "1 to 1 items"),
    ],
)
def test_a_wrong_input_is_refused_with_what_would_do(model: str, fields: dict[str, Any], words: str) -> None:
    with pytest.raises(Problem) as refusal:
        priced(model, **fields)
    assert refusal.value.code is Code.INVALID_INPUT and words in refusal.value.message


def test_a_long_text_with_a_style_is_lyrics() -> None:
    assert priced("text-to-music", prompt="x" * 2000, style="jazz")[2]["model"] == "V4"


def test_an_id_that_is_an_operations_name_is_a_model_all_the_same() -> None:
    catalog = Catalog.load()
    card = catalog.find("text-to-image")
    assert (card.id, card.operations) == ("text-to-image", (Operation.TEXT_TO_IMAGE,))
    assert card in catalog.by_operation(Operation.TEXT_TO_IMAGE)
    assert len(catalog.by_operation(Operation.TEXT_TO_IMAGE)) > 3
    assert catalog.find("text-to-music").id == "text-to-music"


def test_other_dialects_words_for_pictures_and_seconds_are_understood() -> None:
    schema = Catalog.load().find("seedance-video").schema
    renamed = schema.renamed({"prompt": "waves", "image_url": "https://x.example/a.png", "seconds": 8})
    assert renamed == {"prompt": "waves", "input_urls": ["https://x.example/a.png"], "duration": "8"}
