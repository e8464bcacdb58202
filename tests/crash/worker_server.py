"""The server under test with ComfyUI workers: as `server.py`, with its fleets, and looking again very often."""

import server
from calotype.app import App
from calotype.providers.workers import comfyui_runtime, comfyui_submit, fleet
from calotype.settings import Settings

comfyui_submit.LOOK_PAUSE_S = 0.1
comfyui_runtime.HINT_S = 0.2
comfyui_runtime.MISS_PAUSE_S = 0.2
comfyui_runtime.MISSING_MS = 400
fleet.PROBE_S = 0.5


def build() -> App:
    """Build the application as it is."""
    return App(Settings())


server.build = build

if __name__ == "__main__":
    server.nursery()
