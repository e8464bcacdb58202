"""A realtime program as fal's Python users write it, run with the unmodified client; prints one line of JSON.

Arguments: what to do (`token` for sessions by token too).
"""

import asyncio
import json
import sys
from typing import Any

import fal_client
from fal_client.client import RealtimeError

(WORDS,) = json.loads(sys.argv[1])
MODEL = "test/picture"
seen: dict[str, Any] = {}


def facts(result: Any) -> dict[str, Any]:
    image = result["images"][0]
    return {"bytes": len(image["content"]), "kind": type(image["content"]).__name__, "prompt": result["prompt"]}


def sync_session(use_jwt: bool) -> list[Any]:
    told: list[Any] = []
    with fal_client.realtime(MODEL, use_jwt=use_jwt, max_buffering=5) as connection:
        for word in ("one", "two", "three"):
            connection.send({"prompt": word})
            told.append(facts(connection.recv()))
        connection.send({"prompt": "x", "num_images": 99})
        try:
            connection.recv()
        except RealtimeError as error:
            told.append([error.error, error.reason])
        connection.send({"prompt": "after"})
        told.append(facts(connection.recv()))
    return told


async def async_session(use_jwt: bool) -> list[Any]:
    told: list[Any] = []
    async with fal_client.realtime_async(MODEL, use_jwt=use_jwt) as connection:
        for word in ("one", "two"):
            await connection.send({"prompt": word})
        for _ in range(2):
            told.append(facts(await connection.recv()))
    return told


def turned_away() -> dict[str, Any]:
    try:
        with fal_client.realtime("no/such-model", use_jwt=False) as connection:
            connection.recv()
    except RealtimeError as error:
        return {"error": error.error, "reason": error.reason}
    return {}


seen["sync"] = sync_session(False)
seen["async"] = asyncio.run(async_session(False))
seen["unknown"] = turned_away()
if "token" in WORDS:
    seen["sync_token"] = sync_session(True)
    seen["async_token"] = asyncio.run(async_session(True))
sys.stdout.write("\n" + json.dumps(seen) + "\n")
