"""The server under test: the real application in a process of its own that dies, or stops, at a named point.

Run alone it serves from the environment. With `--nursery` it imports everything once, then makes a server process for
each line of JSON (`{"env": {…}, "log": path}`) it reads, and answers each with `{"pid": …, "port": …}`.

`CALOTYPE_TEST_POINT` is `name`, `name#3` for the third time it is reached, or `stop:name` for SIGSTOP in place of
SIGKILL. `CALOTYPE_TEST_UPSTREAM` is the emulator's base URL.
"""

import json
import os
import signal
import socket
import sys
import threading
from collections import Counter
from pathlib import Path

import uvicorn

sys.path.insert(0, str(Path(__file__).parent))
from polled import Polled

from calotype.app import App
from calotype.http import Upstream
from calotype.kernel import points
from calotype.providers.base import Idempotency
from calotype.providers.driver import Driven
from calotype.providers.registry import build_runtimes
from calotype.settings import Settings
from calotype.telemetry.logs import configure_logs


def arm(wanted: str) -> None:
    """Die, or stop, when the point is reached."""
    how, _, name = wanted.rpartition(":")
    name, _, number = name.partition("#")
    left = Counter({name: int(number or 1)})
    what = signal.SIGSTOP if how == "stop" else signal.SIGKILL

    def reached(point: str) -> None:
        if point == name:
            left[name] -= 1
            if left[name] == 0:  # sent to this very thread, so that it does not get one step further
                signal.pthread_kill(threading.get_ident(), what)

    points.on_point = reached


def build() -> App:
    """Build the application from the environment, with the test's own provider beside the configured ones."""
    settings = Settings()
    base_url = os.environ["CALOTYPE_TEST_UPSTREAM"]
    runtimes = build_runtimes(settings, scratch_dir=settings.data_dir / "media" / "tmp")
    for idempotency in Idempotency:
        name = f"polled-{idempotency.name.lower()}"
        runtimes[name] = Driven([Polled(name, base_url, idempotency)], Upstream(name), max_in_progress=100)
    return App(settings, runtimes=runtimes)


def serve(listener: socket.socket) -> None:
    """Serve until killed."""
    configure_logs("info", "json")
    if wanted := os.environ.get("CALOTYPE_TEST_POINT"):
        arm(wanted)
    app = build()
    app.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    config = uvicorn.Config(app.asgi, log_level="warning", access_log=False, lifespan="on")
    uvicorn.Server(config).run(sockets=[listener])


def say(pid: int, listener: socket.socket) -> None:
    sys.stdout.write(json.dumps({"pid": pid, "port": listener.getsockname()[1]}) + "\n")
    sys.stdout.flush()


def nursery() -> None:
    """Make a server process for each order; forking spares each of them the imports."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    orders = sys.stdin
    while line := orders.readline():
        order = json.loads(line)
        listener = socket.socket()
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", 0))
        pid = os.fork()
        if pid == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            log = os.open(order["log"], os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
            os.dup2(log, 1)
            os.dup2(log, 2)
            os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
            os.environ.update(order["env"])
            serve(listener)
            os._exit(0)
        say(pid, listener)
        listener.close()


if __name__ == "__main__":
    if "--nursery" in sys.argv:
        nursery()
    else:
        own = socket.socket()
        own.bind(("127.0.0.1", int(os.environ.get("CALOTYPE_PORT", "0"))))
        say(os.getpid(), own)
        serve(own)
