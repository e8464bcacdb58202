"""`calotype serve`: one listener, one engine, and a graceful end."""

import asyncio
import contextlib
import errno
import os
import signal
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer
import uvicorn
import uvloop

from calotype.app import App, EngineRunning
from calotype.cli.fal_proxy import fal_proxy
from calotype.cli.neighbour import engine_runs
from calotype.cli.options import DataDir, settings_for
from calotype.cli.terminal import Failure, say
from calotype.db import Store
from calotype.listener import BoundedHttp
from calotype.process import set_up
from calotype.settings import Settings
from calotype.telemetry import configure_logs

BACKLOG = 4096
KEEP_ALIVE_S = 75
GRACE_S = 20
"""How long answers under way may take after the first signal; the engine then has a grace of its own."""
MOST_MESSAGE_BYTES = (16 << 20) + (64 << 10)
"""Of a WebSocket: a little more than a dialect takes, so that it can say so before the connection is closed."""


def serve(
    host: Annotated[str | None, typer.Option(help="Address to listen on.", show_default="127.0.0.1")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.", show_default="8700")
    ] = None,
    data_dir: DataDir = None,
    tls_cert: Annotated[Path | None, typer.Option(help="Certificate chain (PEM); needs --tls-key.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="Private key (PEM).")] = None,
    fal_proxy_port: Annotated[
        int | None,
        typer.Option(min=0, max=65535, help="Also listen as a forward proxy that leads fal's host names here."),
    ] = None,
) -> None:
    """Run the server until SIGTERM or SIGINT; a second signal stops it at once."""
    if (tls_cert is None) != (tls_key is None):
        raise typer.BadParameter("--tls-cert and --tls-key go together")
    settings = settings_for(data_dir, host=host, port=port)
    configure_logs(settings.log_level, settings.log_format)
    set_up()
    uvloop.run(_serve(settings, tls_cert, tls_key, fal_proxy_port))


class _Listener(uvicorn.Server):
    """Uvicorn without its own signal handling, which would end the process before the engine has stopped."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def _serve(settings: Settings, tls_cert: Path | None, tls_key: Path | None, proxy_port: int | None) -> None:
    with contextlib.ExitStack() as sockets:
        if engine_runs(settings.data_dir):  # before the port, which is that server's too as a rule
            raise EngineRunning(f"another process already serves the data directory {settings.data_dir}")
        listening = sockets.enter_context(contextlib.closing(_listen(settings.host, settings.port)))
        proxy = None
        if proxy_port is not None:
            proxy = sockets.enter_context(contextlib.closing(_listen(settings.host, proxy_port)))
        app = App(settings)
        listener = _Listener(_config(app, tls_cert, tls_key))
        _stop_on_signals(listener, settings.data_dir)
        await app.start()
        try:
            url = _url(listening, "https" if tls_cert else "http")
            app.announce(url)
            await _greet(app, url)
            if not listener.should_exit:
                async with fal_proxy(listener, proxy, settings.data_dir):
                    await listener.serve(sockets=[listening])
        finally:
            await app.stop()


def _config(app: App, tls_cert: Path | None, tls_key: Path | None) -> uvicorn.Config:
    config = uvicorn.Config(
        app.asgi, loop="uvloop", http=BoundedHttp, ws="websockets-sansio", lifespan="off", access_log=False,
        server_header=False, date_header=False, backlog=BACKLOG, timeout_keep_alive=KEEP_ALIVE_S,
        timeout_graceful_shutdown=GRACE_S, log_config=None, ssl_certfile=tls_cert, ssl_keyfile=tls_key,
        ws_per_message_deflate=False, ws_max_size=MOST_MESSAGE_BYTES,
    )  # fmt: skip
    try:
        config.load()
    except (ssl.SSLError, OSError) as error:
        if tls_cert is None:
            raise
        why = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise Failure(f"The certificate {tls_cert} or its key {tls_key} cannot be used: {why}.") from None
    return config


def _listen(host: str, port: int) -> socket.socket:
    """Bind and listen before anything else happens, so that a taken port costs nothing.

    Raises:
        Failure: the address cannot be listened on.

    """
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror as error:
        raise Failure(f"--host {host!r} is no address of this machine: {error.strerror}.") from None
    family, kind, number, _, address = found[0]
    listening = socket.socket(family, kind, number)
    try:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(BACKLOG)
    except OSError as error:
        listening.close()
        where = f"{host}:{port}"
        if error.errno == errno.EADDRINUSE:
            raise Failure(f"{where} is taken by another program; choose another --port (0 takes a free one).") from None
        raise Failure(f"Cannot listen on {where}: {error.strerror}.") from None
    listening.setblocking(False)
    return listening


def _stop_on_signals(listener: uvicorn.Server, data_dir: Path) -> None:
    def stop(number: int) -> None:
        if listener.should_exit:
            say("Stopping at once.")
            with contextlib.suppress(OSError):
                (data_dir / "engine.json").unlink()
            os._exit(128 + number)  # what was accepted is in the database and goes on at the next start
        say("Stopping: answers under way are finished. Once more stops at once.")
        listener.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop, int(number))


async def _greet(app: App, url: str) -> None:
    lines = [f"Calotype listens on {url}"]
    if app.settings.public_url:
        lines.append(f"Its public address is {app.settings.public_url}")
    if app.db.store is Store.POSTGRES and app.settings.security.signing_secret is None:
        say("Servers that share this database need one CALOTYPE_SECURITY__SIGNING_SECRET; none is set here.")
    if not await app.accounts.list_keys():
        lines.append(
            f"There is no API key yet. Make one: calotype keys create --name me --data-dir {app.settings.data_dir}"
        )
    say("\n".join(lines))


def _url(listening: socket.socket, scheme: str) -> str:
    """Return an address by which this machine reaches the listener."""
    name: Any = listening.getsockname()
    host, port = name[0], name[1]
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104  (recognised, not listened on)
    return f"{scheme}://[{host}]:{port}" if ":" in host else f"{scheme}://{host}:{port}"
