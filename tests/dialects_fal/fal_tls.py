"""The running server over TLS and behind the proxy that leads fal's names to it, and clients started beside them."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from calotype.dialects.fal.authority import Authority, server_context
from calotype.dialects.fal.tunnel import Tunnel
from running import LISTENER, House

HERE = Path(__file__).parent


@dataclass
class Secure:
    """Where the server is reached over TLS, and whom to trust."""

    house: House
    address: str
    proxy: str
    bundle: Path

    def recipe_a(self) -> dict[str, str]:
        """Own host by variables alone (`wire/fal.md §12.2`)."""
        return {
            "SSL_CERT_FILE": str(self.bundle), "FAL_RUN_HOST": f"{self.address}/fal/run",
            "FAL_QUEUE_RUN_HOST": f"{self.address}/fal/queue",
        }  # fmt: skip

    def recipe_b(self) -> dict[str, str]:
        """A proxy and nothing else (`wire/fal.md §12.3`)."""
        return {
            "SSL_CERT_FILE": str(self.bundle), "NODE_EXTRA_CA_CERTS": str(self.bundle), "HTTPS_PROXY": self.proxy,
            "NODE_USE_ENV_PROXY": "1",
        }  # fmt: skip


@pytest.fixture(scope="session")
def secure(house: House, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    folder = tmp_path_factory.mktemp("authority")
    authority = Authority(folder)
    assert authority.make() and not authority.make()
    chain, private = authority.leaf()
    bundle = folder / "bundle.pem"
    bundle.write_text(authority.bundle())
    config = uvicorn.Config(
        house.app.asgi, lifespan="off", ssl_certfile=str(chain), ssl_keyfile=str(private), **LISTENER
    )
    config.load()
    server = uvicorn.Server(config)
    listening, proxy = (socket.create_server(("127.0.0.1", 0)) for _ in range(2))

    def protocol() -> asyncio.Protocol:
        return config.http_protocol_class(config=config, server_state=server.server_state, app_state={})  # type: ignore[return-value]

    tunnel = Tunnel(server_context(chain, private), protocol)
    assert house._loop is not None
    serving = asyncio.run_coroutine_threadsafe(server.serve(sockets=[listening]), house._loop)
    house.ask(tunnel.start(proxy))
    yield Secure(house, f"127.0.0.1:{listening.getsockname()[1]}", f"http://127.0.0.1:{proxy.getsockname()[1]}", bundle)
    house.ask(tunnel.close())
    server.should_exit = True
    serving.result(30)


def program(name: str, environment: dict[str, str], *arguments: Any, path: Path | None = None) -> dict[str, Any]:
    """Run a Python program of ours with nothing of this machine's proxies or fal settings; return what it saw."""
    kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("FAL_")}
    if path is not None:
        kept["PYTHONPATH"] = str(path)
    done = subprocess.run(
        [sys.executable, HERE / name, json.dumps(arguments)], capture_output=True, text=True, timeout=60,
        env=kept | environment, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-4000:]
    return json.loads(done.stdout.splitlines()[-1])
