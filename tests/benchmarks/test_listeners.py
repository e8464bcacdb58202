"""The clients of the streams scene count what was said while all streams were open, and miss nothing of it."""

from benchmarks.listeners import tally

MS = 1_000_000


def test_a_delay_is_from_the_word_to_the_reader() -> None:
    seen = [(at * MS, (at + 5) * MS) for at in range(100)]
    found = tally({"chat": ([at for at, _ in seen], seen)}, 0, 1000 * MS)
    assert (found["chat_events"], found["chat_p50_ms"], found["p99_ms"], found["lost"]) == (100, 5.0, 5.0, 0)


def test_what_was_said_before_and_after_is_left_out() -> None:
    seen = [(at * MS, at * MS) for at in (1, 10, 20)]
    found = tally({"status": ([at for at, _ in seen], seen)}, 5 * MS, 20 * MS)
    assert (found["events"], found["lost"]) == (1, 0)


def test_an_event_nobody_read_and_one_read_twice_are_counted() -> None:
    assert tally({"chat": ([1, 2], [(1, 3)])}, 0, 9)["lost"] == 1
    assert tally({"chat": ([1], [(1, 3), (1, 4)])}, 0, 9)["lost"] == 1
    assert tally({"status": ([1, 2], [(1, 3)]), "chat": ([1], [(1, 3), (1, 4)])}, 0, 9)["lost"] == 2


def test_no_event_at_all_meets_no_goal() -> None:
    assert tally({"chat": ([1], [])}, 0, 9)["p99_ms"] == float("inf")
