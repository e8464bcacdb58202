"""The limiter lets through exactly what a bucket that refills steadily would."""

from fractions import Fraction

from hypothesis import given
from hypothesis import strategies as st

from calotype.limits import Gcra
from calotype.limits.gcra import MINUTE_NS


class Now:
    def __init__(self) -> None:
        self.ns = 10**12

    def __call__(self) -> int:
        return self.ns


class Bucket:
    """The reference: `burst` tokens, refilled continuously at the rate."""

    def __init__(self, rate: int, burst: int, now: int) -> None:
        self.interval, self.burst, self.tokens, self.at = MINUTE_NS // rate, burst, Fraction(burst), now

    def take(self, now: int) -> Fraction | None:
        self.tokens = min(Fraction(self.burst), self.tokens + Fraction(now - self.at, self.interval))
        self.at = now
        if self.tokens < 1:
            return (1 - self.tokens) * self.interval
        self.tokens -= 1
        return None


@given(
    rate=st.integers(1, 100_000),
    burst=st.integers(1, 20),
    waits=st.lists(st.one_of(st.integers(0, 2 * MINUTE_NS), st.integers(0, 1000)), max_size=60),
)
def test_it_agrees_with_a_bucket_that_refills_steadily(rate: int, burst: int, waits: list[int]) -> None:
    now = Now()
    limiter, bucket = Gcra(now_ns=now), Bucket(rate, burst, now.ns)
    for wait in waits:
        now.ns += wait
        want, got = bucket.take(now.ns), limiter.take("key", rate, burst)
        assert (got is None) == (want is None)
        if want is not None and got is not None:
            assert got == float(want) / 1e9


@given(rate=st.integers(1, 6000), burst=st.integers(1, 10))
def test_waiting_as_long_as_it_said_is_enough(rate: int, burst: int) -> None:
    now = Now()
    limiter = Gcra(now_ns=now)
    while (retry_after_s := limiter.take("key", rate, burst)) is None:
        pass
    now.ns += round(retry_after_s * 1e9)
    assert limiter.take("key", rate, burst) is None


def test_keys_do_not_share_a_bucket() -> None:
    limiter = Gcra(now_ns=Now())
    assert limiter.take("a", 1, 1) is None
    assert limiter.take("a", 1, 1) == 60
    assert limiter.take("b", 1, 1) is None


def test_idle_keys_are_forgotten_and_memory_is_bounded() -> None:
    now = Now()
    limiter = Gcra(most_keys=100, now_ns=now)
    for n in range(1000):
        limiter.take(str(n), 60, 1)
        assert len(limiter) <= 100
    now.ns += MINUTE_NS
    for _ in range(60):
        limiter.take("busy", 60_000, 60_000)
    assert len(limiter) == 1


def test_a_refused_key_keeps_its_debt_while_others_come_and_go() -> None:
    now = Now()
    limiter = Gcra(most_keys=10, now_ns=now)
    assert limiter.take("slow", 1, 1) is None
    for n in range(100):
        limiter.take(str(n), 60, 1)
        assert limiter.take("slow", 1, 1) is not None


def test_what_is_left_is_what_may_come_at_once() -> None:
    now = Now()
    limiter = Gcra(now_ns=now)
    assert limiter.left("a", 60, 10) == (10, 0)
    for n in range(10):
        assert limiter.take("a", 60, 10) is None
        assert limiter.left("a", 60, 10) == (9 - n, n + 1)
    assert limiter.take("a", 60, 10) is not None
    now.ns += 3_000_000_000
    assert limiter.left("a", 60, 10) == (3, 7)
