"""The gateway under test: `python -m benchmarks.serve PORT FOLDER`, settings from the environment, one process.

Leaves a funded key in `FOLDER/key`, and the ids of the waiting jobs in `FOLDER/jobs` and, as videos, in
`FOLDER/videos`. `--waiting N` makes N waiting jobs in place of one, `--stepping N` adds N whose progress grows once
they are due, `--again` starts on what an earlier start left.

The data directory is made ready by a process of its own (`--prepare`), as `calotype keys create` would: what made the
tables is not in the memory of the server under test.
"""

import argparse
import asyncio
import cProfile
import os
import signal
import subprocess
import sys
from pathlib import Path
from types import FrameType

import uvicorn

from benchmarks.stepping_jobs import Stepping
from benchmarks.waiting_jobs import Instant, insert_waiting
from calotype.app import App
from calotype.dialects.openai.videos import video_id
from calotype.process import set_up
from calotype.providers.registry import build_runtimes
from calotype.settings import Settings
from calotype.telemetry import configure_logs

FUNDS_MICRO = 10**14


async def prepare(settings: Settings, folder: Path, waiting: int, stepping: int) -> None:
    """Fund a key and insert the waiting jobs."""
    app = App(settings)
    await app.open()
    record, key = await app.accounts.create_key(name="bench")
    await app.ledger.credit(record.org_id, FUNDS_MICRO)
    (folder / "key").write_text(key)
    ids = await insert_waiting(app.db, waiting, org_id=record.org_id, key_id=record.id)
    if stepping:
        more = await insert_waiting(app.db, stepping, org_id=record.org_id, key_id=record.id, provider=Stepping.name)
        (folder / "stepping").write_text("\n".join(more))
    (folder / "jobs").write_text("\n".join(ids))
    (folder / "videos").write_text("\n".join(map(video_id, ids)))
    await app.shut()


def serve(settings: Settings, port: int, folder: Path) -> None:
    """Serve until a signal comes."""
    runtimes = build_runtimes(settings, scratch_dir=settings.data_dir / "media" / "tmp")
    made = (Instant(folder / "polls"), Stepping(folder / "changes"))
    app = App(settings, runtimes={**runtimes, **{one.name: one for one in made}})
    uvicorn.run(
        app.asgi, host="127.0.0.1", port=port, loop="uvloop", http="httptools", access_log=False,
        log_level="warning", server_header=False, date_header=False, proxy_headers=False, backlog=4096,
    )  # fmt: skip


def main() -> None:
    """Prepare the data directory and serve; with BENCH_CPROFILE the main thread's profile is left in that file."""
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--waiting", type=int, default=1)
    parser.add_argument("--stepping", type=int, default=0)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--prepare", action="store_true")
    args = parser.parse_args()
    settings = Settings()
    if args.prepare:
        asyncio.run(prepare(settings, args.folder, args.waiting, args.stepping))
        return
    if not args.again:
        subprocess.run([sys.executable, "-m", "benchmarks.serve", *sys.argv[1:], "--prepare"], check=True)
    set_up()
    configure_logs("warning", "json")
    signal.signal(signal.SIGTERM, _leave)  # uvicorn raises the signal again when it is done
    if path := os.environ.get("BENCH_CPROFILE"):
        profile = cProfile.Profile()
        try:
            profile.runcall(serve, settings, args.port, args.folder)
        finally:
            profile.dump_stats(path)
    else:
        serve(settings, args.port, args.folder)


def _leave(_number: int, _frame: FrameType | None) -> None:
    sys.exit(0)


if __name__ == "__main__":
    main()
