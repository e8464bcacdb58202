"""Callbacks as KIE sends them: the record's body, and a signature over the task's id and the time (`§5.5`)."""

import hashlib
import hmac
import http.client
import time
from base64 import b64encode
from typing import Any
from urllib.parse import urlsplit

import msgspec

from calotype.sandbox.kie_work import Task, record, songs_of

TIMEOUT_S = 15.0


def bodies_of(task: Task) -> list[dict[str, Any]]:
    """Return what is posted when a task is over; music has one for each stage."""
    if task.ending is None:
        raise ValueError("a task that is not over is not announced")
    code, good = task.ending.code, task.ending.code == 200
    if task.family != "music":
        text = "Playground task completed successfully." if good else "Playground task failed."
        return [{"code": 200 if good else 501, "msg": text, "data": record(task, 3)}]
    if not good:
        return [{"code": code, "msg": task.ending.text, "data": {"callbackType": "error", "task_id": task.id}}]
    return [
        {
            "code": 200, "msg": "All generated successfully.",
            "data": {"callbackType": stage, "task_id": task.id, "data": _snake(songs_of(task)[:count])},
        }
        for stage, count in (("text", 0), ("first", 1), ("complete", 2))
    ]  # fmt: skip


def signed(task_id: str, key: str, at_s: int | None = None) -> dict[str, str]:
    """Return the headers of a callback; without a key it has no signature."""
    headers = {"Content-Type": "application/json", "User-Agent": "kie-callback"}
    if not key:
        return headers
    at = str(int(time.time()) if at_s is None else at_s)
    digest = hmac.new(key.encode(), f"{task_id}.{at}".encode(), hashlib.sha256).digest()
    return {**headers, "X-Webhook-Timestamp": at, "X-Webhook-Signature": b64encode(digest).decode()}


def post(target: str, body: dict[str, Any], headers: dict[str, str]) -> int:
    """Send one and return the answer's status, 0 for none; blocks."""
    url = urlsplit(target)
    connection = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    try:
        link = connection(url.hostname or "", url.port, timeout=TIMEOUT_S)
        path = f"{url.path or '/'}{'?' + url.query if url.query else ''}"
        link.request("POST", path, msgspec.json.encode(body), headers)
        return link.getresponse().status
    except (OSError, ValueError, http.client.HTTPException):
        return 0


def _snake(songs: list[dict[str, Any]]) -> list[dict[str, Any]]:
    names = {"audioUrl": "audio_url", "streamAudioUrl": "stream_audio_url", "imageUrl": "image_url",
             "modelName": "model_name", "createTime": "createTime"}  # fmt: skip
    return [{names.get(name, name): value for name, value in song.items()} for song in songs]
