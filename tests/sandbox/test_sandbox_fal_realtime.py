"""The emulated fal's realtime sessions: tokens for an alias, frames in order, errors that end a session (§6.3)."""

import json
import time
from collections.abc import Iterator
from typing import Any

import httpx2
import msgspec
import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import ClientConnection, connect

from calotype.sandbox.fal import Fal
from calotype.sandbox.serve import on_a_thread

MODEL = "fal-ai/flux/schnell"
KEY = {"authorization": "Key sandbox:key"}


@pytest.fixture
def fal() -> Iterator[Fal]:
    emulator = Fal()
    with on_a_thread(emulator):
        yield emulator


def token(fal: Fal, *apps: str) -> str:
    body = {"allowed_apps": list(apps), "token_expiration": 60}
    return str(httpx2.post(f"{fal.url}/rest/tokens/", json=body, headers=KEY).raise_for_status().json())


def session(fal: Fal, leave: str, query: str = "") -> ClientConnection:
    url = fal.url.replace("http", "ws", 1)
    return connect(f"{url}/run/{MODEL}/realtime?fal_jwt_token={leave}{query}", max_size=None)


def heard(socket: ClientConnection) -> Any:
    message = socket.recv(timeout=20)
    return msgspec.msgpack.decode(message) if isinstance(message, bytes) else json.loads(message)


def close_code(socket: ClientConnection) -> int | None:
    with pytest.raises(ConnectionClosed):
        socket.recv(timeout=20)
    return socket.close_code


def test_frames_are_answered_in_their_kind_and_recorded(fal: Fal) -> None:
    with session(fal, token(fal, "flux")) as socket:
        socket.send(msgspec.msgpack.encode({"prompt": "a hill", "image_size": "square", "request_id": "one"}))
        result, timing = heard(socket), heard(socket)
        socket.send(json.dumps({"prompt": "a hill", "sync_mode": True}))
        text = heard(socket)
    (image,) = result["images"]
    assert image["content"].startswith(b"\x89PNG") and image["width"] == 512 and "url" not in image
    assert result["request_id"] == "one" and timing["type"] == "x-fal-message"
    assert text["images"][0]["url"].startswith("data:image/png;base64,")
    assert [submit.json()["prompt"] for submit in fal.submits] == ["a hill"] * 2 and fal.realtime.opened == 1


def test_only_a_token_for_the_application_opens_a_session(fal: Fal) -> None:
    for leave in ("", "eyJ0", token(fal, "other")):
        with session(fal, leave) as socket:
            assert heard(socket) == {"status": "error", "error": "Unauthorized"}
            assert close_code(socket) == 1008
    assert httpx2.post(f"{fal.url}/rest/tokens/", json={"allowed_apps": ["flux"]}, headers=KEY).status_code == 422
    assert httpx2.post(f"{fal.url}/rest/tokens/", json={}).status_code == 401
    assert fal.realtime.opened == 0


@pytest.mark.parametrize(
    ("prompt", "error", "code"),
    [
        ("@moderated", "INTERNAL_ERROR", 1000), ("@status=500", "INTERNAL_ERROR", 1000), ("@idle", "TIMEOUT", 1000),
        ("@cut=read", None, 1011), ("@cut=after", None, 1011),
    ],
)  # fmt: skip
def test_a_frame_that_fails_ends_its_session(prompt: str, error: str | None, code: int, fal: Fal) -> None:
    with session(fal, token(fal, "flux")) as socket:
        socket.send(msgspec.msgpack.encode({"prompt": prompt}))
        if error is not None:
            told = heard(socket)
            assert (told["type"], told["error"]) == ("x-fal-error", error)
        assert close_code(socket) == code
    assert len(fal.submits) == 1


def test_the_newest_frame_wins_and_idleness_ends_a_session(fal: Fal) -> None:
    fal.settings["realtime_idle_s"] = 2.0
    with session(fal, token(fal, "flux"), "&max_buffering=1") as socket:
        known = len(fal.submits)
        for prompt in ("first @latency=1.0", "second", "third"):
            socket.send(msgspec.msgpack.encode({"prompt": prompt}))
            end = time.monotonic() + 20
            while len(fal.submits) == known and time.monotonic() < end:  # the first is being worked on
                time.sleep(0.01)
        prompts = [one["prompt"] for one in (heard(socket) for _ in range(4)) if "prompt" in one]
        assert prompts[-1] == "third" and len(prompts) == 2
        assert heard(socket)["error"] == "TIMEOUT"
        assert close_code(socket) == 1000
