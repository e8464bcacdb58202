"""Whatever a benchmark starts is gone when it ends."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = textwrap.dedent(
    """
    import sys, time
    from pathlib import Path
    from benchmarks.processes import Stage
    with Stage(Path(sys.argv[1])) as stage:
        child = stage.start("child", ["sh", "-c", "sleep 600 & sleep 600"], core=0)
        print(child.pid, flush=True)
        time.sleep(600)
    """
)


def alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_every_process_of_the_run(how: signal.Signals, tmp_path: Path) -> None:
    command = [sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as run:
        assert run.stdout is not None
        group = int(run.stdout.readline())
        run.send_signal(how)
        run.wait(30)
    end = time.monotonic() + 10
    while (left := alive(group)) and time.monotonic() < end:  # who lost its parent is reaped by init, a little later
        time.sleep(0.05)
    assert not left
