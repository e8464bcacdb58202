"""The real server on a loopback port, and a door to its parts: what the tests of the surface drive."""

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Coroutine, Iterator
from pathlib import Path
from typing import Any

import httpx2
import structlog
import uvicorn

from calotype.accounts.types import Organisation
from calotype.app import App
from calotype.db import Sql
from calotype.kernel.generation import KeyClass
from calotype.kernel.ids import uuid7
from calotype.listener import BoundedHttp
from calotype.providers.base import PollSchedule
from calotype.providers.credentials import Ring
from calotype.providers.driver import Driven
from calotype.settings import USUAL_VARIABLES, Settings
from calotype.telemetry.logs import configure_logs

LISTENER: dict[str, Any] = {
    "http": BoundedHttp, "ws": "websockets-sansio", "ws_per_message_deflate": False, "loop": "uvloop",
    "server_header": False, "access_log": False, "log_config": None,
}  # fmt: skip
"""As `calotype serve` sets it."""
GENEROUS_MICRO = 100_000_000


class House:
    """A running server. Everything asked of its parts runs on the server's own loop."""

    def __init__(self, app: App) -> None:
        self.app = app
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self.listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._loop: asyncio.AbstractEventLoop | None = None
        self._up = threading.Event()
        config = uvicorn.Config(app.asgi, lifespan="on", **LISTENER)
        self._server = uvicorn.Server(config)
        self._thread = threading.Thread(target=self._run, daemon=True)

    def _run(self) -> None:
        async def serve() -> None:
            self._loop = asyncio.get_running_loop()
            await self._server.serve(sockets=[self.listener])

        try:
            with asyncio.Runner(loop_factory=self._server.config.get_loop_factory()) as runner:
                runner.run(serve())
        finally:
            self._up.set()

    def start(self) -> None:
        self._thread.start()
        with httpx2.Client(timeout=30) as client:
            client.get(self.url + "/healthz").raise_for_status()

    def stop(self) -> None:
        self._server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()

    def ask(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run a coroutine of the app's on its own loop and return what it returns."""
        assert self._loop is not None
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(60)

    def rows(self, statement: str, **values: Any) -> list[tuple[Any, ...]]:
        return self.ask(self.app.db.read(lambda tx: tx.rows(Sql(statement), values)))

    def account(self, *, micro: int = GENEROUS_MICRO, **org: Any) -> "Account":
        """Make an organisation with money; providers forget that they refused a credential in an earlier test."""
        for runtime in self.app.runtimes.values():
            if isinstance(runtime, Driven):
                runtime.ring = Ring(runtime.adapters, runtime.ring.marks)
        made = self.ask(self.app.accounts.create_org(f"org-{uuid7()}", **org))
        if micro:
            self.ask(self.app.ledger.credit(made.id, micro))
        return Account(self, made)


def hurry(house: House, schedule: PollSchedule, *names: str) -> None:
    """Let a server look at these providers as often as that; other servers of this process keep their own pace."""
    for name in names:
        runtime: Any = house.app.runtimes[name]
        runtime.schedule = schedule
        for adapter in runtime.adapters:
            adapter.schedule = schedule
            if hasattr(adapter, "slow_schedule"):
                adapter.slow_schedule = schedule


class Account:
    """An organisation of the running server and what it can see of its money."""

    def __init__(self, house: House, org: Organisation) -> None:
        self.house = house
        self.org = org

    def key(self, key_class: KeyClass = KeyClass.PAID, **bounds: Any) -> str:
        return self.keyed(key_class, **bounds)[1]

    def keyed(self, key_class: KeyClass = KeyClass.PAID, **bounds: Any) -> tuple[str, str]:
        """Make a key and return its id and its text."""
        record, text = self.house.ask(
            self.house.app.accounts.create_key(self.org.id, name="test", key_class=key_class, **bounds)
        )
        return record.id, text

    @property
    def spent_micro(self) -> int:
        """What was captured, counted on the jobs and in the ledger's entries at one moment."""
        ((captured, entries),) = self.house.rows(
            "SELECT (SELECT COALESCE(SUM(charged_micro), 0) FROM job WHERE org_id = :org),"
            " (SELECT COALESCE(SUM(e.amount_micro), 0) FROM entry e JOIN journal j ON j.id = e.journal_id"
            " WHERE e.account_id LIKE :account AND j.job_id IS NOT NULL)",
            org=self.org.id,
            account=f"%{self.org.id}%",
        )
        assert captured == -entries
        return int(captured)

    @property
    def held_micro(self) -> int:
        return self.house.ask(self.house.app.ledger.balance(self.org.id)).held_micro

    @property
    def jobs(self) -> int:
        return self.house.rows("SELECT COUNT(*) FROM job WHERE org_id = :org", org=self.org.id)[0][0]

    def untouched(self) -> None:
        """Nothing was accepted, held or charged."""
        assert (self.jobs, self.held_micro, self.spent_micro) == (0, 0, 0)


@contextlib.contextmanager
def running(data_dir: Path, **settings: Any) -> Iterator[House]:
    """Serve from a fresh data directory, deaf to the environment's own settings."""
    ours = ("CALOTYPE_", "FAL_", "OPENAI_")
    names = [name for name in os.environ if name.startswith(ours) or name in USUAL_VARIABLES]
    kept = {name: os.environ.pop(name) for name in names if not name.startswith("CALOTYPE_TEST_")}
    try:
        house = House(App(Settings(data_dir=data_dir, **settings)))
    finally:
        os.environ.update(kept)
    with (data_dir / "server.log").open("a", buffering=1) as written:
        before = structlog.get_config()
        configure_logs("info", "json")
        structlog.configure(logger_factory=structlog.PrintLoggerFactory(file=written))
        house.start()
        try:
            yield house
        finally:
            house.stop()
            structlog.configure(**before)
