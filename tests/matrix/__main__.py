"""`make matrix`: drive the server with every client package, and write what was seen into `docs/dialects.md`.

Nothing is written when a test fails: the page says what works.
"""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))

from client_page import PAGE, ROOT, bare, held, proofs, written


class Outcomes:
    """How every test ended, by its name below `tests/`."""

    def __init__(self) -> None:
        self.of: dict[str, str] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Keep the worst of the three parts of a test."""
        name = report.nodeid.removeprefix("tests/")
        if report.outcome != "passed" or name not in self.of:
            self.of[name] = report.outcome


def main() -> int:
    seen = Outcomes()
    tests = [str(ROOT / "tests" / name) for name in sorted(map(bare, proofs()))]
    status = pytest.main(["--rootdir", str(ROOT), *dict.fromkeys(tests), *sys.argv[1:]], plugins=[seen])
    if status != pytest.ExitCode.OK:
        return int(status)
    shown = held(seen.of)
    for proof in sorted(proofs() - shown.keys()):
        sys.stdout.write(f"not shown, for it was skipped: {proof}\n")
    PAGE.write_text(written(PAGE.read_text(), shown))
    sys.stdout.write(f"{len(shown)} proofs; wrote {PAGE.relative_to(ROOT)}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
