"""`calotype serve --fal-proxy-port`: the proxy that leads fal's host names to this server, beside the listener."""

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import uvicorn

from calotype.cli.ca import FOLDER
from calotype.cli.terminal import say
from calotype.dialects.fal.authority import Authority, server_context
from calotype.dialects.fal.tunnel import Tunnel


@contextlib.asynccontextmanager
async def fal_proxy(listener: uvicorn.Server, listening: socket.socket | None, data_dir: Path) -> AsyncIterator[None]:
    """Take connections while the block runs; what comes through them is served, and ended, by the listener."""
    if listening is None:
        yield
        return
    authority = Authority(data_dir / FOLDER)
    if authority.make():
        say(f"Made a certificate authority for fal's host names: {authority.certificate}")
    context = server_context(*await asyncio.to_thread(authority.leaf))
    config = listener.config

    def protocol() -> asyncio.Protocol:
        kind: Any = config.http_protocol_class
        made: asyncio.Protocol = kind(config=config, server_state=listener.server_state, app_state={})
        return made

    tunnel = Tunnel(context, protocol)
    await tunnel.start(listening)
    host, port = listening.getsockname()[:2]
    say(f"Programs written for fal reach it with HTTPS_PROXY=http://{host}:{port}")
    try:
        yield
    finally:
        await tunnel.close()
