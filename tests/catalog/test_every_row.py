"""Every row of the reference list of models is a card: under its own id, with what it does, where it ran there."""

import csv
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

import pytest

from calotype.catalog import Card, Catalog
from calotype.kernel.generation import Operation as Op

T = TypeVar("T")
LIST = Path(__file__).parents[1] / "data" / "models.csv"
ROWS = dict(enumerate(csv.DictReader(LIST.open(encoding="utf-8")), start=1))
CATALOG = Catalog.load()
CARDS = CATALOG.cards(everything=True)
every_row = pytest.mark.parametrize("number", ROWS, ids=lambda n: f"{n}-{ROWS[n]['id_in_seed']}")

OURS = {
    21: {"voxtral-tts"},
    22: {"azure-neural-tts"},
    23: {"azure-document-intelligence"},
    24: {"mistral-ocr"},
    39: {"openrouter/auto"},
    43: {
        "local/merge-videos", "local/merge-audio-video", "local/merge-audio", "local/overlay-gif", "local/transcribe",
        "local/extract-last-frame",
    },
    107: {"content-image-generate"},
    108: {"content-image-fast-pack"},
    109: {"content-image-edit"},
    110: {"content-image-listing-upgrade-pack"},
    111: {"content-video-text-basic"},
    112: {"content-video-image-basic"},
    113: {"content-video-product-motion"},
    134: {"hailuo"},
}  # fmt: skip
"""Rows that name no model: in brackets, a pattern, or the path of an endpoint (whose slug is the id)."""

DOES = {
    "text-to-image": Op.TEXT_TO_IMAGE,
    "image edit": Op.IMAGE_TO_IMAGE,
    "product image edit": Op.IMAGE_TO_IMAGE,
    "one-click edit": Op.IMAGE_TO_IMAGE,
    "edit with prompt": Op.IMAGE_TO_IMAGE,
    "reframe": Op.IMAGE_TO_IMAGE,
    "image-to-image": Op.IMAGE_TO_IMAGE,
    "upscale": Op.UPSCALE,
    "background removal": Op.BACKGROUND_REMOVAL,
    "comfyui workflow as endpoint": Op.TEXT_TO_IMAGE,
    "text-to-video": Op.TEXT_TO_VIDEO,
    "image-to-video": Op.IMAGE_TO_VIDEO,
    "text/image-to-video": Op.TEXT_TO_VIDEO,
    "template image-to-video": Op.IMAGE_TO_VIDEO,
    "ken burns": Op.IMAGE_TO_VIDEO,
    "image/first-last/reference-to-video": Op.IMAGE_TO_VIDEO,
    "motion transfer": Op.VIDEO_TO_VIDEO,
    "talking-avatar": Op.TALKING_AVATAR,
    "talking avatar": Op.TALKING_AVATAR,
    "lip-sync": Op.LIP_SYNC,
    "character creation": Op.CHARACTER_CREATION,
    "download": Op.DOWNLOAD,
    "subtitle burn-in": Op.MEDIA_TOOL,
    "merge-video": Op.MEDIA_TOOL,
    "text-to-speech": Op.TEXT_TO_SPEECH,
    "speech-to-text": Op.TRANSCRIPTION,
    "speech-to-speech": Op.SPEECH_TO_SPEECH,
    "voice clone": Op.VOICE_CLONING,
    "audio inpaint": Op.AUDIO_TO_AUDIO,
    "audio isolation": Op.AUDIO_TO_AUDIO,
    "text-to-music": Op.TEXT_TO_MUSIC,
    "lyrics-to-song": Op.TEXT_TO_MUSIC,
    "text-to-audio": Op.TEXT_TO_AUDIO,
    "chat": Op.CHAT,
    "text generation": Op.CHAT,
    "vision": Op.CHAT,
    "embeddings": Op.EMBEDDINGS,
    "ocr": Op.OCR,
    "lora training": Op.TRAINING,
    "finetune": Op.TRAINING,
}
"""What a row says it does, by the beginning of its words."""

HOSTS = {
    "fal": {"fal"},
    "openrouter via fal.ai": {"fal"},
    "medishift worker": {"comfyui"},
    "worker": {"vllm"},
    "infomaniak": {"infomaniak"},
    "scaleway": {"scaleway"},
    "together": {"together"},
    "fireworks": {"fireworks"},
    "anthropic": {"anthropic"},
    "azure openai": {"azure_openai"},
    "azure": {"azure-ch", "azure-eu", "azure-us"},
    "google": {"google"},
    "mistral": {"mistral"},
    "kie.ai": {"kie"},
    "openrouter": {"openrouter"},
    "bfl": {"bfl"},
    "minimax": {"minimax"},
    "local": {"local"},
}
"""The providers that stand for a row's host, by the beginning of its words."""
OUTPUTS = {
    "image": {"image"}, "video": {"video", "file"}, "audio": {"audio", "text"}, "llm": {"text"}, "embedding": {"data"},
    "document": {"data"}, "character": {"data"}, "training": {"file", "data"},
    "video; audio; image": {"video", "audio", "image", "text"},
}  # fmt: skip
"""What comes out of a row's modality; a transcription is text made of sound."""


def cards_of(number: int) -> list[Card]:
    return [card for card in CARDS if number in card.csv_rows]


def looked_up(table: Mapping[str, T], words: str) -> T:
    return table[max((name for name in table if words.lower().startswith(name)), key=len)]


def test_the_list_is_whole_and_no_card_names_a_row_outside_it() -> None:
    assert len(ROWS) == 134
    assert {row for card in CARDS for row in card.csv_rows} == set(ROWS)


@every_row
def test_a_row_is_exactly_its_card(number: int) -> None:
    found = {card.id for card in cards_of(number)}
    if number in OURS:
        assert found == OURS[number]
    else:
        named = CATALOG.get(ROWS[number]["id_in_seed"])
        assert named is not None
        assert found == {named.id}


def test_an_id_is_written_as_in_the_list() -> None:
    ids = {card.id for card in CARDS}
    assert not {row["id_in_seed"] for number, row in ROWS.items() if number not in OURS} - ids


@every_row
def test_a_row_does_what_it_says(number: int) -> None:
    row = ROWS[number]
    asked = {looked_up(DOES, part.strip()) for part in row["operation"].split(";") if part.strip() != "vision"}
    for card in cards_of(number):
        if number != 43:
            assert asked <= set(card.operations)
        assert card.output in OUTPUTS[row["modality"]]


@every_row
def test_a_row_runs_where_it_says(number: int) -> None:
    hosts = [HOSTS["local"]] if number == 42 else [
        looked_up(HOSTS, part.strip()) for part in ROWS[number]["provider"].split(" / ")
    ]  # fmt: skip
    for card in cards_of(number):
        providers = {route.provider for route in card.routes}
        for host in hosts:
            assert host & providers, f"{card.id} has {providers}, not {host}"


@every_row
def test_no_row_is_free_because_its_price_is_unknown(number: int) -> None:
    for card in cards_of(number):
        for route in card.routes:
            if not route.cost_known and card.price is None:
                assert not route.priced
