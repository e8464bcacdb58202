"""The folder of temporary files: bodies that are gathered before they are stored, and copies that are lent out."""

import os
from itertools import count
from pathlib import Path


class Spool:
    """Names files in one folder that no other process, and no earlier one, has named."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder.absolute()
        self._prefix = f"{self.folder}/{os.getpid():x}-{os.urandom(6).hex()}-"
        self._names = count()

    def path(self, suffix: str = "") -> Path:
        """Return a fresh name; nothing is created."""
        return Path(f"{self._prefix}{next(self._names):x}{suffix}")

    def holds(self, path: Path) -> bool:
        """Say whether the file lies in the folder, and may be moved away."""
        return path.parent == self.folder

    def probe(self) -> None:
        """Write a file and remove it; raises OSError."""
        path = self.path()
        path.write_bytes(b"ok")
        path.unlink()

    def sweep(self, older_than_ms: int) -> int:
        """Remove files last touched before that instant of Unix time; returns how many."""
        gone = 0
        with os.scandir(self.folder) as entries:
            for entry in entries:
                try:
                    if entry.stat(follow_symlinks=False).st_mtime_ns // 1_000_000 < older_than_ms:
                        Path(entry.path).unlink()
                        gone += 1
                except FileNotFoundError:
                    continue
        return gone
