"""The server in a process of its own that notes every connection it opens and every name it resolves.

Run as `python watched.py <file of settings> <file of notes>`. The interpreter's audit hook sees the socket calls
themselves, whichever library makes them; the plain asyncio loop is used, for uvloop's calls never reach Python.
"""

import asyncio
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

NOTES = os.open(sys.argv[2], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
WATCHED = {"socket.connect": 1, "socket.sendto": 1, "socket.getaddrinfo": 0, "socket.gethostbyname": 0}


def note(event: str, arguments: tuple[Any, ...]) -> None:
    if event in WATCHED:
        target = arguments[WATCHED[event]]
        if isinstance(target, str) and event == "socket.connect":
            return  # a socket file on this machine
        os.write(NOTES, json.dumps([event, str(target)]).encode() + b"\n")


sys.addaudithook(note)


async def serve() -> None:
    import uvicorn

    from calotype.app import App
    from calotype.kernel.generation import KeyClass, Region
    from calotype.settings import Settings
    from calotype.telemetry.logs import configure_logs

    configure_logs("info", "json")
    given = json.loads(Path(sys.argv[1]).read_text())
    app = App(Settings(**given["settings"]))
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(app.asgi, lifespan="on", loop="asyncio", log_config=None))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    while not server.started:
        await asyncio.sleep(0.01)
    keys: dict[str, str] = {}
    for name, org in given["orgs"].items():
        region = Region(org["region"]) if org.get("region") else None
        made = await app.accounts.create_org(name, default_region=region, strict_residency=org.get("strict", False))
        if org.get("micro", 1):
            await app.ledger.credit(made.id, org.get("micro", 10**12))
        for key_class in KeyClass:
            _, keys[f"{name}/{key_class}"] = await app.accounts.create_key(
                made.id, name="test", key_class=key_class, models=org.get("models")
            )
    sys.stdout.write(json.dumps({"port": listener.getsockname()[1], "keys": keys}) + "\n")
    sys.stdout.flush()
    await serving


asyncio.run(serve())
