"""The life of a job as its caller sees it: words in order, cancelling, histories, webhooks, requests sent again."""

import http.server
import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from jobs_kit import FOREVER, PORTRAIT, Emulated, JobsUser, micro, serving

from calotype.dialects.jobs.services import SERVICES
from running import Account, House


@pytest.fixture(scope="module")
def narrow(_emulated: Emulated, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return a server that gives each provider one job at a time, so that the next one waits."""
    folder: Path = tmp_path_factory.mktemp("narrow")
    yield from serving(_emulated, folder, providers=_emulated.providers(max_in_progress=1))


@pytest.fixture
def waiting(narrow: House, upstreams: Emulated) -> Iterator[JobsUser]:
    """Return a caller whose jobs at KIE wait behind one that goes on."""
    first = JobsUser(narrow.account())
    ident = first.made("/text-to-image/generate", prompt=f"a cat {FOREVER}")
    first.begun(ident)
    yield JobsUser(narrow.account(micro=micro("100")), requests_per_minute=1_000_000)
    upstreams.finish()
    first.ended("/text-to-image/status", ident)


@pytest.mark.parametrize(
    ("create", "status", "words"),
    [
        ("/text-to-image/generate", "/text-to-image/status", ["QUEUED", "PROCESSING", "COMPLETED"]),
        ("/text-to-music/generate", "/text-to-music/status", ["QUEUED", "PROCESSING", "COMPLETED"]),
        ("/nano-banana/create", "/nano-banana/status", ["processing", "processing", "completed"]),
        ("/seedance-video/create", "/seedance-video/status", ["processing", "processing", "completed"]),
    ],
)
def test_words_come_in_their_order(
    waiting: JobsUser, upstreams: Emulated, create: str, status: str, words: list[str]
) -> None:
    ident = waiting.made(create, prompt=f"a cat {FOREVER}")
    seen = [waiting.status(status, ident)["status"]]
    upstreams.finish()
    waiting.begun(ident)
    seen.append(waiting.status(status, ident)["status"])
    upstreams.finish()
    seen.append(waiting.ended(status, ident)["status"])
    assert seen == words


def test_speech_is_pending_while_it_waits(narrow: House, upstreams: Emulated) -> None:
    user = JobsUser(narrow.account(), requests_per_minute=1_000_000)
    first = user.made("/text-to-speech/generate", prompt="one @latency=1.5")
    second = user.made("/text-to-speech/generate", prompt="two")
    assert user.status("/text-to-speech/status", second)["status"] == "PENDING"
    assert user.ended("/text-to-speech/status", second)["status"] == "COMPLETED"
    assert user.status("/text-to-speech/status", first)["status"] == "COMPLETED"


CANCELLABLE: dict[str, dict[str, object]] = {
    "sora2-video": {"prompt": "go", "image_urls": [PORTRAIT]},
    "sora2-text-to-video": {"prompt": "go"},
    "sora2-character": {"character_file_url": "https://example.com/a.mp4"},
    "seedance-video": {"prompt": "waves"},
    "kling-motion-control": {"input_urls": [PORTRAIT], "video_urls": ["https://example.com/a.mp4"]},
    "veo31-video": {"prompt": "waves"},
}


def test_the_cancellable_services_are_those_of_the_published_table() -> None:
    assert {one.create.split("/")[1] for one in SERVICES if one.cancel} == set(CANCELLABLE)


@pytest.mark.parametrize("service", CANCELLABLE)
def test_a_job_that_waits_is_cancelled_and_given_back(waiting: JobsUser, upstreams: Emulated, service: str) -> None:
    sent = upstreams.submits
    ident = waiting.made(f"/{service}/create", **CANCELLABLE[service])
    assert waiting.balance < 100
    answer = waiting.post(f"/{service}/cancel/{ident}")
    assert answer.status_code == 200 and set(answer.json()) == {"success", "message"}
    assert answer.json()["success"] is True
    done = waiting.status(f"/{service}/status", ident)
    assert done["status"] == "cancelled" and "nothing was charged" in done["error"]
    assert waiting.balance == 100 and upstreams.submits == sent
    again = waiting.post(f"/{service}/cancel/{ident}")
    assert (again.status_code, again.json()["success"]) == (200, False)
    kinds = [one["type"] for one in waiting.decimal("/user/credits/history")["transactions"]]
    assert kinds == ["refund", "debit", "topup"]


def test_what_the_upstream_makes_cannot_be_stopped_and_is_said_so(user: JobsUser, upstreams: Emulated) -> None:
    ident = user.made("/veo31-video/create", prompt=f"waves {FOREVER}")
    user.begun(ident)
    answer = user.post(f"/veo31-video/cancel/{ident}").json()
    assert answer["success"] is False and "cannot be stopped" in answer["message"]
    assert user.status("/veo31-video/status", ident)["status"] == "processing"
    upstreams.finish()
    assert user.ended("/veo31-video/status", ident)["status"] == "completed"
    assert user.post(f"/veo31-video/cancel/{ident}").json() == {
        "success": False, "message": "The job had ended before.",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("service", "fields", "media"),
    [
        ("text-to-image", {"prompt": "a cat"}, "image_url"), ("text-to-music", {"prompt": "calm"}, "audio_url"),
        ("text-to-speech", {"prompt": "one"}, "audio_url"),
    ],
)  # fmt: skip
def test_a_history_has_the_jobs_of_its_service_newest_first(
    user: JobsUser, account: Account, service: str, fields: dict[str, str], media: str
) -> None:
    made = [user.made(f"/{service}/generate", **fields) for _ in range(3)]
    other = "text-to-music" if service == "text-to-image" else "text-to-image"
    made_elsewhere = user.made(f"/{other}/generate", prompt="calm")
    for ident in made:
        user.ended(f"/{service}/status", ident)
    first = user.decimal(f"/{service}/history", limit=2)
    assert first["success"] is True and [one["job_id"] for one in first["items"]] == made[:0:-1]
    assert first["next_cursor"] == made[1]
    item = first["items"][0]
    assert {"job_id", "status", "created_at", "credits_used", media} <= set(item)
    assert item["status"] == "COMPLETED" and user.fetched(item[media]) and item["credits_used"] > 0
    rest = user.decimal(f"/{service}/history", limit=2, cursor=first["next_cursor"])
    assert [one["job_id"] for one in rest["items"]] == made[:1] and rest["next_cursor"] is None
    assert made_elsewhere not in user.get(f"/{service}/history").text


@pytest.mark.parametrize(("query", "field"), [({"limit": "101"}, "limit"), ({"cursor": "x"}, "cursor")])
def test_a_history_names_a_wrong_parameter(user: JobsUser, query: dict[str, str], field: str) -> None:
    answer = user.get("/text-to-image/history", **query)
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["query", field]


def test_a_request_with_a_key_of_its_own_is_one_job(user: JobsUser, account: Account, upstreams: Emulated) -> None:
    body = {"prompt": "a cat"}
    answers = [user.post("/text-to-image/generate", body, Idempotency_Key="one") for _ in range(3)]
    assert len({one.json()["job_id"] for one in answers}) == 1
    other = user.post("/text-to-image/generate", {"prompt": "a dog"}, Idempotency_Key="one")
    assert other.status_code == 422 and other.json()["detail"][0]["loc"] == ["header", "Idempotency-Key"]
    user.ended("/text-to-image/status", answers[0].json()["job_id"])
    assert account.spent_micro == micro("1") and len(upstreams.kie.submits) == 1


@pytest.fixture
def letters() -> Iterator[tuple[str, "queue.Queue[tuple[dict[str, str], bytes]]"]]:
    arrived: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()

    class Box(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            arrived.put((dict(self.headers.items()), body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Box) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_address[1]}/hook", arrived
        server.shutdown()
        thread.join(10)


def test_a_webhook_carries_the_status_of_the_job(
    _emulated: Emulated, upstreams: Emulated, tmp_path: Path,
    letters: tuple[str, "queue.Queue[tuple[dict[str, str], bytes]]"],
) -> None:  # fmt: skip
    url, arrived = letters
    host = url.split("/")[2]
    hosts = [host, *(f"localhost:{one.url.rpartition(':')[2]}" for one in (upstreams.kie, upstreams.google))]
    for house in serving(_emulated, tmp_path, security={"allowed_private_hosts": hosts}):
        user = JobsUser(house.account())
        ident = user.made("/text-to-image/generate", prompt="a cat", webhook_url=url)
        headers, body = arrived.get(timeout=30)
        letter = json.loads(body)
        assert (letter["type"], letter["id"][:4]) == ("job.succeeded", "evt_")
        assert {"webhook-id", "webhook-timestamp", "webhook-signature"} <= {name.lower() for name in headers}
        told, shown = letter["data"], user.status("/text-to-image/status", ident)
        assert (told["job_id"], told["status"]) == (ident, "COMPLETED") and set(told) == set(shown)
        assert user.fetched(told["image_url"]) == user.fetched(shown["image_url"])
        answer = user.post("/veo31-video/create", {"prompt": "waves @moderated"}, X_Webhook_Url=url)
        _, body = arrived.get(timeout=30)
        letter = json.loads(body)
        assert (letter["type"], letter["data"]["status"]) == ("job.failed", "failed")
        assert letter["data"]["job_id"] == answer.json()["job_id"]


def test_the_line_before_the_media_tools_is_counted(narrow: House, upstreams: Emulated) -> None:
    stats = JobsUser(narrow.account()).get("/media/queue/stats").json()
    assert stats == {"queued": 0, "running": 0}
