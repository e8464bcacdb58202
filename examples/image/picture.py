"""A picture in one call. Needs the package requests."""

import os
import sys
from pathlib import Path

import requests

server = os.environ.get("CALOTYPE_URL", "http://127.0.0.1:8700")
answer = requests.post(
    f"{server}/api/v1/image/generate",
    headers={"Authorization": f"Bearer {os.environ['CALOTYPE_KEY']}"},
    json={"model": "local/sketch", "prompt": "a lighthouse on a cliff at sunset", "width": 1024, "height": 768},
    timeout=300,
)
if not answer.ok:
    sys.exit(f"{answer.status_code}: {answer.text}")
made = answer.json()["data"]
Path("lighthouse.png").write_bytes(requests.get(made["images"][0]["url"], timeout=60).content)
print(f"lighthouse.png by {made['model']}, for {made['cost_usd']} USD")
