"""What is held for a conversation with pictures in it."""

from typing import Any

import pytest
from msgspec.structs import replace

from calotype.catalog import Catalog, Pricing, cost_of, quote, rates
from calotype.catalog import rules as r
from calotype.catalog.prices import Delivered, Quote, captured, units
from calotype.catalog.rules import input_tokens, text_bytes
from calotype.kernel.generation import Operation

TOKENS = r.Token(micro=0, text=("messages", "tools"), max_input=10_000, max_part=1_500, max_output=1)


def asked(*parts: dict[str, Any]) -> dict[str, Any]:
    return {"messages": [{"role": "user", "content": [{"type": "text", "text": "What is this?"}, *parts]}]}


def picture(url: str) -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": url}}


def test_a_picture_is_held_as_so_many_tokens_whatever_the_length_of_its_address() -> None:
    words = input_tokens(TOKENS, asked())
    by_address = input_tokens(TOKENS, asked(picture("https://example.com/a.png")))
    inline = input_tokens(TOKENS, asked(picture("data:image/png;base64," + "A" * 1_000_000)))
    assert words < 100
    assert 0 <= by_address - words - 1_500 < 60
    assert inline == by_address
    assert input_tokens(TOKENS, asked(picture("a"), {"type": "input_audio", "input_audio": {}})) - words >= 3_000


def test_texts_and_tools_are_held_by_their_bytes_and_never_above_the_models_limit() -> None:
    fields = {"messages": [{"role": "user", "content": "é" * 10}], "tools": [{"type": "function"}]}
    assert input_tokens(TOKENS, fields) == text_bytes(fields["messages"]) + text_bytes(fields["tools"])
    assert input_tokens(TOKENS, asked(*[picture("a")] * 20)) == 10_000


def test_what_is_no_picture_may_be_as_long_as_the_model_takes() -> None:
    film = {"type": "video_url", "video_url": {"url": "https://example.com/an-hour.mp4"}}
    talk = {"type": "audio_url", "audio_url": {"url": "https://example.com/an-hour.mp3"}}
    book = {"type": "file", "file": {"file_data": "data:application/pdf;base64,JVBERi0="}}
    for part in (film, talk, book, picture("data:video/mp4;base64,AAAA"), picture("DATA:application/pdf;base64,AAAA")):
        assert input_tokens(TOKENS, asked(part)) == 10_000, part


def test_a_picture_by_address_is_held_as_a_film_where_the_upstream_would_read_one() -> None:
    opening = replace(TOKENS, opens=True)
    film = "https://example.com/an-hour-that-calls-itself-a-picture.png"
    assert input_tokens(opening, asked(picture(film))) == 10_000
    assert input_tokens(opening, asked(picture("data:image/png;base64,AAAA"))) < 2_000
    assert input_tokens(TOKENS, asked(picture(film))) < 2_000
    for card in Catalog.load().by_operation(Operation.CHAT):
        for route in card.routes:
            if route.kind == "google":
                assert isinstance(route.cost, r.Token) and route.cost.opens


def test_sound_costs_more_on_top_of_the_tokens_it_is_a_part_of() -> None:
    sound = {"type": "input_audio", "input_audio": {"data": "A" * 4_000, "format": "mp3"}}
    card = Catalog.load().find("gemini-2-5-flash")
    (route,) = card.routes
    bare = Pricing(margin_bps=0)

    def quoted(*parts: dict[str, Any]) -> Quote:
        return quote(card, route, asked(*parts) | {"max_tokens": 1}, bare)

    words, spoken = quoted(), quoted(sound)
    assert spoken.hold_micro - words.hold_micro == pytest.approx(4_100 * 1.0, rel=0.05)
    heard = Delivered(1, {"input_tokens": 1_000_000, "input_audio_tokens": 400_000, "output_tokens": 0})
    assert cost_of(card, route, asked(sound) | {"max_tokens": 1}, heard) == 300_000 + 280_000
    assert units(spoken, heard) == 1_000_000
    assert captured(spoken, heard) == spoken.hold_micro
    unheard = Delivered(1, {"input_tokens": 60, "input_audio_tokens": 0, "output_tokens": 1})
    assert captured(words, unheard) == captured(spoken, unheard) == 21
    assert [(row.unit, row.price_micro) for row in rates(card, route, bare)] == [
        ("input token", 300_000), ("output token", 2_500_000), ("input audio token", 700_000),
    ]  # fmt: skip


def test_sound_inside_a_message_has_no_more_tokens_than_bytes() -> None:
    words = input_tokens(TOKENS, asked())

    def sound(data: str) -> int:
        return input_tokens(TOKENS, asked({"type": "input_audio", "input_audio": {"data": data}})) - words

    assert 1_500 <= sound("AAAA") < 1_510
    assert 4_000 <= sound("A" * 4_000) < 4_100


def test_a_text_that_calls_itself_a_picture_is_held_by_its_bytes() -> None:
    text = "word " * 1_000
    for message in (
        {"role": "user", "type": "image_url", "content": text},
        {"role": "user", "content": [{**picture("a"), "text": text}]},
    ):
        assert input_tokens(TOKENS, {"messages": [message]}) >= 5_000
