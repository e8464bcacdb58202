"""A server with every provider there is, each an emulator, for rules that hold of all of them alike."""

import contextlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2

from calotype.sandbox.base import Submit
from running import Account, House, running
from soak.lineup import LINES, PRICES, Line, cards
from soak.soak_house import SECRETS, Upstreams, upstreams

MOST_S = 30.0


class Ranks:
    """The server, its upstreams and one account with a key."""

    def __init__(self, house: House, upstreams: Upstreams) -> None:
        self.house = house
        self.upstreams = upstreams
        self._marks = 0
        self.renew()

    def renew(self) -> None:
        """Be another tenant from now on, at upstreams that have forgotten everything."""
        for upstream in self.upstreams.all:
            httpx2.delete(f"{upstream.url}/__control__").raise_for_status()
        self.upstreams.settle_in()
        self.account: Account = self.house.account()
        self.http = httpx2.Client(
            base_url=self.house.url, timeout=60, headers={"Authorization": f"Bearer {self.account.key()}"}
        )

    def send(self, line: Line, words: str = "") -> str:
        """Ask for one thing and return its job's id; who waits for an end has waited for it."""
        self._marks += 1
        path, body, headers = line.ask(f"job {self._marks:05d}: {words}")
        answer = self.http.post(path, json=body, headers=headers)
        job = answer.headers.get("x-calotype-job-id") or answer.json().get("request_id")
        assert job, answer.text
        return str(job)

    def ended(self, job: str) -> str:
        """Wait until a job is over and return its state."""
        over = ("succeeded", "failed", "canceled")
        return str(self.until(lambda: self.state(job) in over and self.state(job), f"{job} to end"))

    def state(self, job: str) -> str:
        return str(self.one("SELECT state FROM job WHERE id = :id", id=job))

    def one(self, statement: str, **values: Any) -> Any:
        """Return the first value of the first row."""
        rows = self.house.rows(statement, **values)
        return rows[0][0] if rows else None

    def charged(self, line: Line, times: int) -> None:
        """So many of them were paid, and nothing is held."""
        assert (self.account.spent_micro, self.account.held_micro) == (times * PRICES[line.model], 0)

    def temporary(self) -> list[str]:
        """Return what lies in the server's folder of temporary files."""
        folder = self.house.app.settings.data_dir / "media" / "tmp"
        return [path.name for path in folder.iterdir()]

    def submits(self) -> list[Submit]:
        return [submit for _, submit in self.upstreams.submits]

    def until(self, true: Callable[[], Any], what: str) -> Any:
        """Look again and again until something is true."""
        end_s = time.monotonic() + MOST_S
        while not (found := true()):
            assert time.monotonic() < end_s, f"waited {MOST_S} s for {what}"
            time.sleep(0.02)
        return found


def line_of(name: str) -> Line:
    return next(line for line in LINES if line.name == name)


@contextlib.contextmanager
def ranks(folder: Path, **changes: dict[str, Any]) -> Iterator[Ranks]:
    """Serve with every provider; `changes` are to the settings of instances, `_` standing for a dash.

    When it is over, no credential may have been written down.
    """
    (folder / "cards").mkdir()
    (folder / "data").mkdir()
    (folder / "cards" / "soak.toml").write_text(cards())
    with upstreams() as found:
        settings = found.settings()
        for name, change in changes.items():
            settings["providers"][name.replace("_", "-")] |= change
        with running(folder / "data", cards_dir=folder / "cards", **settings) as house:
            house.app.url = house.url
            yield Ranks(house, found)
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "server.log" for path in written)
    secrets = [secret.encode() for secret in SECRETS.values()]
    leaks = [(path.name, secret) for path in written for secret in secrets if secret in path.read_bytes()]
    assert leaks == [], "a credential was written down"
