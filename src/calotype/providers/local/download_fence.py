"""What this process may reach while it downloads: public addresses only, whatever a page, a redirect or a name says.

The check sits at the connection itself, as an audit hook of the interpreter: it sees the very address that is about to
be connected to, so no second lookup of a name can put another one in its place, and no Python code gets around it.
While the fence stands no other program can be started either.
"""

import ipaddress
import socket
import sys
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from typing import Any

from calotype.http.guard import DENIED_PORTS, is_public

_CONNECTIONS = frozenset({"socket.connect", "socket.sendto", "socket.sendmsg"})
_PROGRAMS = frozenset(
    {"subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "os.fork", "os.forkpty", "pty.spawn"}
)


class Forbidden(OSError):  # noqa: N818  (a refusal; nothing went wrong)
    """The fence stopped a connection or a program."""


class Fence:
    """One download's fence; `refused` holds the addresses it stopped.

    `allowed_hosts` holds the operator's `host` or `host:port` entries that are exempt although they are private.
    """

    def __init__(self, allowed_hosts: Collection[str]) -> None:
        self.refused: list[str] = []
        self._exempt = {pair for entry in allowed_hosts for pair in _addresses(entry)}

    def check(self, address: Any) -> None:
        """Stop a connection to anything that is not an exempt address, or a public one with a usual port."""
        host, port = address[:2] if isinstance(address, tuple) and len(address) >= 2 else (None, None)
        if isinstance(host, str) and isinstance(port, int):
            try:
                plain = str(ipaddress.ip_address(host))
            except ValueError:
                plain = ""  # a name, which would be looked up after this check
            if plain and ((plain, port) in self._exempt or (plain, None) in self._exempt):
                return
            if plain and port not in DENIED_PORTS and is_public(host):
                return
        self.refused.append(str(host))
        raise Forbidden("this address may not be reached")


_standing: Fence | None = None
_installed = False


@contextmanager
def fenced(allowed_hosts: Collection[str]) -> Iterator[Fence]:
    """Put up the fence for this whole process; there can be one at a time."""
    global _standing, _installed  # noqa: PLW0603  (an audit hook is a process's, and cannot be taken off)
    assert _standing is None, "a worker does one task at a time"
    fence = Fence(allowed_hosts)
    if not _installed:
        sys.addaudithook(_watch)
        _installed = True
    _standing = fence
    try:
        yield fence
    finally:
        _standing = None


def _watch(event: str, arguments: tuple[Any, ...]) -> None:
    fence = _standing
    if fence is None:
        return
    if event in _CONNECTIONS:
        if arguments[1] is not None:  # else the socket is connected already
            fence.check(arguments[1])
    elif event in _PROGRAMS:
        raise Forbidden("no other program may be started")


def _addresses(entry: str) -> Iterator[tuple[str, int | None]]:
    """Yield the addresses of an exempt host as they are now."""
    host, port = entry.strip().lower(), None
    head, colon, tail = host.rpartition(":")
    if colon and tail.isdigit() and (head.startswith("[") or ":" not in head):
        host, port = head, int(tail)
    try:
        found = socket.getaddrinfo(host.strip("[]"), port or 0, type=socket.SOCK_STREAM)
    except OSError:
        return
    for *_, address in found:
        yield str(ipaddress.ip_address(address[0])), port
