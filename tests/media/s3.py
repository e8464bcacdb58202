"""A real S3 server in a process of its own, and stores on buckets of it.

What this server cannot do: it takes any credentials and any signature, does not let signed URLs expire, and knows no
clock skew and no quota. Those are tested against a server that answers as S3 documents them.
"""

import contextlib
import socket
import subprocess
import sys
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp

from calotype.media.buckets import open_backend
from calotype.media.remote import RemoteStore
from calotype.settings import StorageSettings
from crash.house import until

SECRET = "a-secret-of-the-storage"


class S3:
    """One server process; stopped and started again it has forgotten everything but its port."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as listener:
            self.port: int = listener.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(self.port)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    async def ready(self) -> "S3":
        async def answers() -> bool:
            assert self._process is not None
            assert self._process.poll() is None, "the S3 server ended"
            with contextlib.suppress(aiohttp.ClientError):
                async with aiohttp.ClientSession() as session, session.get(f"{self.url}/moto-api/") as answer:
                    return answer.status == 200
            return False

        await until(answers, "the S3 server to answer")
        return self

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(10)

    def make(self, bucket: str) -> None:
        request = urllib.request.Request(f"{self.url}/{bucket}", method="PUT")
        with urllib.request.urlopen(request, timeout=10) as answer:
            assert answer.status == 200

    def bucket(self) -> str:
        """Make a bucket and return a storage URL in it, with a prefix."""
        name = f"b-{uuid.uuid4().hex[:12]}"
        self.make(name)
        return f"s3://{name}/some/prefix"

    @property
    def settings(self) -> dict[str, Any]:
        return {
            "endpoint": self.url, "region": "eu-central-1", "access_key_id": "AKIATEST", "secret_access_key": SECRET,
            "timeout_s": 10, "retries": 1,
        }  # fmt: skip

    def env(self, url: str) -> dict[str, str]:
        """Return the settings as a server's environment, credentials in AWS's own variables."""
        return {
            "CALOTYPE_STORAGE_URL": url, "AWS_ENDPOINT_URL": self.url, "AWS_REGION": "eu-central-1",
            "AWS_ACCESS_KEY_ID": "AKIATEST", "AWS_SECRET_ACCESS_KEY": SECRET, "CALOTYPE_STORAGE__TIMEOUT_S": "10",
        }  # fmt: skip

    def store(self, url: str, folder: Path) -> RemoteStore:
        return RemoteStore(open_backend(url, StorageSettings(**self.settings)), folder)


@contextlib.contextmanager
def starting() -> Iterator[S3]:
    """Start a server; it takes seconds to answer, so ask `ready` late."""
    server = S3()
    server.start()
    try:
        yield server
    finally:
        server.stop()
