"""A program as fal's Python users write it, run with the unmodified client; it prints what it saw as one line of JSON.

Arguments: what to do (`upload`, `big`), a folder. Works with fal-client 0.7.0 and 1.0.3.
"""

import asyncio
import json
import sys
from pathlib import Path
from typing import Any

import fal_client

WORDS: list[str]
WORDS, FOLDER = json.loads(sys.argv[1])
MODEL = "test/picture"
INPUT = {"prompt": "a lighthouse", "image_size": "square", "num_images": 2, "enable_safety_checker": True}
FILM = {"prompt": "wäves", "duration": 2, "seed": 5, "size": "256x256"}
HILL = {"prompt": "a hill", "seed": 1, "image_size": "square"}
STILL = {"duration": 1, "size": "256x256"}
BIG_BYTES = 101 * 1024 * 1024
seen: dict[str, Any] = {"version": fal_client.__version__ if hasattr(fal_client, "__version__") else ""}


def failure(error: Exception) -> dict[str, Any]:
    return {
        "name": type(error).__name__, "status": getattr(error, "status_code", None),
        "message": getattr(error, "message", None) or str(error), "type": getattr(error, "error_type", None),
    }  # fmt: skip


def failing(work: Any) -> dict[str, Any]:
    try:
        work()
    except Exception as error:
        return failure(error)
    return {}


def kinds(updates: list[Any]) -> list[str]:
    return list(dict.fromkeys(type(update).__name__ for update in updates))


def sync_calls() -> None:
    seen["run"] = fal_client.run(MODEL, arguments=INPUT)
    updates: list[Any] = []
    ids: list[str] = []
    seen["subscribe"] = fal_client.subscribe(
        MODEL, arguments=INPUT, with_logs=True, on_queue_update=updates.append, on_enqueue=ids.append
    )
    seen["updates"] = kinds(updates)
    seen["logs"] = [line["message"] for line in updates[-1].logs]
    seen["enqueued"] = ids
    handle = fal_client.submit(MODEL, arguments=INPUT)
    seen["id"] = handle.request_id
    seen["events"] = kinds(list(handle.iter_events(with_logs=True)))
    seen["result"] = handle.get()
    seen["result_by_id"] = fal_client.result(MODEL, handle.request_id)
    seen["status_by_id"] = type(fal_client.status(MODEL, handle.request_id, with_logs=True)).__name__
    seen["cancel_done"] = failing(handle.cancel)
    slow = fal_client.submit("local/sketch-video", arguments={"prompt": "waves", "duration": "20"})
    fal_client.cancel("local/sketch-video", slow.request_id)
    end = list(slow.iter_events())[-1]
    seen["canceled"] = [type(end).__name__, getattr(end, "error_type", "")]
    seen["canceled_result"] = failing(slow.get)
    seen["stream"] = list(
        fal_client.stream(
            "local/sketch-video", arguments={"prompt": "wäves", "duration": 2, "seed": 5, "size": "256x256"}
        )
    )
    seen["missing"] = failing(lambda: fal_client.subscribe(MODEL, arguments={}))
    seen["run_missing"] = failing(lambda: fal_client.run(MODEL, arguments={}))
    seen["unknown"] = failing(lambda: fal_client.submit("no/such-model", arguments={}))
    seen["encoded"] = fal_client.run(
        "local/ken-burns", arguments={"image_url": fal_client.encode(PICTURE, "image/png"), **STILL}
    )


async def async_calls() -> None:
    updates: list[Any] = []
    seen["async_subscribe"] = await fal_client.subscribe_async(
        MODEL, arguments=INPUT, with_logs=True, on_queue_update=updates.append
    )
    seen["async_updates"] = kinds(updates)
    seen["async_run"] = await fal_client.run_async(MODEL, arguments=INPUT)
    handle = await fal_client.submit_async(MODEL, arguments=INPUT)
    seen["async_result"] = await handle.get()
    try:
        await handle.cancel()
    except Exception as error:
        seen["async_cancel_done"] = failure(error)
    seen["async_stream"] = [event async for event in fal_client.stream_async("local/sketch", arguments=HILL)]
    if "upload" in WORDS:
        seen["async_uploaded"] = await fal_client.upload_async(b"an async file", "text/plain")


def uploads() -> None:
    seen["uploaded"] = fal_client.upload(b"a small file", "text/plain")
    picture = Path(FOLDER) / "still.png"
    picture.write_bytes(PICTURE)
    url = fal_client.upload_file(str(picture))
    seen["used"] = fal_client.subscribe("local/ken-burns", arguments={"image_url": url, **STILL})
    seen["picture"] = url


def big_upload() -> None:
    path = Path(FOLDER) / "big.bin"
    with path.open("wb") as file:
        for number in range(BIG_BYTES // (1024 * 1024)):
            file.write(number.to_bytes(4, "big") * (256 * 1024))
    seen["big"] = fal_client.upload_file(str(path))


PICTURE = (Path(FOLDER) / "picture.png").read_bytes()
if "big" in WORDS:
    big_upload()
else:
    sync_calls()
    asyncio.run(async_calls())
    if "upload" in WORDS:
        uploads()
sys.stdout.write("\n" + json.dumps(seen) + "\n")
