"""Runs commands as processes of their own without paying the interpreter's start each time.

One process loads the program and is forked for each command; everything else (arguments, environment, working
directory, standard streams, exit status) is as in a fresh start.
"""

import json
import os
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from typing import NamedTuple

KEPT = ("PATH", "HOME", "LANG", "TMPDIR", "LD_LIBRARY_PATH", "PYTHONPATH")


class Done(NamedTuple):
    """How a command ended."""

    returncode: int
    stdout: str
    stderr: str


class Program:
    """The loaded program."""

    def __enter__(self) -> "Program":
        self._process = subprocess.Popen(
            [sys.executable, __file__], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(self, *_: object) -> None:
        self._process.stdin.close()
        self._process.wait(10)

    def run(self, data_dir: Path, *arguments: str, cwd: Path | None = None, **variables: str) -> Done:
        """Run a command to its end."""
        with tempfile.TemporaryDirectory() as folder:
            out, err = Path(folder) / "out", Path(folder) / "err"
            order = {
                "arguments": arguments, "environment": environment(data_dir) | variables,
                "cwd": str(cwd or data_dir.parent), "out": str(out), "err": str(err),
            }  # fmt: skip
            self._process.stdin.write(json.dumps(order) + "\n")
            self._process.stdin.flush()
            return Done(int(self._process.stdout.readline()), out.read_text(), err.read_text())


def environment(data_dir: Path) -> dict[str, str]:
    """Return an environment without any setting of whoever runs the tests."""
    kept = {name: os.environ[name] for name in KEPT if name in os.environ}
    return kept | {"CALOTYPE_DATA_DIR": str(data_dir), "CALOTYPE_CONFIG": os.devnull, "CALOTYPE_PORT": "0"}


def _serve() -> None:
    import calotype.cli

    for line in sys.stdin:
        order = json.loads(line)
        child = os.fork()
        if child == 0:
            _become(order, calotype.cli.main)
        _, status = os.waitpid(child, 0)
        sys.stdout.write(f"{os.waitstatus_to_exitcode(status)}\n")
        sys.stdout.flush()


def _become(order: dict, main: object) -> None:
    for number, path in ((0, os.devnull), (1, order["out"]), (2, order["err"])):
        opened = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        os.dup2(opened, number)
        os.close(opened)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["environment"])
    sys.argv = ["calotype", *order["arguments"]]
    code = 0
    try:
        main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


if __name__ == "__main__":
    _serve()
