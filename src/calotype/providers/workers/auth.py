"""How we show a worker who we are; secrets lie sealed in the database, or somewhere else that is only named there."""

import hashlib
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pybase64

from calotype.providers.workers.types import Worker

NONCE_BYTES = 12
MAX_SECRET_FILE_BYTES = 16_384


class NoSecret(ValueError):  # noqa: N818  (it says what is missing)
    """The secret of a worker cannot be had here; the message says what to do and holds no secret."""


class Keyring:
    """Seals the secrets of workers and finds them again.

    `keys` are the server's own (the first one seals), `variable` reads an environment variable, `given` the secret of
    a worker that stands in the settings.
    """

    def __init__(
        self,
        keys: Sequence[bytes],
        *,
        variable: Callable[[str], str | None],
        given: Callable[[str], str | None],
    ) -> None:
        self._keys = tuple(hashlib.sha256(b"calotype worker auth" + key).digest() for key in keys)
        self._variable = variable
        self._given = given

    def seal(self, worker_id: str, secret: str) -> str:
        """Return the secret as text that only this server can read, and only for this worker."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  (5 MiB: when used)

        nonce = os.urandom(NONCE_BYTES)
        sealed = AESGCM(self._keys[0]).encrypt(nonce, secret.encode(), worker_id.encode())
        return pybase64.b64encode(nonce + sealed).decode()

    def headers(self, worker: Worker) -> dict[str, str]:
        """Return the headers that every request to a worker carries.

        Raises:
            NoSecret: the secret is not where it should be.

        """
        auth = worker.auth
        if auth.mode == "none":
            return {}
        secret = self._secret(worker)
        return {"Authorization": f"Bearer {secret}"} if auth.mode == "bearer" else {auth.header: secret}

    def _secret(self, worker: Worker) -> str:
        auth = worker.auth
        secret: str | None = None
        match auth.place:
            case "sealed":
                secret = self._opened(worker.id, auth.value)
                hint = f"it was sealed by another server: add {worker.name} again here, or name a file or a variable"
            case "env":
                secret = self._variable(auth.value)
                hint = f"set the environment variable {auth.value}"
            case "file":
                secret = _read(Path(auth.value))
                hint = f"write it to {auth.value}"
            case _:
                secret = self._given(worker.name)
                hint = f"set workers.{worker.name}.token"
        if not secret or not secret.isprintable():
            raise NoSecret(f"The secret of the worker {worker.name} cannot be read; {hint}.")
        return secret

    def _opened(self, worker_id: str, text: str) -> str | None:
        try:
            raw = pybase64.b64decode(text, validate=True)
        except ValueError:
            return None
        from cryptography.exceptions import InvalidTag  # noqa: PLC0415  (5 MiB: when used)
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415

        for key in self._keys:
            try:
                return AESGCM(key).decrypt(raw[:NONCE_BYTES], raw[NONCE_BYTES:], worker_id.encode()).decode()
            except InvalidTag:
                continue
        return None


def _read(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            return file.read(MAX_SECRET_FILE_BYTES).decode().strip()
    except (OSError, UnicodeDecodeError):
        return None
