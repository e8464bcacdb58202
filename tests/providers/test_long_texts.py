"""What is taken out of a JSON answer before it is decoded comes to the same as decoding it whole."""

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from calotype.kernel.outcome import Failed, Succeeded
from calotype.kernel.steps import HttpResponse
from calotype.providers.long_texts import LONG_BYTES, lift
from calotype.providers.openai_images import delivered, image_usage

LONG = "QUJD" * 2000


def whole(body: bytes) -> Any:
    """Lift, decode, and put the texts back."""
    rest, texts = lift(body, "b64_json")
    return json.loads(rest, object_pairs_hook=lambda pairs: {k: _back(v, texts) for k, v in pairs})


def _back(value: Any, texts: dict[str, bytes]) -> Any:
    return texts[value].decode() if isinstance(value, str) and value in texts else value


def test_a_long_text_is_taken_out_and_the_rest_stays_json() -> None:
    rest, texts = lift(json.dumps({"data": [{"b64_json": LONG}], "usage": None}).encode(), "b64_json")
    assert len(rest) < 200
    assert list(texts.values()) == [LONG.encode()]


def test_several_pictures_keep_their_order_and_their_neighbours() -> None:
    said = {"data": [{"b64_json": LONG + f"{n}", "revised_prompt": f"p{n}"} for n in range(3)], "size": "1x1"}
    for indent in (None, 2):
        assert whole(json.dumps(said, indent=indent).encode()) == said


def test_a_text_with_escapes_or_line_breaks_is_left_to_the_decoder() -> None:
    for odd in ("\\/", "\\n", "\n", "\r"):
        body = b'{"b64_json":"' + (LONG + odd + LONG).encode() + b'"}'
        assert lift(body, "b64_json") == (body, {})


def test_what_is_no_text_or_never_ends_is_left_to_the_decoder() -> None:
    for value in (b"null", b"[" + b"1," * LONG_BYTES + b"1]", b'{"x":"' + LONG.encode() + b'"}', b'"' + LONG.encode()):
        body = b'{"b64_json":' + value
        assert lift(body, "b64_json") == (body, {})


def test_the_name_inside_a_text_is_no_key() -> None:
    said = {"revised_prompt": 'say "b64_json": "' + LONG + '"', "b64_json": LONG}
    assert whole(json.dumps(said).encode()) == said


@given(
    st.recursive(
        st.none() | st.integers() | st.text(max_size=8) | st.sampled_from([LONG, '"b64_json":', "b64_json"]),
        lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["b64_json", "url", "d"]), inner),
        max_leaves=12,
    ),
    st.sampled_from([None, 0, 2]),
)
def test_any_answer_comes_to_the_same(said: Any, indent: int | None) -> None:
    assert whole(json.dumps({"said": said, "pad": LONG}, indent=indent).encode()) == {"said": said, "pad": LONG}


def test_pictures_are_delivered_as_they_were_written() -> None:
    body = json.dumps(
        {"data": [{"b64_json": LONG}, {"b64_json": "QUJD"}, {"b64_json": "data:image/png;base64," + LONG}]}
    )
    outcome = delivered(HttpResponse(200, {}, body.encode()), image_usage)
    assert isinstance(outcome, Succeeded)
    assert [output.base64 for output in outcome.outputs] == [LONG.encode(), b"QUJD", LONG.encode()]


def test_an_escaped_picture_is_read_and_a_broken_one_is_no_delivery() -> None:
    escaped = b'{"data":[{"b64_json":"' + LONG.encode() + b'\\/"}]}'
    outcome = delivered(HttpResponse(200, {}, escaped), image_usage)
    assert isinstance(outcome, Succeeded)
    assert outcome.outputs[0].base64 == LONG.encode() + b"/"
    broken = b'{"data":[{"b64_json":"' + LONG.encode() + b'\n"}]}'
    assert isinstance(delivered(HttpResponse(200, {}, broken), image_usage), Failed)
