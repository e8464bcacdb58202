"""A thread's CPU time is shared among its functions by its samples."""

import pytest
from benchmarks.profiling import _stacks

TEXT = """\
thread (101): MainThread;main (calotype/server.py:1);answer (calotype/server.py:5) 30
thread (101): MainThread;main (calotype/server.py:1);encode (calotype/server.py:9) 10
thread (102): calotype-store_0;_worker (concurrent/futures/thread.py:81) 900
thread (103): calotype-store_1;fill (calotype/media/local.py:7) 5
"""


def test_waiting_is_left_out_and_the_trunk_too() -> None:
    by_self, by_total = _stacks(TEXT, {"event loop": 200.0, "calotype-store": 50.0})
    assert by_self == pytest.approx(
        {"answer calotype/server.py": 150.0, "encode calotype/server.py": 50.0, "fill calotype/media/local.py": 50.0}
    )
    assert "main calotype/server.py" not in by_total
