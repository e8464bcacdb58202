"""The server's own secrets: made once, readable by nobody else, kept beside their predecessors when rotated.

One file per name in `<data directory>/secrets`, mode 0600: one secret per line in hex, the one in force first. Two
processes that start at once agree, because a file appears under its name whole or not at all.
"""

import fcntl
import hmac
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

SECRET_BYTES = 32
KEPT = 3
"""How many secrets of one name are accepted at once."""

SHARED = frozenset({"fingerprint", "fal_tickets", "content_jobs"})
"""Names that follow `url_signing` where the settings give that one. Servers behind one address must agree on them, or a
request sent again to another would be carried out twice, and a ticket or job id of one be refused by the next."""

_NAME = re.compile(r"[a-z][a-z0-9_]{0,40}\Z")


class Secrets:
    """Answers secrets by name (`url_signing`, `webhook_signing`, `session`), making those that are missing.

    `overrides` come from the settings and win over the files; a value may hold several secrets separated by commas,
    of which the first signs.
    """

    def __init__(self, data_dir: Path, overrides: Mapping[str, str | None] | None = None) -> None:
        self._folder = data_dir / "secrets"
        self._overrides = {name: value for name, value in (overrides or {}).items() if value}

    def get(self, name: str) -> tuple[bytes, ...]:
        """Return the secrets of a name, the one that signs first."""
        if (given := self._overrides.get(name)) is not None:
            return tuple(part.strip().encode() for part in given.split(",") if part.strip())
        path = self._path(name)
        if name in SHARED and "url_signing" in self._overrides:
            derived = tuple(hmac.digest(root, name.encode(), "sha256") for root in self.get("url_signing"))
            return (*derived, *(_read(path) if path.exists() else ()))  # what was made before the setting stays valid
        with suppress(FileNotFoundError):
            return _read(path)
        with self._locked():
            if not path.exists():
                self._write(path, (secrets.token_bytes(SECRET_BYTES),))
        return _read(path)

    def rotate(self, name: str) -> tuple[bytes, ...]:
        """Put a new secret in front and keep the last ones for verification; raises ValueError for an override."""
        if name in self._overrides or (name in SHARED and "url_signing" in self._overrides):
            raise ValueError(f"the secret {name!r} is set from outside; change it there")
        path = self._path(name)
        with self._locked():
            old = _read(path) if path.exists() else ()
            kept = (secrets.token_bytes(SECRET_BYTES), *old)[:KEPT]
            self._write(path, kept)
        return kept

    def _path(self, name: str) -> Path:
        if not _NAME.match(name):
            raise ValueError(f"not the name of a secret: {name[:50]!r}")
        return self._folder / name

    @contextmanager
    def _locked(self) -> Iterator[None]:
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(self._folder / ".lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def _write(self, path: Path, values: tuple[bytes, ...]) -> None:
        temp = path.with_name(f".{path.name}.new")
        temp.unlink(missing_ok=True)  # left by a process that died here; the lock is ours
        descriptor = os.open(temp, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
        try:
            os.write(descriptor, "".join(f"{value.hex()}\n" for value in values).encode())
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        temp.rename(path)
        folder = os.open(self._folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _read(path: Path) -> tuple[bytes, ...]:
    values = tuple(bytes.fromhex(line) for line in path.read_text("ascii").split())
    if not values:
        raise ValueError(f"the secret file {path.name} is empty")
    return values
