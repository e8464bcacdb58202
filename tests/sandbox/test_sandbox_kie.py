"""The emulated KIE over real sockets: the envelope, the families' ladders, uploads, credits, limits and callbacks."""

import asyncio
import base64
import hashlib
import hmac
import io
from collections.abc import AsyncIterator
from typing import Any

import av
import httpx2
import msgspec
import pytest
from aiohttp import web
from PIL import Image

from calotype.sandbox import media
from calotype.sandbox.kie import Kie

HEADERS = {"Authorization": "Bearer kie-sandbox", "User-Agent": "Mozilla/5.0"}
PICTURE = {"model": "z-image", "input": {"prompt": "a cat", "aspect_ratio": "16:9"}}
SONG = {"prompt": "calm", "customMode": False, "instrumental": True, "model": "V4"}


@pytest.fixture
async def kie() -> AsyncIterator[Kie]:
    emulator = Kie()
    await emulator.start()
    emulator.settings["per_window"] = 1000
    yield emulator
    await emulator.stop()


@pytest.fixture
async def http(kie: Kie) -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(base_url=kie.url, headers=HEADERS, timeout=20) as client:
        yield client


class Receiver:
    """A place for callbacks; it answers what it is told to."""

    def __init__(self) -> None:
        self.got: list[tuple[dict[str, str], Any]] = []
        self.status = 200
        self.came = asyncio.Event()
        self.url = ""

    async def take(self, request: web.Request) -> web.Response:
        self.got.append(({name.lower(): value for name, value in request.headers.items()}, await request.json()))
        self.came.set()
        return web.Response(status=self.status)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    one = Receiver()
    app = web.Application()
    app.router.add_post("/back", one.take)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    one.url = f"http://127.0.0.1:{runner.addresses[0][1]}/back"
    yield one
    await runner.cleanup()


async def create(http: httpx2.AsyncClient, body: dict[str, Any], path: str = "/api/v1/jobs/createTask") -> Any:
    answer = await http.post(path, json=body)
    assert answer.status_code == 200
    return answer.json()


async def looked(http: httpx2.AsyncClient, task: str, path: str = "/api/v1/jobs/recordInfo") -> Any:
    return (await http.get(path, params={"taskId": task})).json()


async def ended(http: httpx2.AsyncClient, body: dict[str, Any], kind: str = "jobs") -> Any:
    """Run a call to its end and return its last record."""
    make, look = {
        "jobs": ("/api/v1/jobs/createTask", "/api/v1/jobs/recordInfo"),
        "veo": ("/api/v1/veo/generate", "/api/v1/veo/record-info"),
        "music": ("/api/v1/generate", "/api/v1/generate/record-info"),
    }[kind]
    task = (await create(http, body, make))["data"]["taskId"]
    for _ in range(20):
        record = (await looked(http, task, look))["data"]
        if record and (record.get("completeTime") or record.get("creditsConsumed") is not None):
            return record
    raise AssertionError("it does not end")


async def test_a_job_has_no_record_at_first_then_climbs_and_its_result_is_json_in_a_text(
    http: httpx2.AsyncClient, kie: Kie
) -> None:
    made = await create(http, PICTURE)
    assert (made["code"], made["msg"]) == (200, "success")
    task = made["data"]["taskId"]
    looks = [await looked(http, task) for _ in range(4)]
    assert looks[0] == {"code": 422, "msg": "recordInfo is null", "data": None}
    assert [look["data"]["state"] for look in looks[1:]] == ["waiting", "queuing", "success"]
    assert looks[1]["data"]["resultJson"] == "" and "creditsConsumed" not in looks[1]["data"]
    last = looks[3]["data"]
    assert msgspec.json.decode(last["param"]) == PICTURE and last["creditsConsumed"] == 0.8
    (url,) = msgspec.json.decode(last["resultJson"])["resultUrls"]
    picture = Image.open(io.BytesIO((await http.get(url)).content))
    assert picture.size == (1024, 576)
    assert [submit.path for submit in kie.submits] == ["/api/v1/jobs/createTask"]


async def test_a_film_has_its_length_and_a_character_an_id(http: httpx2.AsyncClient) -> None:
    fields = {"prompt": "waves", "aspect_ratio": "16:9", "resolution": "480p", "duration": 4}
    record = await ended(http, {"model": "bytedance/seedance-1.5-pro", "input": fields})
    assert record["creditsConsumed"] == 6.4
    body = (await http.get(msgspec.json.decode(record["resultJson"])["resultUrls"][0])).content
    with av.open(io.BytesIO(body), "r") as film:
        assert film.duration == pytest.approx(4_000_000, abs=200_000)
    sora = {"model": "sora-2-characters", "input": {"character_file_url": "https://example.com/a.mp4"}}
    assert "character_id" in msgspec.json.decode((await ended(http, sora))["resultJson"])


async def test_motion_control_is_as_long_as_its_film_and_no_longer_than_its_orientation_allows(
    http: httpx2.AsyncClient, kie: Kie
) -> None:
    put = {"base64Data": base64.b64encode(media.mp4(12)).decode(), "uploadPath": "a", "fileName": "dance.mp4"}
    film = (await create(http, put, "/api/file-base64-upload"))["data"]["downloadUrl"]
    for orientation, seconds in (("image", 10), ("video", 12)):
        fields = {
            "input_urls": ["https://example.com/a.png"], "video_urls": [film], "mode": "720p",
            "character_orientation": orientation,
        }  # fmt: skip
        record = await ended(http, {"model": "kling-2.6/motion-control", "input": fields})
        body = (await http.get(msgspec.json.decode(record["resultJson"])["resultUrls"][0])).content
        with av.open(io.BytesIO(body), "r") as made:
            assert made.duration == pytest.approx(seconds * 1_000_000, abs=300_000)


async def test_veo_says_how_it_stands_by_a_flag(http: httpx2.AsyncClient) -> None:
    record = await ended(http, {"prompt": "waves @origin", "model": "veo3_fast"}, "veo")
    assert (record["successFlag"], record["response"]["resolution"]) == (1, "1080p")
    assert record["response"]["originUrls"] and isinstance(record["createTime"], str)
    failed = await ended(http, {"prompt": "waves @moderated"}, "veo")
    assert (failed["successFlag"], failed["errorCode"], failed["response"]) == (3, 400, None)


async def test_suno_climbs_a_ladder_and_a_callback_that_fails_leaves_the_songs(
    http: httpx2.AsyncClient, receiver: Receiver
) -> None:
    task = (await create(http, {**SONG, "callBackUrl": receiver.url}, "/api/v1/generate"))["data"]["taskId"]
    looks = [await looked(http, task, "/api/v1/generate/record-info") for _ in range(4)]
    assert [look["data"]["status"] for look in looks[1:]] == ["PENDING", "TEXT_SUCCESS", "SUCCESS"]
    assert len(looks[3]["data"]["response"]["sunoData"]) == 2
    failed = await ended(http, {**SONG, "prompt": "@exception @songs=1", "callBackUrl": receiver.url}, "music")
    assert failed["status"] == "CALLBACK_EXCEPTION" and len(failed["response"]["sunoData"]) == 1
    hurt = await ended(http, {**SONG, "prompt": "@moderated", "callBackUrl": receiver.url}, "music")
    assert (hurt["status"], hurt["response"]) == ("SENSITIVE_WORD_ERROR", None)


@pytest.mark.parametrize(
    ("path", "body", "code", "words"),
    [
        ("jobs/createTask", {"model": "nobody", "input": {}}, 422, "model name you specified is not supported"),
        ("jobs/createTask", {"model": "z-image", "input": {"prompt": "x"}}, 422, "aspect_ratio is required"),
        (
            "jobs/createTask",
            {"model": "z-image", "input": {"prompt": "x" * 1001, "aspect_ratio": "1:1"}},
            422,
            "characters",
        ),
        (
            "jobs/createTask",
            {"model": "z-image", "input": {"prompt": "x", "aspect_ratio": "2:1"}},
            422,
            "not within the range",
        ),
        (
            "jobs/createTask",
            {"model": "nano-banana-2", "input": {"prompt": "x", "aspect_ratio": "1:8", "resolution": "2K"}},
            422,
            "1K only",
        ),
        (
            "jobs/createTask",
            {
                "model": "kling-2.6/motion-control",
                "input": {"input_urls": ["a", "b"], "video_urls": ["c"], "mode": "720p"},
            },
            422,
            "from 1 to 1 files",
        ),
        ("veo/generate", {"prompt": "x", "seeds": 1}, 422, "seeds"),
        ("veo/generate", {"prompt": "x", "imageUrls": ["a", "b", "c", "d"]}, 422, "imageUrls"),
        ("generate", SONG, 422, "callBackUrl"),
        ("generate", {**SONG, "callBackUrl": "http://x", "prompt": "x" * 501}, 422, "500 characters"),
        ("generate", {**SONG, "callBackUrl": "http://x", "customMode": True, "title": "t"}, 422, "style"),
        ("generate", {**SONG, "callBackUrl": "http://x", "model": "V3"}, 422, "model"),
        (
            "jobs/createTask",
            {"model": "z-image", "input": {"prompt": "@code=455", "aspect_ratio": "1:1"}},
            455,
            "maint",
        ),
        (
            "jobs/createTask",
            {"model": "z-image", "input": {"prompt": "@moderated=submit", "aspect_ratio": "1:1"}},
            400,
            "flagged",
        ),
        (
            "jobs/createTask",
            {"model": "z-image", "input": {"prompt": "@status=505", "aspect_ratio": "1:1"}},
            505,
            "dis",
        ),
    ],
)
async def test_a_refusal_is_a_code_inside_http_200(
    http: httpx2.AsyncClient, kie: Kie, path: str, body: dict[str, Any], code: int, words: str
) -> None:
    said = await create(http, body, f"/api/v1/{path}")
    assert (said["code"], said["data"]) == (code, None) and words in said["msg"]
    assert not kie.tasks and kie.taken == 0


async def test_sora_can_be_paused_as_kie_did(http: httpx2.AsyncClient, kie: Kie) -> None:
    await http.post("/__control__", json={"settings": {"sora": 0}})
    said = await create(http, {"model": "sora-2-text-to-video", "input": {"prompt": "x"}})
    assert said == {"code": 500, "msg": "This interface is temporarily paused", "data": None}


async def test_keys_and_clients_without_a_name_are_refused(http: httpx2.AsyncClient) -> None:
    for key, code in (("unknown-1", 401), ("empty-1", 402), ("spent-1", 433)):
        answer = await http.get("/api/v1/chat/credit", headers={"Authorization": f"Bearer {key}"})
        assert (answer.status_code, answer.json()["code"]) == (200, code)
    front = await http.post("/api/v1/jobs/createTask", json=PICTURE, headers={"User-Agent": "python-requests/2"})
    assert (front.status_code, front.text) == (403, "error code: 1010")


async def test_credits_drop_at_the_create_and_come_back_when_it_fails(http: httpx2.AsyncClient, kie: Kie) -> None:
    async def balance() -> float:
        return float((await http.get("/api/v1/chat/credit")).json()["data"])

    await http.post("/__control__", json={"settings": {"credits": 2, "nulls": 0, "polls": 0}})
    failing = {"model": "z-image", "input": {"prompt": "@fail=500", "aspect_ratio": "1:1"}}
    task = (await create(http, failing))["data"]["taskId"]
    assert await balance() == pytest.approx(1.2)
    assert (await looked(http, task))["data"]["failCode"] == "500"
    assert await balance() == pytest.approx(2)
    assert [(await create(http, PICTURE))["code"] for _ in range(3)] == [200, 200, 402]


async def test_more_than_twenty_creates_in_ten_seconds_are_refused_and_not_queued(
    http: httpx2.AsyncClient, kie: Kie
) -> None:
    kie.settings["per_window"] = 20
    codes = [(await create(http, PICTURE))["code"] for _ in range(21)]
    assert codes == [200] * 20 + [429] and len(kie.tasks) == 20


async def test_files_come_in_three_ways_and_the_same_name_overwrites(http: httpx2.AsyncClient, kie: Kie) -> None:
    form = {"uploadPath": "me/in", "fileName": "a.png"}
    said = (
        await http.post("/api/file-stream-upload", data=form, files={"file": ("x.png", b"one", "image/png")})
    ).json()
    assert said["success"] is True and said["data"]["filePath"] == "me/in/a.png" and said["data"]["fileSize"] == 3
    url = said["data"]["downloadUrl"]
    data = f"data:image/png;base64,{base64.b64encode(b'two').decode()}"
    await create(http, {"base64Data": data, **form}, "/api/file-base64-upload")
    assert (await http.get(url)).content == b"two"
    third = await create(http, {"fileUrl": url, "uploadPath": "b", "fileName": "c.png"}, "/api/file-url-upload")
    assert (await http.get(third["data"]["downloadUrl"])).content == b"two"
    lost = await create(http, {"fileUrl": f"{kie.url}/nothing", "uploadPath": "b"}, "/api/file-url-upload")
    assert lost["code"] == 451
    assert (await create(http, {"base64Data": data}, "/api/file-base64-upload"))["msg"] == "uploadPath is required"
    gone = {"model": "seedream/5-lite-image-to-image", "input": {
        "prompt": "abc", "aspect_ratio": "1:1", "quality": "basic", "image_urls": [f"{kie.url}/uploads/none.png"],
    }}  # fmt: skip
    assert (await ended(http, gone))["failCode"] == "451"


async def test_produced_files_can_be_gone(http: httpx2.AsyncClient) -> None:
    record = await ended(http, {"model": "z-image", "input": {"prompt": "@expired", "aspect_ratio": "1:1"}})
    (url,) = msgspec.json.decode(record["resultJson"])["resultUrls"]
    assert (await http.get(url)).status_code == 404


async def test_a_callback_is_signed_over_id_and_time(http: httpx2.AsyncClient, kie: Kie, receiver: Receiver) -> None:
    body = {**PICTURE, "input": {"prompt": "@work=0.01", "aspect_ratio": "1:1"}, "callBackUrl": receiver.url}
    task = (await create(http, body))["data"]["taskId"]
    await asyncio.wait_for(receiver.came.wait(), 10)
    headers, said = receiver.got[0]
    assert (said["code"], said["data"]["taskId"], said["data"]["state"]) == (200, task, "success")
    message = f"{task}.{headers['x-webhook-timestamp']}".encode()
    wanted = hmac.new(kie.webhook_key.encode(), message, hashlib.sha256).digest()
    assert base64.b64decode(headers["x-webhook-signature"]) == wanted


async def test_music_calls_back_at_each_stage_and_a_deaf_receiver_is_an_exception(
    http: httpx2.AsyncClient, kie: Kie, receiver: Receiver
) -> None:
    receiver.status = 500
    song = {**SONG, "callBackUrl": receiver.url}
    task = (await create(http, song, "/api/v1/generate"))["data"]["taskId"]
    record: dict[str, Any] = {}
    while record.get("status") != "CALLBACK_EXCEPTION":
        record = (await looked(http, task, "/api/v1/generate/record-info"))["data"] or {}
    assert [said["data"]["callbackType"] for _, said in receiver.got] == ["text", "first", "complete"]
    assert receiver.got[2][1]["data"]["data"][0]["audio_url"] == record["response"]["sunoData"][0]["audioUrl"]
