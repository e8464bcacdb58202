"""An installation whose models run on an emulated ComfyUI worker: what it was sent, and what must hold at rest."""

import subprocess
import sys
from pathlib import Path
from typing import Any

from calotype.sandbox.comfyui import ComfyUI
from crash.house import HERE, House, Nursery, Server

CARDS = """
[[cards]]
id = "w/picture"
title = "Picture"
operation = "text-to-image"
output = "image"
price = { unit = "request", micro = 11_000 }
[cards.input]
required = ["prompt"]
properties = { prompt = { type = "string" }, size = { "$ref" = "_shared.toml#/size" } }
[cards.example]
prompt = "x"
[[cards.routes]]
provider = "comfyui"
upstream = "flux-krea-dev@1"

[[cards]]
id = "w/film"
title = "Film"
operation = "text-to-video"
output = "video"
price = { unit = "request", micro = 11_000 }
[cards.input]
required = ["prompt"]
properties = { prompt = { type = "string" }, seconds = { type = "number" }, size = { type = "string" } }
[cards.example]
prompt = "x"
[[cards.routes]]
provider = "comfyui"
upstream = "wan22-t2v@1"
"""


class WorkerNursery(Nursery):
    """A process that forks servers with fleets."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "worker_server.py"), "--nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


class WorkerHouse(House):
    """Data that outlives its servers, which send their work to one worker."""

    def __init__(self, url: str, folder: Path, key: str, nursery: Nursery, worker: ComfyUI) -> None:
        super().__init__(url, folder, key, nursery, worker)  # type: ignore[arg-type]
        self.worker = worker
        (folder / "cards").mkdir()
        (folder / "cards" / "workers.toml").write_text(CARDS)

    async def serve(self, point: str = "", *, data: str = "data") -> Server:
        return await self.start(
            point,
            data=data,
            env={
                "CALOTYPE_CARDS_DIR": str(self.folder / "cards"),
                "CALOTYPE_PROVIDERS__COMFYUI__KEY_CLASSES": '["paid"]',
                "CALOTYPE_WORKERS__ONE__URL": self.worker.url,
            },
        )

    def submits_of(self, word: str) -> list[dict[str, Any]]:
        """Return the prompts that the worker was sent with this word, in the order they came."""
        return [one.json() for one in list(self.worker.submits) if word in one.body.decode()]

    def saved_for(self, prompt_id: str) -> list[tuple[str, ...]]:
        """Return the files that the worker saved for a prompt."""
        return [key for key in self.worker.files.bodies if any(prompt_id in part for part in key)]
