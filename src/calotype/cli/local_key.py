"""The key of this machine's own command line: kept in the data directory, readable by its owner only."""

import contextlib
import os
from pathlib import Path

from calotype.app import App
from calotype.cli.opened import with_settings
from calotype.kernel.generation import KeyClass
from calotype.settings import Settings

NAME = "cli-key"


def local_key(settings: Settings) -> str:
    """Return the local key, made on first use: an unmetered one, for whoever may read it owns the database too."""
    path = settings.data_dir / NAME
    return _read(path) or _make(settings, path)


def renew_local_key(settings: Settings) -> str:
    """Replace a local key that is no longer accepted."""
    path = settings.data_dir / NAME
    path.unlink(missing_ok=True)
    return _make(settings, path)


def _make(settings: Settings, path: Path) -> str:
    async def work(app: App) -> str:
        record, text = await app.accounts.create_key(name="local command line", key_class=KeyClass.UNLIMITED)
        temporary = path.with_name(f".{NAME}.{os.getpid()}")
        temporary.unlink(missing_ok=True)
        descriptor = os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(text + "\n")
        try:
            os.link(temporary, path)
        except FileExistsError:  # another command was faster: one local key is enough
            await app.accounts.revoke(record.id)
            text = _read(path) or text
        finally:
            temporary.unlink()
        return text

    return with_settings(settings, work)


def _read(path: Path) -> str | None:
    with contextlib.suppress(FileNotFoundError):
        return path.read_text("ascii").strip() or None
    return None
