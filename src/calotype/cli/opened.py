"""Opens the database for a command, beside a running server or without one; no command runs a second engine."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from calotype.app import App
from calotype.cli.options import settings_for
from calotype.settings import Settings

R = TypeVar("R")


def with_app(data_dir: Path | None, work: Callable[[App], Awaitable[R]]) -> R:
    """Run `work` with an opened house that takes no jobs."""
    return with_settings(settings_for(data_dir), work)


def with_settings(settings: Settings, work: Callable[[App], Awaitable[R]]) -> R:
    """Run `work` with an opened house of these settings."""

    async def run() -> R:
        app = App(settings)
        await app.open()
        try:
            return await work(app)
        finally:
            await app.shut()

    return asyncio.run(run())
