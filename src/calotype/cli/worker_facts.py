"""What a ComfyUI worker says of itself to a command: its node classes and the files in its models folders."""

import http.client
import ssl
import urllib.error
import urllib.request
from typing import Any
from urllib.parse import quote, urlsplit

import msgspec

from calotype.cli.terminal import Failure

TIMEOUT_S = 15.0
MAX_BYTES = 64 << 20


class WorkerFacts:
    """Reads one worker; `token` is what a proxy in front of it wants."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Failure(f"{url!r} is no address of a worker: write http://host:port or https://host.")
        self._headers = {"authorization": f"Bearer {token}"} if token else {}
        self._opener = urllib.request.build_opener(
            urllib.request.ProxyHandler({}), urllib.request.HTTPSHandler(context=ssl.create_default_context())
        )

    def class_info(self, name: str) -> dict[str, Any] | None:
        """Return a class as `/object_info` tells it; None when the worker does not have it."""
        told = self._get(f"/object_info/{quote(name, safe='')}")
        return told.get(name) if isinstance(told, dict) else None

    def files(self, folder: str) -> frozenset[str]:
        """Return the files of a models folder; none of a folder it does not have."""
        told = self._get(f"/models/{quote(folder, safe='')}", missing=[])
        return frozenset(str(name).replace("\\", "/") for name in told) if isinstance(told, list) else frozenset()

    def _get(self, path: str, missing: Any = None) -> Any:
        request = urllib.request.Request(self.url + path, headers=self._headers)  # noqa: S310  (scheme checked above)
        try:
            with self._opener.open(request, timeout=TIMEOUT_S) as response:
                return msgspec.json.decode(response.read(MAX_BYTES))
        except urllib.error.HTTPError as error:
            if error.code == 404 and missing is not None:
                return missing
            raise Failure(f"The worker at {self.url} answered HTTP {error.code} to {path}.") from None
        except msgspec.DecodeError:
            raise Failure(f"What answers at {self.url} is no ComfyUI server.") from None
        except (OSError, http.client.HTTPException) as error:
            reason = getattr(error, "reason", error)
            raise Failure(f"The worker at {self.url} cannot be reached: {reason}.") from None
