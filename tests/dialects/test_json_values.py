"""A body is no more work than its size tells: how many values it may hold, in JSON and in MessagePack."""

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from calotype.catalog import Card, Catalog
from calotype.dialects import json_values
from calotype.dialects.door import json_object
from calotype.dialects.fal.platform_queries import body_as
from calotype.dialects.fal.realtime_frames import decoded
from calotype.dialects.json_values import MOST_VALUES, bounded
from calotype.kernel.errors import Code, Problem

MANY = MOST_VALUES + 1
CROWDS = {
    "numbers": b'{"a":[' + b"1," * MANY + b"1]}",
    "lists": b'{"a":[' + b"[]," * MANY + b"1]}",
    "objects": b'{"a":[' + b"{}," * MANY + b"1]}",
    "texts": b'{"a":[' + b'"",' * MANY + b"1]}",
    "names": b"{" + b",".join(b'"%x":1' % n for n in range(MANY + 1)) + b"}",
    "pairs": b"{" + b",".join(b'"%x":""' % n for n in range(MANY + 1)) + b"}",
    "behind a quote in a text": b'{"a":"\\\\\\"","b":[' + b"1," * MANY + b"1]}",
    "behind a backslash at a text's end": b'{"a":"\\\\","b":[' + b"1," * MANY + b"1]}",
}
TEXTS = {
    "commas": b'{"a":"' + b"," * MANY * 2 + b'"}',
    "brackets": b'{"a":"' + b"[{" * MANY + b'"}',
    "JSON in a text": b'{"a":"' + b'{\\"b\\":[1]},' * (MANY // 4) + b'"}',
    "backslashes": b'{"a":"' + b"\\\\," * MANY + b'"}',
    "one long text": b'{"a":"' + b"A" * (4 << 20) + b'"}',
}


@pytest.mark.parametrize("name", CROWDS)
def test_a_body_of_too_many_values_is_refused_before_it_is_decoded(name: str) -> None:
    for read in (json_object, lambda body: body_as(body, dict[str, object])):
        with pytest.raises(Problem) as refused:
            read(CROWDS[name])
        assert refused.value.code is Code.PAYLOAD_TOO_LARGE
        assert refused.value.message == "The body holds more than 250,000 values."


@pytest.mark.parametrize("name", TEXTS)
def test_what_stands_in_a_text_is_not_counted(name: str) -> None:
    assert json_object(TEXTS[name]) == msgspec.json.decode(TEXTS[name])


def test_a_body_may_hold_almost_as_many_values_as_are_named() -> None:
    assert len(json_object(b'{"a":[' + b"1," * (MOST_VALUES - 3) + b"1]}")["a"]) == MOST_VALUES - 2


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-9, 9) | st.text(st.sampled_from('a\\",[{é\n')),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.sampled_from('b\\",[{')), inner),
)


@given(_JSON)
def test_a_value_in_a_list_or_an_object_counts_once_or_twice_whatever_the_texts_hold(value: object) -> None:
    body = msgspec.json.encode([value])
    assert _count(value) <= json_values._marks(json_values._without_texts(body)) <= 2 * _count(value)


def _count(value: object) -> int:
    inner = value if isinstance(value, list) else list(value.values()) if isinstance(value, dict) else []
    return 1 + sum(_count(one) for one in inner)


def test_small_bodies_are_not_looked_through() -> None:
    assert bounded(b"not JSON") == b"not JSON"


# -- frames of realtime sessions ---------------------------------------------------------------------------------------

FRAMES = {
    "lists": msgspec.msgpack.encode({"prompt": [[] for _ in range(MANY)]}),
    "maps": msgspec.msgpack.encode({"prompt": [{} for _ in range(MANY)]}),
    "deep": msgspec.msgpack.encode({"prompt": {"a": [[1] * 200 for _ in range(MANY // 150)]}}),
    "numbers by name": msgspec.msgpack.encode({"prompt": dict.fromkeys(range(MANY), 1)}),
}


@pytest.fixture(scope="module")
def card() -> Card:
    return Catalog.load().find("local/sketch")


@pytest.mark.parametrize("name", FRAMES)
def test_a_frame_of_too_many_values_is_refused(name: str, card: Card) -> None:
    with pytest.raises(Problem) as refused:
        decoded(FRAMES[name], card)
    assert refused.value.code is Code.PAYLOAD_TOO_LARGE


def test_a_frame_may_carry_a_large_picture_in_a_list_of_its_own(card: Card) -> None:
    text = "A" * (2 * MOST_VALUES)
    frame = {"prompt": "a fern", "more": {"pictures": [text, text]}}
    assert decoded(msgspec.msgpack.encode(frame), card) == frame


def test_values_cannot_hide_behind_a_key_that_comes_twice(card: Card) -> None:
    crowd = msgspec.msgpack.encode([1] * MANY)
    twice = b"\x82" + 2 * (msgspec.msgpack.encode("prompt") + crowd)
    with pytest.raises(Problem):
        decoded(twice, card)
