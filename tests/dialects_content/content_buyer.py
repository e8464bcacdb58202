"""A buyer of content: plain HTTP with one key, and inputs that work."""

from typing import Any

import httpx2

PNG_URI = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)
GENERATE = "/v1/content/images/generate"
PACK = "/v1/content/images/fast-pack"
EDIT = "/v1/content/images/edit"
LISTING = "/v1/content/images/listing-upgrade-pack"
TEXT_FILM = "/v1/content/videos/text-to-video/basic-5s"
IMAGE_FILM = "/v1/content/videos/image-to-video/basic-5s"
MOTION = "/v1/content/videos/product-motion-5s"
WORKS: dict[str, dict[str, Any]] = {
    GENERATE: {"prompt": "a mug"},
    PACK: {"prompt": "a mug"},
    EDIT: {"prompt": "make it winter", "imageUrls": [PNG_URI]},
    LISTING: {"productImageUrl": PNG_URI},
    TEXT_FILM: {"prompt": "waves"},
    IMAGE_FILM: {"prompt": "waves", "imageUrl": PNG_URI},
    MOTION: {"imageUrl": PNG_URI},
}


class Buyer:
    """Sends requests and returns answers as they came."""

    def __init__(self, client: httpx2.Client, key: str) -> None:
        self.client = client
        self.key = key

    def buy(self, path: str, body: Any = None, **headers: str) -> httpx2.Response:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        given = {"authorization": f"Bearer {self.key}", **named}
        return self.client.post(path, json=WORKS[path] if body is None else body, headers=given)

    def result(self, job: dict[str, Any]) -> httpx2.Response:
        """Poll a job, without a key, until it has ended."""
        while (answer := self.client.get(job["resultUrl"])).status_code == 202:
            assert answer.json()["status"] in ("IN_QUEUE", "IN_PROGRESS")
        return answer
