"""Starts emulators: inside a running loop, or on a thread of their own for whoever has no loop."""

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager, contextmanager

from calotype.sandbox.azure import Azure
from calotype.sandbox.base import Emulator
from calotype.sandbox.bfl import Bfl
from calotype.sandbox.comfyui import ComfyUI
from calotype.sandbox.fal import Fal
from calotype.sandbox.google import Google
from calotype.sandbox.kie import Kie
from calotype.sandbox.minimax import MiniMax
from calotype.sandbox.mistral import Mistral
from calotype.sandbox.openai import OpenAI
from calotype.sandbox.openrouter import OpenRouter

EMULATORS: dict[str, Callable[[], Emulator]] = {
    "azure": Azure,
    "bfl": Bfl,
    "minimax": MiniMax,
    "mistral": Mistral,
    "comfyui": ComfyUI,
    "comfyui2": lambda: ComfyUI("comfyui2"),
    "fal": Fal,
    "google": Google,
    "kie": Kie,
    "openai": OpenAI,
    "openrouter": OpenRouter,
}
"""Every emulator by name."""
ON_REQUEST = frozenset({"comfyui2"})
"""Those that only run when they are named: a second worker."""


@asynccontextmanager
async def serve(
    names: Iterable[str], ports: Iterable[int], *, tls: tuple[str, str] | None = None
) -> AsyncIterator[dict[str, Emulator]]:
    """Run emulators on these ports of this machine (0 takes a free one) until the block ends.

    Raises:
        KeyError: a name that is none of `EMULATORS`.
        OSError: a port is taken.

    """
    emulators = {name: EMULATORS[name]() for name in names}
    started: list[Emulator] = []
    try:
        for emulator, port in zip(emulators.values(), ports, strict=True):
            await emulator.start(port, tls=tls)
            started.append(emulator)
        yield emulators
    finally:
        await asyncio.gather(*(emulator.stop() for emulator in started))


@contextmanager
def on_a_thread(emulator: Emulator, *, tls: tuple[str, str] | None = None) -> Iterator[Emulator]:
    """Run one emulator on a free port, with a loop of its own, until the block ends."""
    up = threading.Event()
    loop = asyncio.new_event_loop()

    async def start() -> None:
        await emulator.start(tls=tls)
        up.set()

    def run() -> None:
        loop.run_until_complete(start())
        loop.run_forever()
        loop.run_until_complete(emulator.stop())
        loop.close()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    if not up.wait(10):
        raise TimeoutError("the emulator did not start")
    try:
        yield emulator
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join(10)
