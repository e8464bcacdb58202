"""The emulated Gemini API over real sockets: its spellings, its refusals, its files and its traps."""

import base64
import json
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any

import httpx2
import pytest

from calotype.sandbox.google import Google
from calotype.sandbox.serve import on_a_thread

ALLOY = {"prebuiltVoiceConfig": {"voiceName": "alloy"}}
TEXT = {"contents": [{"role": "user", "parts": [{"text": "Hello there."}]}]}


@pytest.fixture(scope="module")
def _emulator() -> Iterator[Google]:
    emulator = Google()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def emulator(_emulator: Google) -> Google:
    _emulator.reset()
    return _emulator


@pytest.fixture
def client(emulator: Google) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=emulator.url, headers={"x-goog-api-key": "sandbox-key"}) as one:
        yield one


def said(prompt: str, **config: Any) -> dict[str, Any]:
    return {"contents": [{"parts": [{"text": prompt}]}], "generationConfig": config}


@pytest.mark.parametrize("version", ["v1", "v1beta"])
@pytest.mark.parametrize(
    "config",
    [
        {"responseModalities": ["IMAGE"], "imageConfig": {"aspectRatio": "16:9", "imageSize": "512"}},
        {"response_modalities": ["IMAGE"], "image_config": {"aspect_ratio": "16:9", "imageSize": "512"}},
    ],
)
def test_both_versions_and_both_spellings_are_taken(
    client: httpx2.Client, version: str, config: dict[str, Any]
) -> None:
    body = {"contents": [{"parts": [{"text": "a cat"}]}], "generation_config": config}
    answer = client.post(f"/{version}/models/gemini-3.1-flash-image:generateContent", json=body).json()
    (part,) = answer["candidates"][0]["content"]["parts"]
    assert base64.b64decode(part["inlineData"]["data"])[:4] == b"\x89PNG"
    assert answer["usageMetadata"]["candidatesTokensDetails"] == [{"modality": "IMAGE", "tokenCount": 747}]


@pytest.mark.parametrize(
    ("model", "body", "words"),
    [
        ("gemini-2.5-flash", {"contents": []}, "contents is not specified"),
        ("gemini-2.5-flash", {**TEXT, "colour": 1}, 'Unknown name "colour"'),
        ("gemini-2.5-flash", said("x", sampler=1), 'Unknown name "sampler"'),
        ("gemini-2.5-flash", {"contents": [{"role": "assistant", "parts": [{"text": "x"}]}]}, "valid role"),
        ("gemini-2.5-flash", {"contents": [{"parts": [{}]}]}, "oneof field 'data'"),
        ("gemini-2.5-flash-image", said("x", responseModalities=["IMAGE"], imageConfig={"imageSize": "2K"}), "image_s"),
        ("gemini-omni-1.1-flash", TEXT, "only supports Interactions API"),
        (
            "gemini-2.5-flash-preview-tts",
            said("x", responseModalities=["AUDIO"], speechConfig={"voiceConfig": ALLOY}),
            "Voice name alloy is not supported",
        ),
    ],
)  # fmt: skip
def test_a_body_that_google_does_not_take_is_refused_in_its_words(
    client: httpx2.Client, model: str, body: dict[str, Any], words: str
) -> None:
    answer = client.post(f"/v1beta/models/{model}:generateContent", json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["status"]) == (400, 400, "INVALID_ARGUMENT")
    assert words in error["message"]


@pytest.mark.parametrize(
    ("key", "status", "word"),
    [(None, 403, "PERMISSION_DENIED"), ("unknown", 400, "INVALID_ARGUMENT"), ("unpaid", 400, "FAILED_PRECONDITION")],
)  # fmt: skip
def test_a_key_that_does_not_work_is_refused(emulator: Google, key: str | None, status: int, word: str) -> None:
    headers = {"x-goog-api-key": key} if key else {}
    answer = httpx2.post(f"{emulator.url}/v1beta/models/gemini-2.5-flash:generateContent", json=TEXT, headers=headers)
    assert (answer.status_code, answer.json()["error"]["status"]) == (status, word)
    listed = httpx2.get(f"{emulator.url}/v1beta/models?pageSize=1", headers=headers)
    assert listed.status_code == status


def test_the_day_and_the_minute_differ_in_the_details_only(client: httpx2.Client) -> None:
    url = "/v1beta/models/gemini-2.5-flash:generateContent"
    day = client.post(url, json=said("@perday"))
    minute = client.post(url, json=said("@status=429 @retry_after=7"))
    assert day.status_code == minute.status_code == 429
    assert day.json()["error"]["message"] == minute.json()["error"]["message"]
    assert "PerDay" in day.text and "PerMinute" in minute.text
    assert '"retryDelay":"7s"' in minute.text


def test_a_stream_is_whole_chunks_without_a_last_word_and_its_errors_are_in_a_list(client: httpx2.Client) -> None:
    url = "/v1beta/models/gemini-2.5-flash:streamGenerateContent?alt=sse"
    answer = client.post(url, json=said("Hello there, whole wide world."))
    assert answer.headers["content-type"].startswith("text/event-stream")
    chunks = [json.loads(line.removeprefix("data: ")) for line in answer.text.splitlines() if line]
    assert len(chunks) > 2 and "[DONE]" not in answer.text
    assert ["usageMetadata" in chunk for chunk in chunks] == [False] * (len(chunks) - 1) + [True]
    assert chunks[-1]["candidates"][0]["finishReason"] == "STOP"
    refused = client.post(url, json={"contents": []})
    assert refused.status_code == 400 and refused.json()[0]["error"]["code"] == 400


def test_imagen_and_veo_are_gone_when_they_are_retired(client: httpx2.Client, emulator: Google) -> None:
    body = {"instances": [{"prompt": "cat"}], "parameters": {"sampleCount": 2}}
    url = "/v1beta/models/imagen-4.0-generate-001:predict"
    assert len(client.post(url, json=body).json()["predictions"]) == 2
    wrong = {**body, "parameters": {"seed": 1}}
    assert "seed parameter is not supported" in client.post(url, json=wrong).json()["error"]["message"]
    emulator.settings["retired"] = 1
    gone = client.post(url, json=body)
    assert gone.status_code == 404 and "no longer available" in gone.json()["error"]["message"]


def test_an_operation_goes_on_for_some_looks_and_its_file_wants_the_key(
    client: httpx2.Client, emulator: Google
) -> None:
    body = {"instances": [{"prompt": "cat"}], "parameters": {"duration_seconds": 4, "resolution": "720p"}}
    name = client.post("/v1beta/models/veo-3.1-generate-preview:predictLongRunning", json=body).json()["name"]
    looks = [client.get(f"/v1beta/{name}").json() for _ in range(3)]
    assert [look.get("done") for look in looks] == [None, None, True]
    uri = looks[2]["response"]["generateVideoResponse"]["generatedSamples"][0]["video"]["uri"]
    assert client.get(uri).content[4:8] == b"ftyp"
    assert httpx2.get(uri).status_code == 403
    emulator.settings["redirects"] = 1
    led = client.get(uri)
    assert led.status_code == 302
    port = emulator.url.rpartition(":")[2]
    assert led.headers["location"].startswith(f"http://localhost:{port}/")
    delivery = led.headers["location"].replace("localhost", "127.0.0.1")
    assert client.get(delivery).status_code == 403 and emulator.keys_shown == ["sandbox-key"]
    assert httpx2.get(delivery).content[4:8] == b"ftyp"


def test_an_interaction_can_be_looked_at_cancelled_and_deleted(client: httpx2.Client) -> None:
    body = {"model": "gemini-omni-1.1-flash", "input": "waves", "background": True, "response_modalities": ["video"]}
    made = client.post("/v1/interactions", json=body).json()
    assert made["status"] == "in_progress" and made["id"].startswith("v1_")
    assert client.post(f"/v1/interactions/{made['id']}/cancel", json={}).json()["status"] == "cancelled"
    assert client.get(f"/v1/interactions/{made['id']}").json()["status"] == "cancelled"
    assert client.delete(f"/v1/interactions/{made['id']}").json() == {}
    assert client.get(f"/v1/interactions/{made['id']}").status_code == 404
    assert "Unknown parameter" in client.post("/v1/interactions", json={**body, "colour": 1}).text


@pytest.mark.parametrize(
    ("model", "wanted", "magic"),
    [
        ("lyria-3-clip-preview", {}, b"ID3"),
        ("gemini-3.8-flash-tts", {"type": "audio", "mime_type": "audio/ogg_opus"}, b"OggS"),
        ("gemini-3.8-flash-tts", {"type": "audio", "mime_type": "audio/wav"}, b"RIFF"),
    ],
)
def test_sound_comes_as_a_block_of_its_type(client: httpx2.Client, model: str, wanted: Any, magic: bytes) -> None:
    body = {"model": model, "input": "one two three", **({"response_format": wanted} if wanted else {})}
    answer = client.post("/v1beta/interactions", json=body).json()
    assert answer["status"] == "completed"
    blocks = [block for step in answer["steps"] if step["type"] == "model_output" for block in step["content"]]
    (sound,) = [block for block in blocks if block["type"] == "audio"]
    assert base64.b64decode(sound["data"]).startswith(magic)


def test_files_are_uploaded_in_two_steps_and_may_be_worked_on_first(client: httpx2.Client, emulator: Google) -> None:
    emulator.settings["processing"] = 1
    headers = {"X-Goog-Upload-Command": "start", "X-Goog-Upload-Header-Content-Type": "image/png"}
    place = client.post("/upload/v1beta/files", json={}, headers=headers).headers["x-goog-upload-url"]
    final = {"X-Goog-Upload-Command": "upload, finalize", "X-Goog-Upload-Offset": "0"}
    put = httpx2.post(place, content=b"bytes", headers=final)
    assert put.headers["x-goog-upload-status"] == "final"
    file = put.json()["file"]
    assert (file["state"], file["sizeBytes"], file["mimeType"]) == ("PROCESSING", "5", "image/png")
    assert client.get(f"/v1beta/{file['name']}").json()["state"] == "ACTIVE"
    assert client.post("/upload/v1beta/files", json={}).status_code == 400


class _Receiver(BaseHTTPRequestHandler):
    def do_POST(self) -> None:
        self.server.got = self.rfile.read(int(self.headers["content-length"]))  # type: ignore[attr-defined]
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        pass


def test_the_end_of_an_interaction_is_announced(client: httpx2.Client, emulator: Google) -> None:
    server: Any = HTTPServer(("127.0.0.1", 0), _Receiver)
    thread = Thread(target=server.handle_request, daemon=True)
    thread.start()
    target = f"http://127.0.0.1:{server.server_port}/hook?x=1"
    body = {"model": "gemini-omni-1.1-flash", "input": "waves @work=0.05", "background": True}
    made = client.post("/v1beta/interactions", json={**body, "webhook_config": {"uris": [target]}}).json()
    assert made["status"] == "in_progress"
    thread.join(10)
    server.server_close()
    assert json.loads(server.got)["data"]["id"] == made["id"]
    assert client.get(f"/v1beta/interactions/{made['id']}").json()["status"] == "completed"
