"""What operators may read of an upstream's words, when to come back, and which ids may stand in an address."""

import time
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from calotype.kernel.clock import ManualClock
from calotype.kernel.steps import HttpResponse
from calotype.providers.answers import MAX_DETAIL_CHARS, MAX_READ_CHARS, is_name, redacted, retry_after_s

KEY = "fal-5f0c2ad1:beef-4cafe"


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("Incorrect API key: sk-proj-abc123XYZ_99", "Incorrect API key: [redacted]"),
        ("Authorization: Bearer abc.def-ghi123", "Authorization: Bearer [redacted]"),
        ("token eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2ln is old", "token [redacted] is old"),
        ("see https://user:pass@x.example/a?sig=abc#frag now", "see https://x.example/a now"),
        ("bad data:image/png;base64,iVBORw0KGgo= here", "bad [data] here"),
        ("id 0123456789abcdef0123456789abcdef failed", "id [redacted] failed"),
        (f"key {KEY} is wrong", "key [redacted] is wrong"),
        ("two\r\nlines\x00\x1b[31m", "two lines [31m"),
    ],
)
def test_secrets_addresses_and_control_characters_are_left_out(said: str, shown: str) -> None:
    assert redacted(said, [KEY, None, ""]) == shown


def test_a_secret_is_found_wherever_the_text_is_cut() -> None:
    for before in range(MAX_READ_CHARS - 40, MAX_READ_CHARS + 1):
        head = "data:image/png;base64,"
        shown = redacted(head + "A" * (before - len(head) - 1) + " " + KEY, [KEY])
        assert "fal-5f0" not in shown


def test_a_text_of_any_length_is_read_quickly_and_shown_short() -> None:
    began = time.process_time()
    for piece in ("a-", "a1-_", "https://", "key ", "data:a;base64,", "eyJ-.", "x" * 31 + " "):
        assert len(redacted(piece * 100_000)) <= MAX_DETAIL_CHARS
    assert time.process_time() - began < 5


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None), ({"retry-after": "7"}, 7), ({"retry-after": "7", "retry-after-ms": "250"}, 0.25),
        ({"retry-after": "soon"}, None), ({"retry-after": "-3"}, None), ({"retry-after": "99999999"}, 3600),
        ({"retry-after": "9" * 400}, None), ({"retry-after": "Fri, 99 Nov 2026 19:17:58 GMT"}, None),
        ({"retry-after": "Thu, 01 Jan 1970 00:00:00 GMT"}, 0),
    ],
)  # fmt: skip
def test_a_wait_is_seconds_or_a_date_and_bounded(headers: dict[str, str], seconds: float | None) -> None:
    assert retry_after_s(HttpResponse(429, headers), ManualClock()) == seconds


def test_a_date_counts_from_our_own_clock_whatever_the_zone() -> None:
    clock = ManualClock()
    then = datetime.fromtimestamp(clock.now_ms() / 1000, UTC) + timedelta(seconds=90)
    for text in (
        format_datetime(then, usegmt=True),
        format_datetime(then),
        then.strftime("%a, %d %b %Y %H:%M:%S -0000"),
    ):
        assert retry_after_s(HttpResponse(429, {"retry-after": text}), clock) == pytest.approx(90)


@pytest.mark.parametrize("ident", ["a", "task_019d", "v1_Ab-9.x", "..a", "a..", "0"])
def test_an_id_of_letters_digits_and_marks_may_stand_in_an_address(ident: str) -> None:
    assert is_name(ident, 10)


@pytest.mark.parametrize(
    "ident", ["", ".", "..", "a/b", "a b", "a?b", "a#b", "a%2e", "ü", "a\n", "x" * 11, None, 7, ["a"]]
)
def test_any_other_id_may_not(ident: object) -> None:
    assert not is_name(ident, 10)
