"""A film of a picture of yours: python film.py photo.jpg. Needs the package requests."""

import os
import sys
import time
from pathlib import Path
from typing import Any

import requests

if len(sys.argv) != 2:
    sys.exit("usage: python film.py PHOTO")
api = os.environ.get("CALOTYPE_URL", "http://127.0.0.1:8700") + "/api/v1"
session = requests.Session()
session.headers["Authorization"] = f"Bearer {os.environ['CALOTYPE_KEY']}"


def answer(response: requests.Response) -> dict[str, Any]:
    """Return the body, or stop with what the server says is wrong."""
    if not response.ok:
        sys.exit(f"{response.status_code}: {response.text}")
    body: dict[str, Any] = response.json()
    return body


with Path(sys.argv[1]).open("rb") as file:
    photo = answer(session.post(f"{api}/media/upload", files={"file": file}))["url"]

wish = {"image_url": photo, "duration": 2, "zoom": {"mode": "center"}}
job = answer(session.post(f"{api}/image-to-video/create", json=wish))["job_id"]

while (status := answer(session.get(f"{api}/image-to-video/status/{job}")))["status"] == "processing":
    time.sleep(1)
if status["status"] != "completed":
    sys.exit(f"{status['status']}: {status['error']}")

Path("film.mp4").write_bytes(requests.get(status["video_url"], timeout=60).content)
left = answer(session.get(f"{api}/user/credits"))["credits_balance_formatted"]
print(f"film.mp4; {left} are left")
