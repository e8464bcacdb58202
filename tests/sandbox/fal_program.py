"""A program as fal's users write it, with the unmodified `fal_client`; it prints what it saw as one JSON object."""

import json
import sys
from pathlib import Path
from typing import Any

import fal_client

MODEL = "fal-ai/flux/dev"
INPUT = {"prompt": "a lighthouse", "image_size": {"width": 64, "height": 48}}
seen: dict[str, Any] = {}


def failure(work: Any) -> dict[str, Any]:
    try:
        work()
    except fal_client.FalClientHTTPError as error:
        return {"status": error.status_code, "message": error.message, "type": getattr(error, "error_type", None)}
    return {}


seen["run"] = fal_client.run(MODEL, arguments=INPUT)

updates: list[str] = []
logs: list[str] = []


def on_update(update: Any) -> None:
    updates.append(type(update).__name__)
    logs.extend(line["message"] for line in getattr(update, "logs", None) or [])


seen["subscribe"] = fal_client.subscribe(MODEL, arguments=INPUT, with_logs=True, on_queue_update=on_update)
seen["updates"] = list(dict.fromkeys(updates))
seen["logs"] = sorted(set(logs))

handle = fal_client.submit(MODEL, arguments=INPUT, priority="low", start_timeout=30)
seen["id"] = handle.request_id
seen["statuses"] = [type(fal_client.status(MODEL, handle.request_id)).__name__ for _ in range(3)]
seen["result"] = fal_client.result(MODEL, handle.request_id)

slow = fal_client.submit(MODEL, arguments={"prompt": "slow @polls=1000"})
slow.status()
slow.status()
fal_client.cancel(MODEL, slow.request_id)
done = slow.status()
seen["canceled"] = [type(done).__name__, done.error_type]
seen["canceled_result"] = failure(slow.get)
seen["cancel_again"] = failure(slow.cancel)

seen["nested"] = fal_client.subscribe("workflows/me/flow", arguments={"prompt": "x"})["prompt"]
seen["stream"] = next(iter(fal_client.stream(MODEL, arguments=INPUT)))
seen["moderated"] = failure(lambda: fal_client.subscribe(MODEL, arguments={"prompt": "@moderated"}))
seen["missing"] = failure(lambda: fal_client.subscribe(MODEL, arguments={}))
seen["platform"] = failure(lambda: fal_client.subscribe(MODEL, arguments={"prompt": "@type=runner_disconnected"}))
if "upload" in sys.argv:
    seen["uploaded"] = fal_client.upload(b"small file", "text/plain", "small.txt")
    big = Path(sys.argv[-1]) / "big.bin"
    with big.open("wb") as file:
        file.truncate(101 * 1024 * 1024)
    seen["multipart"] = fal_client.upload_file(str(big))
    big.unlink()
sys.stdout.write(json.dumps(seen))
