"""One installation under test: its data, its server processes, and what a look at the database says about them."""

import asyncio
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import aiohttp

from calotype.db import Sql, Tx
from calotype.db.connection import Connection
from calotype.media.local import LocalStore
from calotype.sandbox.upstream import Emulator
from faults.invariants import broken_rules

HERE = Path(__file__).parent
GRANT_MICRO = 1_000_000
PRICE_MICRO = 11_000
PATIENCE_S = 45.0

_JOBS = Sql("SELECT id, state, provider, lease_n, error FROM job ORDER BY id")


class Nursery:
    """A process that has imported everything and forks servers."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "server.py"), "--nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def spawn(self, env: dict[str, str], log: Path) -> tuple[int, int]:
        """Return the pid and the port of a new server."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"env": env, "log": str(log)}) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        return answer["pid"], answer["port"]

    def close(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.wait(10)


class Server:
    """One server process."""

    def __init__(self, pid: int, port: int, key: str) -> None:
        self.pid = pid
        self.url = f"http://127.0.0.1:{port}"
        self._headers = {"Authorization": f"Bearer {key}"}

    @property
    def alive(self) -> bool:
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        return True

    @property
    def stopped(self) -> bool:
        with contextlib.suppress(OSError):
            return Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"
        return False

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def go_on(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    async def ready(self) -> "Server":
        async with aiohttp.ClientSession() as session:

            async def answers() -> bool:
                if not self.alive:
                    raise AssertionError("the server died while it started")
                try:
                    async with session.get(f"{self.url}/healthz") as answer:
                        return answer.status == 200
                except aiohttp.ClientConnectionError:
                    return False

            await until(answers, "the server to answer")
        return self

    async def post(self, path: str, body: dict[str, Any], headers: dict[str, str] | None = None) -> tuple[int, Any]:
        """Send a request once; a connection that breaks is `(0, None)`."""
        async with aiohttp.ClientSession(headers=self._headers | (headers or {})) as session:
            try:
                async with session.post(f"{self.url}{path}", json=body) as answer:
                    return answer.status, {
                        "body": await answer.json(), "job": answer.headers.get("x-calotype-job-id"),
                    }  # fmt: skip
            except (aiohttp.ClientConnectionError, aiohttp.ClientPayloadError):
                return 0, None

    async def post_and_leave(self, path: str, body: dict[str, Any]) -> None:
        """Send a request and hang up without waiting for its answer."""
        host, _, port = self.url.removeprefix("http://").partition(":")
        _, writer = await asyncio.open_connection(host, int(port))
        text = json.dumps(body).encode()
        lines = [f"POST {path} HTTP/1.1", f"Host: {host}", *(f"{k}: {v}" for k, v in self._headers.items())]
        writer.write("\r\n".join([*lines, f"Content-Length: {len(text)}", "", ""]).encode() + text)
        await writer.drain()
        writer.close()

    async def answers(self) -> bool:
        """Say whether it answers within a second."""
        timeout = aiohttp.ClientTimeout(total=1)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, session.get(f"{self.url}/healthz") as answer:
                return answer.status == 200
        except (aiohttp.ClientError, TimeoutError):
            return False

    async def get(self, path: str) -> tuple[int, bytes]:
        url = path if path.startswith("http") else f"{self.url}{path}"
        async with aiohttp.ClientSession(headers=self._headers) as session, session.get(url) as answer:
            return answer.status, await answer.read()

    async def delete(self, path: str) -> int:
        url = f"{self.url}{path}"
        async with aiohttp.ClientSession(headers=self._headers) as session, session.delete(url) as answer:
            return answer.status


class House:
    """Data that outlives its servers."""

    def __init__(self, url: str, folder: Path, key: str, nursery: Nursery, emulator: Emulator) -> None:
        self.url = url
        self.folder = folder
        self.key = key
        self.emulator = emulator
        self.word = f"fern-{os.urandom(6).hex()}"
        self._nursery = nursery
        self._servers: list[Server] = []
        self._connection: Connection | None = None

    async def start(self, point: str = "", *, data: str = "data", env: dict[str, str] | None = None) -> Server:
        """Start a server on the data, armed to die at the point, and wait until it answers."""
        pid, port = self._nursery.spawn(
            {
                "CALOTYPE_DATA_DIR": str(self.folder / data),
                "CALOTYPE_DATABASE_URL": self.url,
                "CALOTYPE_CARDS_DIR": str(HERE / "cards"),
                "CALOTYPE_ENGINE__LEASE_S": "1",
                "CALOTYPE_ENGINE__AMBIGUOUS_GRACE_S": "5",
                "CALOTYPE_PROVIDERS__SYNC__KIND": "openai",
                "CALOTYPE_PROVIDERS__SYNC__BASE_URL": f"{self.emulator.url}/v1",
                "CALOTYPE_PROVIDERS__SYNCKEY__KIND": "openai",
                "CALOTYPE_PROVIDERS__SYNCKEY__IDEMPOTENCY": "key",
                "CALOTYPE_PROVIDERS__SYNCKEY__BASE_URL": f"{self.emulator.url}/v1",
                "CALOTYPE_TEST_UPSTREAM": self.emulator.url,
                "CALOTYPE_TEST_POINT": point,
                "CALOTYPE_SECURITY__ALLOWED_PRIVATE_HOSTS": '["127.0.0.1"]',
            }
            | (env or {}),
            self.folder / "server.log",
        )
        server = Server(pid, port, self.key)
        self._servers.append(server)
        return await server.ready()

    def close(self) -> None:
        for server in self._servers:
            server.kill()
        if self._connection is not None:
            self._connection.close()

    def forget_connection(self) -> None:
        """Look through a new connection from now on."""
        self._connection = None

    def read(self, sql: str) -> list[tuple[Any, ...]]:
        return self.tx().rows(Sql(sql))

    def tx(self) -> Tx:
        if self._connection is None:
            self._connection = Connection(self.url, read_only=True)
        return self._connection.reading()

    def jobs(self) -> list[tuple[Any, ...]]:
        """Return id, state, provider, fencing token and error of every job, oldest first."""
        return self.tx().rows(_JOBS)

    async def ended(self) -> list[str]:
        """Wait until every job has ended and return the states, oldest first."""

        async def over() -> bool:
            return all(row[1] in ("succeeded", "failed", "canceled") for row in self.jobs())

        try:
            await until(over, "every job to end")
        except AssertionError as error:
            log = (self.folder / "server.log").read_text()[-4000:]
            raise AssertionError(f"{error}; jobs {self.jobs()}\n{log}") from None
        return [row[1] for row in self.jobs()]

    def check(self) -> None:
        """Check every rule that holds of a house at rest: nothing is held, and each success paid its price once."""
        assert broken_rules(self.tx()) == []
        succeeded = [row for row in self.jobs() if row[1] == "succeeded"]
        posted, held = self.read("SELECT posted_micro, held_micro FROM account WHERE id LIKE 'org/%'")[0]
        assert held == 0
        assert posted == GRANT_MICRO - PRICE_MICRO * len(succeeded)
        self._check_files()

    def _check_files(self) -> None:
        rows = self.read("SELECT key, sha256, size_bytes FROM artifact")
        for key, digest, size in rows:
            body = LocalStore(self.folder / "data" / "media").path_of(key).read_bytes()
            assert (hashlib.sha256(body).hexdigest(), len(body)) == (digest, size)


async def until(true: Callable[[], Any], what: str, within_s: float = PATIENCE_S) -> None:
    """Wait for something to become true, looking again and again."""
    end = time.monotonic() + within_s
    while True:
        found = true()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < end, f"waited {within_s} s for {what}"
        await asyncio.sleep(0.03)
