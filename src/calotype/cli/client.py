"""A small HTTP client for the commands that talk to a server as any client does."""

import http.client
import shutil
import socket
import ssl
import time
import urllib.error
import urllib.request
import uuid
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import msgspec

from calotype.cli.terminal import Failure
from calotype.kernel.errors import Problem

TRIES = 4
"""Sendings of one request; the idempotency key makes them one job."""
MEDIA_PATH = "/v1/media/"
FAL_PATH = "/fal/"
"""Below it a key is sent as programs written for fal send it."""


class Unreachable(Failure):
    """No server answers there."""


class Answer(msgspec.Struct):
    """A server's answer: its JSON body and its headers in lower case."""

    body: dict[str, Any]
    headers: dict[str, str]


class _Stay(urllib.request.HTTPRedirectHandler):
    """Follows no redirect, so that a key is never sent to another host."""

    def redirect_request(self, *_args: Any, **_named: Any) -> None:
        return None


class Client:
    """Speaks to one server with one key."""

    def __init__(self, url: str, key: str | None = None, *, timeout_s: float = 660.0) -> None:
        self.url = url.rstrip("/")
        parts = urlsplit(self.url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise Failure(f"{url!r} is no address of a server: write http://host:port or https://host.")
        self._key = key
        self._timeout_s = timeout_s
        handlers: list[urllib.request.BaseHandler] = [
            _Stay(), urllib.request.HTTPSHandler(context=ssl.create_default_context()),
        ]  # fmt: skip
        if parts.hostname in ("127.0.0.1", "::1", "localhost"):
            handlers.append(urllib.request.ProxyHandler({}))
        self._opener = urllib.request.build_opener(*handlers)
        self._foreign = urllib.request.build_opener()

    def get(self, path: str) -> Answer:
        """Fetch a JSON object.

        Raises:
            Problem: what the server refused with.
            Unreachable: no server answers.

        """
        return self._call("GET", path, None, {})

    def post(self, path: str, body: dict[str, Any]) -> Answer:
        """Send a request that is carried out once, however often it must be sent.

        Raises:
            Problem: what the server refused with.
            Unreachable: no server answers.

        """
        headers = {"idempotency-key": str(uuid.uuid4()), "content-type": "application/json"}
        for tried in range(1, TRIES + 1):
            try:
                return self._call("POST", path, msgspec.json.encode(body), headers)
            except Unreachable:
                if tried == TRIES:
                    raise
            except Problem as problem:
                if not problem.retryable or tried == TRIES:
                    raise
            time.sleep(0.3 * tried)
        raise AssertionError("the loop above returns or raises")

    def alive(self, timeout_s: float = 2.0) -> bool:
        """Say whether a Calotype server answers."""
        try:
            with self._opener.open(f"{self.url}/healthz", timeout=timeout_s) as response:
                return bool(response.status == 200 and b'"ok"' in response.read(1000))
        except (OSError, http.client.HTTPException):
            return False

    def download(self, url: str, target: Path) -> int:
        """Save a file of the server's (by its signed URL) or of an upstream; returns its bytes.

        Raises:
            Failure: it cannot be fetched.

        """
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https"):
            raise Failure(f"The file cannot be fetched: its address begins with {parts.scheme[:20]!r}.")
        opener = self._foreign
        if parts.path.startswith(MEDIA_PATH):  # the same server, by the address it is known to answer at
            url, opener = self.url + parts.path, self._opener
        part = target.with_name(f".{target.name}.part")
        try:
            with opener.open(url, timeout=self._timeout_s) as response, part.open("wb") as file:
                shutil.copyfileobj(response, file, 1 << 20)
            part.replace(target)
        except urllib.error.HTTPError as error:
            raise Failure(f"The file cannot be fetched: HTTP {error.code} from {parts.netloc}.") from None
        except urllib.error.URLError as error:
            raise Failure(f"The file cannot be fetched: {_why(error.reason)}.") from None
        except http.client.HTTPException as error:
            raise Failure(f"The file cannot be fetched: {_why(error)}.") from None
        finally:
            part.unlink(missing_ok=True)
        return target.stat().st_size

    def _call(self, method: str, path: str, body: bytes | None, headers: dict[str, str]) -> Answer:
        request = urllib.request.Request(self.url + path, body, headers, method=method)  # noqa: S310  (checked above)
        if self._key is not None:
            word = "Key" if path.startswith(FAL_PATH) else "Bearer"
            request.add_header("authorization", f"{word} {self._key}")
        try:
            with self._opener.open(request, timeout=self._timeout_s) as response:
                return Answer(_object(response.read()), {name.lower(): value for name, value in response.getheaders()})
        except urllib.error.HTTPError as error:
            raise _problem(error.code, error.read(1 << 20), self.url) from None
        except urllib.error.URLError as error:
            raise Unreachable(f"No server answers at {self.url}: {_why(error.reason)}.") from None
        except (OSError, http.client.HTTPException) as error:
            raise Unreachable(f"The connection to {self.url} broke: {_why(error)}.") from None


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = msgspec.json.decode(body)
    except msgspec.DecodeError:
        value = None
    if not isinstance(value, dict):
        raise Failure("The server's answer is no JSON object: is this the address of a Calotype server?")
    return value


def _problem(status: int, body: bytes, url: str) -> Exception:
    """Return the refusal in an error body, or what can be said without one."""
    try:
        error = msgspec.json.decode(body)["error"]
        raw = {"code": error["code"], "message": error["message"], "field": error.get("param")}
        return Problem.from_dict(raw | {"data": error.get("data")})
    except (msgspec.DecodeError, KeyError, TypeError):
        return Failure(f"The server at {url} answered HTTP {status}.")


def _why(reason: object) -> str:
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({reason.verify_message}); SSL_CERT_FILE may name one that is"
    if isinstance(reason, TimeoutError | socket.timeout):
        return "it took too long"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return str(reason) or type(reason).__name__
