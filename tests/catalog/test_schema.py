"""A wrong input is answered with one sentence: the field, the rule, what would be accepted, and no private text."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calotype.catalog import Catalog
from calotype.catalog.rules import parse_size, word_of
from calotype.catalog.schema import InputSchema, Size
from calotype.kernel.errors import Code, Problem

CARD = Catalog.load().find("local/sketch")
NESTED = InputSchema(
    {
        "required": ["messages"],
        "properties": {
            "messages": {
                "type": "array",
                "minItems": 1,
                "maxItems": 3,
                "items": {
                    "type": "object",
                    "required": ["role"],
                    "additionalProperties": False,
                    "properties": {"role": {"enum": ["user", "system"]}, "content": {"type": ["string", "null"]}},
                },
            },
            "strength": {"type": "number", "exclusiveMinimum": 0, "maximum": 1},
            "steps": {"type": "integer", "multipleOf": 4},
            "code": {"type": "string", "pattern": "^[a-z]+$", "x-accepts": "small letters"},
            "audio": {"type": "boolean"},
        },
    }
)


def refusal(schema: InputSchema, fields: dict[str, Any]) -> Problem:
    with pytest.raises(Problem) as caught:
        schema.check(fields, "m")
    assert caught.value.code is Code.INVALID_INPUT
    return caught.value


@pytest.mark.parametrize(
    ("fields", "field", "sentence"),
    [
        ({}, "prompt", "prompt is required."),
        ({"prompt": None}, "prompt", "prompt is required."),
        ({"prompt": ""}, "prompt", "prompt must be a text of 1 to 32000 characters."),
        ({"prompt": 5}, "prompt", "prompt must be a text, not 5."),
        ({"prompt": "a", "n": 11}, "n", "n must be from 1 to 10, not 11."),
        ({"prompt": "a", "n": "two"}, "n", "n must be a whole number."),
        ({"prompt": "a", "n": True}, "n", "n must be a whole number, not true."),
        (
            {"prompt": "a", "size": "100x100"},
            "size",
            "size must be WIDTHxHEIGHT, each side from 256 to 2048 pixels, at most 3:1, not '100x100'.",
        ),
        (
            {"prompt": "a", "sede": 1},
            "sede",
            "sede is not a field of m; it takes aspect_ratio, n, prompt, seed, size. Did you mean seed?",
        ),
    ],
)
def test_the_first_wrong_field_is_named(fields: dict[str, Any], field: str, sentence: str) -> None:
    problem = refusal(CARD.schema, fields)
    assert (problem.field, problem.message) == (field, sentence)


@pytest.mark.parametrize(
    ("fields", "field", "accepted"),
    [
        ({"messages": []}, "messages", "a list of 1 to 3 items"),
        ({"messages": [{"role": "robot"}]}, "messages[0].role", "one of user, system, not 'robot'"),
        ({"messages": [{}]}, "messages[0].role", "is required"),
        ({"messages": [{"role": "user", "extra": 1}]}, "messages[0].extra", "not a known field"),
        ({"messages": [{"role": "user", "content": 4}]}, "messages[0].content", "null"),
        ({"messages": [{"role": "user"}], "strength": 0}, "strength", "more than 0"),
        ({"messages": [{"role": "user"}], "strength": 2}, "strength", "at most 1, not 2"),
        ({"messages": [{"role": "user"}], "steps": 6}, "steps", "a multiple of 4"),
        ({"messages": [{"role": "user"}], "code": "X"}, "code", "small letters"),
        ({"messages": [{"role": "user"}], "audio": "yes"}, "audio", "true or false"),
    ],
)
def test_nested_fields_are_named_by_their_path(fields: dict[str, Any], field: str, accepted: str) -> None:
    problem = refusal(NESTED, fields)
    assert problem.field == field
    assert accepted in problem.message


def test_defaults_are_filled_in_and_null_counts_as_left_out() -> None:
    checked = CARD.check({"prompt": "a", "n": None, "seed": None})
    assert checked.input == {"prompt": "a", "n": 1}
    assert checked.warnings == ()


def test_a_whole_number_written_with_a_point_is_a_whole_number() -> None:
    filled = CARD.check({"prompt": "a", "n": 2.0}).input
    assert (filled["n"], type(filled["n"])) == (2, int)
    assert word_of(4.0) == word_of(4) == "4"


@pytest.mark.parametrize("fields", [{5: 1}, {"prompt": b"a"}, {"prompt": "a", "n": float("inf")}, {"\ud800": 1}])
def test_what_is_no_json_is_refused_and_not_an_accident(fields: dict[Any, Any]) -> None:
    assert refusal(CARD.schema, fields).message


def test_the_callers_input_is_left_as_it_was() -> None:
    fields = {"prompt": "a", "n": None}
    CARD.check(fields)
    assert fields == {"prompt": "a", "n": None}


@given(
    secret=st.text("abcdefgh ", min_size=60, max_size=200), field=st.sampled_from(["prompt", "size", "n", "seed", "x"])
)
def test_a_long_value_is_never_repeated(secret: str, field: str) -> None:
    value: Any = [secret] if field == "prompt" else secret
    problem = refusal(CARD.schema, {"prompt": "a", field: value})
    assert secret not in problem.message + str(problem.data)
    assert len(refusal(CARD.schema, {"prompt": "a", secret: 1}).message) < 250


@pytest.mark.parametrize(
    ("size", "good"),
    [
        ("auto", True),
        ("1024x1024", True),
        ("3840x2160", True),
        ("2160x3840", True),
        ("3840x2176", False),
        ("1000x1000", False),
        ("3200x1024", False),
        ("0x0", False),
        ("1024x", False),
        ("x1024", False),
        ("1024X1024", False),
        ("-16x16", False),
        ("²x16", False),
        ("99999999999999x16", False),
        ("big", False),
    ],
)
def test_sizes_keep_to_what_the_model_takes(size: str, good: bool) -> None:
    card = Catalog.load().find("gpt-image-2")
    if good:
        assert card.check({"prompt": "a", "size": size}).input["size"] == size
    else:
        assert refusal(card.schema, {"prompt": "a", "size": size}).field == "size"


@given(st.text())
def test_any_text_is_a_size_or_not_without_raising(text: str) -> None:
    assert parse_size(text) is None or "x" in text


def test_only_the_first_of_many_faults_is_worked_out(monkeypatch: pytest.MonkeyPatch) -> None:
    looked = 0
    judge = Size.validate

    def counted(self: Size, instance: Any) -> None:
        nonlocal looked
        looked += 1
        judge(self, instance)

    monkeypatch.setattr(Size, "validate", counted)
    sized = {"type": "string", "x-size": {"min": 256, "max": 2048}}
    schema = InputSchema({"properties": {"sizes": {"type": "array", "items": sized}}})
    problem = refusal(schema, {"sizes": ["1x1"] * 1000})
    assert problem.field == "sizes[0]" and looked < 10
