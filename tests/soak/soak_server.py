"""The server under test with every provider: as `crash/server.py`, only that it is impatient with all of them."""

import importlib
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1] / "crash"))
import server
from calotype.app import App
from calotype.providers import azure, bfl, fal, google, kie, kie_rate, minimax, openrouter
from calotype.providers.base import PollSchedule
from calotype.providers.workers.comfyui_runtime import ComfyRuntime
from calotype.providers.workers.http_runtime import HttpRuntime
from calotype.settings import Settings

QUICK = PollSchedule(first_s=0.05, factor=1.2, max_s=0.3)
ADAPTERS = (
    azure.Azure, bfl.Bfl, fal.Fal, google.Google, kie.Kie, minimax.MiniMax, openrouter.OpenRouter, HttpRuntime,
    ComfyRuntime,
)  # fmt: skip
SHORT: dict[str, Any] = {
    "azure.POLL_TIMEOUT_S": 2.0, "bfl.POLL_TIMEOUT_S": 2.0, "fal.POLL_TIMEOUT_S": 2.0, "kie.POLL_TIMEOUT_S": 2.0,
    "minimax.POLL_TIMEOUT_S": 2.0, "kie.CREATE_TIMEOUT_S": 2.0, "kie.WINDOW_MS": 50, "kie.MAINTENANCE_MS": 50,
    "kie.Turnstile": lambda: kie_rate.Turnstile(most=1_000_000), "credentials.FIRST_REST_S": 0.3,
    "google_media.PAUSE_S": 0.05, "openrouter_media.ASKED_AGAIN_S": 0.05, "workers.runtime.AGAIN_S": 0.2,
    "workers.comfyui.SUBMIT_TIMEOUT_S": 2.0, "workers.comfyui.ASK_TIMEOUT_S": 2.0,
    "workers.http_worker.SUBMIT_TIMEOUT_S": 2.0, "workers.http_worker.ASK_TIMEOUT_S": 2.0,
    "workers.comfyui_submit.LOOK_PAUSE_S": 0.1, "workers.comfyui_runtime.HINT_S": 0.2,
    "workers.comfyui_runtime.MISS_PAUSE_S": 0.2, "workers.comfyui_runtime.MISSING_MS": 400,
    "workers.fleet.PROBE_S": 0.5, "workers.fleet.PATIENCE_S": 3.0, "workers.fleet.TIDY_S": 0.5,
    "workers.fleet.UNSEEN_S": 2.0,
}  # fmt: skip
"""Names in `calotype.providers` that are times or bounds of a rate, and what they are here."""


def hurry() -> None:
    """Look at every upstream many times a second, and wait for nobody long."""
    for adapter in ADAPTERS:
        adapter.schedule = QUICK
    kie.Kie.slow_schedule = QUICK
    for name, value in SHORT.items():
        room, _, constant = name.rpartition(".")
        module = importlib.import_module(f"calotype.providers.{room}")
        assert hasattr(module, constant), name
        setattr(module, constant, value)


def build() -> App:
    """Build the application as it is."""
    return App(Settings())


hurry()
vars(server)["build"] = build

if __name__ == "__main__":
    server.nursery()
