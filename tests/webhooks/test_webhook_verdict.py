"""What follows an attempt: decided without a clock, a socket or a database."""

from email.utils import formatdate

import pytest

from calotype.webhooks.verdict import MAX_PAUSE_MS, MAX_RETRY_AFTER_MS, Attempt, EventState, judge, retry_after_ms

NOW_MS = 1_800_000_000_000


def after(attempt: Attempt, number: int = 1, attempts: int = 10, jitter: float = 1.0) -> tuple[EventState, int]:
    verdict = judge(attempt, number, attempts=attempts, first_retry_s=5, jitter=jitter, now_ms=NOW_MS)
    return verdict.state, verdict.pause_ms


@pytest.mark.parametrize("status", [200, 201, 204, 299])
def test_every_2xx_is_delivered_even_at_the_last_attempt(status: int) -> None:
    assert after(Attempt(status), number=10) == (EventState.DELIVERED, 0)


@pytest.mark.parametrize("status", [301, 302, 400, 401, 404, 408, 429, 500, 503, None])
def test_everything_else_is_tried_again_until_the_attempts_are_used_up(status: int | None) -> None:
    assert after(Attempt(status))[0] is EventState.PENDING
    assert after(Attempt(status), number=10)[0] is EventState.DEAD


def test_gone_and_final_end_it_at_once() -> None:
    assert after(Attempt(410))[0] is EventState.DEAD
    assert after(Attempt(error="refused", final=True))[0] is EventState.DEAD


def test_pauses_double_spread_and_have_a_bound() -> None:
    failed = Attempt(500)
    assert [after(failed, n)[1] for n in (1, 2, 3, 4)] == [5_000, 10_000, 20_000, 40_000]
    assert after(failed, 1, jitter=1.2)[1] == 6_000
    assert after(failed, 29, attempts=30)[1] == MAX_PAUSE_MS


def test_a_receiver_may_ask_for_a_longer_pause_but_not_a_shorter_one() -> None:
    assert after(Attempt(429, retry_after="60"))[1] == 60_000
    assert after(Attempt(503, retry_after="1"))[1] == 5_000
    assert after(Attempt(429, retry_after="999999999"))[1] == MAX_RETRY_AFTER_MS


@pytest.mark.parametrize(
    ("value", "pause_ms"),
    [
        (None, 0), ("", 0), ("7", 7_000), (" 7 ", 7_000), ("-7", 0), ("1.5", 0), ("soon", 0), ("²", 0),
        ("9" * 400, MAX_RETRY_AFTER_MS),
        (formatdate(NOW_MS / 1000 + 90, usegmt=True), 90_000), (formatdate(NOW_MS / 1000 - 90, usegmt=True), 0),
        ("Fri, 31 Dec 9999 23:59:59 GMT", MAX_RETRY_AFTER_MS), ("Mon, 99 Foo 0000 99:99:99 GMT", 0),
    ],
)  # fmt: skip
def test_retry_after_is_read_in_both_forms_and_never_breaks(value: str | None, pause_ms: int) -> None:
    assert retry_after_ms(value, NOW_MS) == pause_ms
