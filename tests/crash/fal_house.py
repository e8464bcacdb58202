"""An installation whose upstream is the emulated fal: what it sent there, and what must hold of it at rest."""

import base64
import subprocess
import sys
from pathlib import Path
from typing import Any

from calotype.sandbox import media
from calotype.sandbox.base import Submit
from calotype.sandbox.fal import Fal
from calotype.sandbox.fal_work import Work
from crash.at_rest import rests
from crash.house import HERE, House, Nursery, Server

PRICES_MICRO = {"krea-2": 33_000, "wan": 88_000, "avatar": 220_000}
"""Of one picture and of films asked for with `seconds` 1: cost plus the margin of 10 %."""


class FalNursery(Nursery):
    """A process that forks servers which look at fal often."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, str(HERE / "fal_server.py"), "--nursery"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


class FalHouse(House):
    """Data that outlives its servers, which send their work to the emulated fal."""

    def __init__(self, url: str, folder: Path, key: str, nursery: Nursery, fal: Fal) -> None:
        super().__init__(url, folder, key, nursery, fal)  # type: ignore[arg-type]
        self.fal = fal

    async def serve(self, point: str = "", env: dict[str, str] | None = None) -> Server:
        settings = {
            "CALOTYPE_PROVIDERS__FAL__KIND": "fal",
            "CALOTYPE_PROVIDERS__FAL__API_KEY": "sandbox:key",
            "CALOTYPE_PROVIDERS__FAL__BASE_URL": f"{self.fal.url}/queue",
            "CALOTYPE_PROVIDERS__FAL__READ_TIMEOUT_S": "2",
        }
        return await self.start(point, env=settings | (env or {}))

    def submits_of(self, prompt: str) -> list[Submit]:
        """Return the paid requests whose prompt begins so, in the order they came."""
        return [submit for submit in list(self.fal.submits) if _prompt(submit.json()).startswith(prompt)]

    def works_of(self, prompt: str) -> list[Work]:
        """Return what fal took on."""
        return [work for work in list(self.fal.works.values()) if _prompt(work.fields).startswith(prompt)]

    def settled(self) -> None:
        """Check what holds at rest: no open hold, each success charged its price once, with a file that is whole."""
        rests(self, PRICES_MICRO)
        bare = "SELECT id FROM job WHERE state = 'succeeded' AND id NOT IN (SELECT job_id FROM artifact)"
        assert self.read(bare) == []


def asked(model: str, prompt: str) -> tuple[str, dict[str, Any]]:
    """Return path and body of the smallest request to a model of fal's."""
    if model == "krea-2":
        return "/v1/images/generations", {"model": model, "prompt": prompt, "size": "256x256"}
    body = {"model": model, "prompt": prompt, "seconds": 1}
    if model == "avatar":
        body |= {
            "image_url": _data("image/png", media.png(64, 64, "portrait")),
            "audio_url": _data("audio/wav", media.wav(1.0)),
        }
    return "/v1/videos/generations", body


def _prompt(fields: Any) -> str:
    return str(fields.get("prompt", "")) if isinstance(fields, dict) else ""


def _data(kind: str, body: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"
