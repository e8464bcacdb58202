"""A program with the `fal` package's own client, `fal.apps`; it prints what it saw as one line of JSON.

Arguments: `ws` for calls over a WebSocket too, whose host can be led elsewhere by a proxy only.
"""

import json
import sys
from typing import Any

from fal import apps

(WORDS,) = json.loads(sys.argv[1])
MODEL = "test/picture"
INPUT = {"prompt": "a lighthouse", "image_size": "square", "num_images": 2, "enable_safety_checker": True}
HILL = {"prompt": "a hill", "seed": 1, "image_size": "square"}
seen: dict[str, Any] = {"run": apps.run(MODEL, INPUT)}


def status_of(work: Any) -> int:
    try:
        work()
    except Exception as error:
        return int(error.response.status_code)  # type: ignore[attr-defined]
    return 200


handle = apps.submit(MODEL, INPUT)
seen["events"] = [type(event).__name__ for event in handle.iter_events(logs=True)]
end = handle.status(logs=True)
seen["end"] = [type(end).__name__, [line["message"] for line in end.logs]]
seen["result"] = handle.fetch_result()
seen["cancel_done"] = status_of(handle.cancel)
slow = apps.submit("local/sketch-video", {"prompt": "waves", "duration": "20"})
slow.cancel()
seen["canceled"] = status_of(slow.get)
seen["stream"] = list(apps.stream("local/sketch", HILL, path="/stream"))
seen["unknown"] = status_of(lambda: apps.submit("no/such-model", {}))
seen["missing"] = status_of(lambda: apps.run(MODEL, {}))
if "ws" in WORDS:
    with apps.ws("local/sketch") as connection:
        seen["ws"] = [json.loads(connection.run(HILL))["seed"] for _ in range(2)]
sys.stdout.write("\n" + json.dumps(seen) + "\n")
