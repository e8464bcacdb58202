"""A picture at the one price that the catalogue names. Needs the package requests."""

import os
import sys
from pathlib import Path

import requests

server = os.environ.get("CALOTYPE_URL", "http://127.0.0.1:8700")
entry = requests.get(f"{server}/catalog/content-image-generate.json", timeout=60).json()
print(f"{entry['title']}: {entry['price']}, {entry['status']}")

answer = requests.post(
    entry["apiUrl"],
    headers={"Authorization": f"Bearer {os.environ['CALOTYPE_KEY']}"},
    json={"prompt": "a lighthouse on a cliff at sunset", "aspectRatio": "4:3"},
    timeout=300,
)
if not answer.ok:
    sys.exit(f"{answer.status_code}: {answer.text}")
made = answer.json()
Path("lighthouse.png").write_bytes(requests.get(made["assets"][0]["url"], timeout=60).content)
print(f"lighthouse.png for {made['retailPrice']}")
