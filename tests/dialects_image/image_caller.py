"""A caller of the image dialect: plain HTTP with one key."""

from typing import Any

import httpx2

PNG_URI = (
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


class Caller:
    """Sends requests and returns answers as they came."""

    def __init__(self, client: httpx2.Client, key: str) -> None:
        self.client = client
        self.key = key

    def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        return self.client.post(path, json=body, headers=self._headers(headers))

    def get(self, path: str, **headers: str) -> httpx2.Response:
        return self.client.get(path, headers=self._headers(headers))

    def request(self, method: str, path: str, body: Any = None) -> httpx2.Response:
        return self.client.request(method, path, json=body, headers=self._headers({}))

    def generate(self, **body: Any) -> httpx2.Response:
        return self.post("/api/v1/image/generate", {"prompt": "a fox", **body})

    def edit(self, **body: Any) -> httpx2.Response:
        return self.post("/api/v1/image/edit", {"prompt": "make it winter", "image_url": PNG_URI, **body})

    def _headers(self, more: dict[str, str]) -> dict[str, str]:
        return {"authorization": f"Bearer {self.key}", **{name.replace("_", "-"): one for name, one in more.items()}}
