"""`calotype sandbox`: emulated upstreams on this machine, to try everything without an account."""

import asyncio
import contextlib
import shlex
import signal
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from calotype.cli.options import Json
from calotype.cli.terminal import answer, facts, say
from calotype.sandbox.base import CONTROL, Emulator
from calotype.sandbox.certificate import write_certificate
from calotype.sandbox.serve import EMULATORS, ON_REQUEST, serve

PORT_BASE = 8750


def sandbox(
    only: Annotated[
        str | None, typer.Option(help="Names with commas between; without, one of each (comfyui2 is a second worker).")
    ] = None,
    port_base: Annotated[
        int, typer.Option(min=0, max=65_000, help="Port of the first emulator, the others follow; 0 takes free ones.")
    ] = PORT_BASE,
    tls: Annotated[bool, typer.Option("--tls", help="Speak HTTPS with a certificate made for this run.")] = False,
    as_json: Json = False,
) -> None:
    """Run emulated upstreams until SIGTERM or SIGINT, and print the variables that lead a server to them."""
    names = [name.strip() for name in only.split(",")] if only else sorted(EMULATORS.keys() - ON_REQUEST)
    for name in names:
        if name not in EMULATORS:
            raise typer.BadParameter(f"{name!r} is none of {', '.join(sorted(EMULATORS))}", param_hint="--only")
    asyncio.run(_run(names, port_base, tls=tls, as_json=as_json))


async def _run(names: list[str], port_base: int, *, tls: bool, as_json: bool) -> None:
    ended = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    with contextlib.ExitStack() as stack:
        files = None
        if tls:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="calotype-sandbox-")))
            hosts = [host for name in names for host in EMULATORS[name]().hosts]
            files = write_certificate(folder, ["localhost", "127.0.0.1", *hosts])
        ports = [port_base + n if port_base else 0 for n in range(len(names))]
        async with serve(names, ports, tls=files) as emulators:
            _show(emulators, files, as_json=as_json)
            await ended.wait()


def _show(emulators: dict[str, Emulator], files: tuple[str, str] | None, *, as_json: bool) -> None:
    environment = {key: value for emulator in emulators.values() for key, value in emulator.environment().items()}
    if files is not None:
        environment["SSL_CERT_FILE"] = files[0]
    if as_json:
        urls = {name: emulator.url for name, emulator in emulators.items()}
        answer({"urls": urls, "environment": environment})
        return
    facts([(name, emulator.url) for name, emulator in emulators.items()])
    for name, value in environment.items():
        typer.echo(f"export {name}={shlex.quote(value)}")
    say(f"Faults and a report: {CONTROL} of each address. Ctrl-C ends it.")
