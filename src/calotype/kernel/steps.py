"""The conversation with an upstream as values: adapters yield steps, the driver performs them.

An adapter is a generator (the idea of `httpx.Auth.auth_flow`): it yields a `Step`, gets an `HttpResponse` back and
returns an `Outcome`. It never touches a socket, so the same code runs in production, in contract tests and in the
fault simulator.
"""

from collections.abc import Generator
from pathlib import Path
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from calotype.kernel.outcome import Delta

T = TypeVar("T")
NOT_JSON = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)
"""What msgspec raises for bytes or a text that it cannot read: also wrong UTF-8, and what is nested too deeply."""


class FileRef(Struct, frozen=True):
    """A file on this machine that stands for a request body or a multipart part."""

    path: Path
    content_type: str = "application/octet-stream"
    name: str | None = None


class Part(Struct, frozen=True):
    """One part of a multipart body: a text value, bytes or a file."""

    name: str
    value: str | bytes | FileRef
    filename: str | None = None
    content_type: str | None = None


class HttpRequest(Struct, frozen=True):
    """One request to an upstream.

    `commits` marks the request that costs money: the driver records the submission just before the first such one.
    `read_timeout_s` bounds the wait between bytes, `total_timeout_s` the whole exchange. `max_bytes` caps the answer;
    with `save_to` the answer's body is streamed into that file. `follow_redirects` is off: each hop is checked.
    """

    method: str
    url: str
    headers: dict[str, str] = {}
    body: bytes | FileRef | None = None
    multipart: tuple[Part, ...] | None = None
    commits: bool = False
    connect_timeout_s: float = 5.0
    read_timeout_s: float = 60.0
    total_timeout_s: float = 300.0
    max_bytes: int = 64 * 1024 * 1024
    save_to: Path | None = None


class HttpResponse(Struct, frozen=True):
    """An upstream's answer; `body` is empty when the request said `save_to`. Header names are lower case."""

    status: int
    headers: dict[str, str] = {}
    body: bytes = b""
    saved: FileRef | None = None

    @property
    def ok(self) -> bool:
        """Whether the status is 2xx."""
        return 200 <= self.status < 300

    def json(self) -> Any:
        """Decode the body as JSON; None when it is not JSON."""
        try:
            return msgspec.json.decode(self.body)
        except NOT_JSON:
            return None


class Wait(Struct, frozen=True):
    """Let some seconds pass inside one call; bounded by the driver to 60 s."""

    seconds: float


class Parallel(Struct, frozen=True):
    """Several requests at once, answered by a tuple of responses in the same order.

    The first exchange that fails is thrown, and none of the requests may commit. With `each` they may, and one that
    failed is answered in its place by its `TransportError`, so that what the others brought is not lost.
    """

    requests: tuple[HttpRequest, ...]
    each: bool = False


class Listen(Struct, frozen=True):
    """A request whose answer may be a stream of server-sent events; the answer is an `HttpResponse`.

    With status 2xx and `text/event-stream` its body is empty and the events follow through `Next`; any other answer
    comes whole. One stream at a time; a new step that sends closes it, and so does the conversation's end.
    """

    request: HttpRequest


class Next(Struct, frozen=True):
    """Wait for the next event of the stream: a `ServerEvent`, or None after its end.

    A stream that breaks off throws `MaybeSent`. Comments (`: keep-alive`) are passed over.
    """


class ServerEvent(Struct, frozen=True):
    """One server-sent event: its `data` lines joined, its name (`message` where it has none) and its id."""

    data: str
    event: str = "message"
    id: str | None = None

    def json(self) -> Any:
        """Decode the data as JSON; None when it is not JSON."""
        try:
            return msgspec.json.decode(self.data)
        except NOT_JSON:
            return None


class Emit(Struct, frozen=True):
    """Show a piece of the result to whoever listens; answered by None."""

    delta: Delta


class Dial(Struct, frozen=True):
    """Take a WebSocket: the one that an earlier conversation kept under this name, or with a request a new one.

    Answered by an `HttpResponse`: 101 with an open WebSocket, 404 where none is kept, and whatever else a handshake was
    answered. There is one in a conversation; at its end it is closed unless it is kept (`Keep`).
    """

    name: str
    request: HttpRequest | None = None


class Say(Struct, frozen=True):
    """Send a message over the WebSocket; `commits` as in `HttpRequest`.

    A connection that is gone throws `MaybeSent`.
    """

    message: str | bytes
    commits: bool = False


class Hear(Struct, frozen=True):
    """Wait for the next message of the WebSocket; with `wait_s` 0 None where none has come.

    A connection that is gone, or silent for so long, throws `MaybeSent`.
    """

    wait_s: float


class Keep(Struct, frozen=True):
    """Keep the WebSocket for the next conversation that takes it by its name; in this one it is over."""


Step = HttpRequest | Wait | Parallel | Listen | Next | Emit | Dial | Say | Hear | Keep
Steps = Generator[Step, Any, T]


class TransportError(Exception):
    """An exchange that ended without a whole answer."""


class NotSent(TransportError):  # noqa: N818  (the wire term of the design)
    """Nothing of the request reached the upstream: safe to try again."""


class MaybeSent(TransportError):  # noqa: N818
    """The request may have been processed: ambiguous when it commits."""


class AnswerTooLarge(TransportError):  # noqa: N818
    """The answer went past `max_bytes` and was cut off; the upstream did process the request."""
