"""An installation with every provider, each an emulator with faults: its settings, its secrets, and its rest."""

import contextlib
import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2

from calotype.sandbox.azure import Azure
from calotype.sandbox.base import Emulator, Submit
from calotype.sandbox.bfl import Bfl
from calotype.sandbox.comfyui import ComfyUI
from calotype.sandbox.fal import Fal
from calotype.sandbox.google import Google
from calotype.sandbox.kie import Kie
from calotype.sandbox.minimax import MiniMax
from calotype.sandbox.mistral import Mistral
from calotype.sandbox.openai import OpenAI
from calotype.sandbox.openrouter import OpenRouter
from calotype.sandbox.serve import on_a_thread
from crash.at_rest import rests
from crash.house import House, Nursery, Server, until
from soak.lineup import LINES, PRICES, cards
from soak.painter import Painter

HERE = Path(__file__).parent
MANY = 1_000_000
AGREEMENT = {"reference": "BAA-soak", "expires": "2099-12-31"}
SECRETS = {
    "fal": "soak0a17:fal-5e0c2f11d9", "openai": "sk-soak-7d1f0b2c44", "openai-keyed": "sk-soak-keyed-90ab31",
    "openrouter": "sk-or-soak-1b77c0de", "google": "AIzaSoak-44f1c0ffee", "bfl": "bfl-soak-0d15ea5e",
    "bfl-eu": "bfl-soak-eu-77aa01", "bfl-us": "bfl-soak-us-13bb02", "kie": "kie-soak-c0de99f0",
    "minimax": "minimax-soak-5eed01", "mistral": "mistral-soak-b01dface", "azure-eu": "azure-soak-0ff1ce",
    "comfyui": "comfy-soak-token-8a3e", "painter": "painter-soak-token-41d9", "kie-callbacks": "kie-soak-hook-66f2",
}  # fmt: skip
"""Every credential that the server is given, by whom it is for."""


class Upstreams:
    """Every emulator, running, as this installation's providers."""

    def __init__(self) -> None:
        token = SECRETS["comfyui"]
        self.workers = (ComfyUI("comfyui", token=token), ComfyUI("comfyui2", token=token))
        kie = Kie()
        kie.webhook_key = SECRETS["kie-callbacks"]
        self.all: tuple[Emulator, ...] = (
            Fal(), OpenAI(), OpenRouter(), Google(), Bfl(), kie, MiniMax(), Mistral(), Azure(), *self.workers,
            Painter(SECRETS["painter"]),
        )  # fmt: skip

    def __getitem__(self, name: str) -> Emulator:
        return next(one for one in self.all if one.name == name)

    @property
    def submits(self) -> list[tuple[str, Submit]]:
        """Every paid request with the name of the emulator that got it."""
        return [(one.name, submit) for one in self.all for submit in list(one.submits)]

    def settle_in(self) -> None:
        """Take away what would only slow the storm down: limits of rates and of credit."""
        self["kie"].settings |= {"per_window": MANY, "credits": 10 * MANY}
        self["bfl"].settings |= {"active": MANY, "credits": 100 * MANY}

    def settings(self) -> dict[str, Any]:
        """Return the settings of every provider and worker."""
        url = {one.name: one.url for one in self.all}
        bases = {
            "fal": ("fal", f"{url['fal']}/queue"), "openai": ("openai", f"{url['openai']}/v1"),
            "openai-keyed": ("openai", f"{url['openai']}/v1"),
            "openrouter": ("openrouter", f"{url['openrouter']}/api/v1"),
            "google": ("google", url["google"]), "bfl": ("bfl", url["bfl"]), "bfl-eu": ("bfl", f"{url['bfl']}/eu"),
            "bfl-us": ("bfl", f"{url['bfl']}/us"), "kie": ("kie", url["kie"]), "minimax": ("minimax", url["minimax"]),
            "mistral": ("mistral", f"{url['mistral']}/v1"), "azure-eu": ("azure", f"{url['azure']}/eu"),
        }  # fmt: skip
        providers: dict[str, dict[str, Any]] = {
            name: {"kind": kind, "base_url": base, "api_key": SECRETS[name], "read_timeout_s": 2}
            for name, (kind, base) in bases.items()
        }
        providers["openai-keyed"]["idempotency"] = "key"
        providers["kie"]["webhook_secret"] = SECRETS["kie-callbacks"]
        fleet = {"key_classes": ["paid"], "phi": AGREEMENT}
        providers |= {"comfyui": fleet, "http": fleet, "local": {"phi": AGREEMENT}}
        providers["openai"]["phi"] = AGREEMENT
        workers: dict[str, dict[str, Any]] = {
            worker.name: {"url": worker.url, "token": SECRETS["comfyui"], "max_jobs": 4} for worker in self.workers
        }
        workers["painter"] = {"url": url["painter"], "kind": "http", "token": SECRETS["painter"], "max_jobs": 16}
        return {"providers": providers, "workers": workers}


@contextlib.contextmanager
def upstreams() -> Iterator[Upstreams]:
    """Run every emulator until the block ends."""
    found = Upstreams()
    with contextlib.ExitStack() as stack:
        for emulator in found.all:
            stack.enter_context(on_a_thread(emulator))
        found.settle_in()
        yield found


class SoakNursery(Nursery):
    """A process that forks servers with every provider."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "soak_server.py"), "--nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


class SoakHouse(House):
    """Data that outlives its servers, which send their work to every provider there is."""

    def __init__(self, url: str, folder: Path, nursery: SoakNursery, upstreams: Upstreams) -> None:
        super().__init__(url, folder, "", nursery, upstreams["fal"])  # type: ignore[arg-type]
        self.upstreams = upstreams
        (folder / "cards").mkdir()
        (folder / "cards" / "soak.toml").write_text(cards())

    async def serve(self) -> Server:
        more = {"CALOTYPE_CARDS_DIR": str(self.folder / "cards"), "CALOTYPE_ENGINE__AMBIGUOUS_GRACE_S": "30"}
        settings = {f"CALOTYPE_{name.upper()}": json.dumps(value) for name, value in self.upstreams.settings().items()}
        return await self.start(env=settings | more)

    def restart(self, worker: Emulator) -> None:
        """Kill a worker and start it again: it forgets all that it had in hand."""
        httpx2.post(f"{worker.url}/__control__", json={"do": ["restart"]}).raise_for_status()

    async def settled(self) -> None:
        """Check what holds at rest, and that each success has its file or its data, but PHI nothing at all."""
        await until(lambda: not self.read("SELECT token FROM worker_run WHERE state = 'open'"), "workers to be free")
        rests(self, PRICES, {line.model: line.outputs for line in LINES})
        rows = self.read(
            "SELECT j.id, j.data_class, j.operation, j.result, (SELECT COUNT(*) FROM artifact a WHERE a.job_id = j.id)"
            " FROM job j WHERE j.state = 'succeeded'"
        )
        for job, data_class, operation, result, files in rows:
            data = json.loads(result or "{}").get("data")
            if data_class == "phi":
                assert not files, (job, "PHI was kept")
            else:
                assert files or data, (job, operation, "charged for nothing")
