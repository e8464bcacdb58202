"""The unmodified `openai` package, in both its forms, against the running server."""

import base64
import json
import threading
import time
from collections.abc import Callable
from typing import Any

import httpx2
import openai
import pytest

from calotype.kernel.generation import KeyClass
from cutter import Cutter
from house_fixtures import PRICE_MICRO
from running import Account, House
from upstream import PICTURE, Upstream, error

pytestmark = [pytest.mark.client, pytest.mark.filterwarnings("ignore:The Sora API")]
PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture(params=["/v1", "/api/v1"])
def client(house: House, account: Account, request: pytest.FixtureRequest) -> openai.OpenAI:
    """Return the package's client on each of the two bases."""
    return openai.OpenAI(base_url=house.url + request.param, api_key=account.key())


@pytest.fixture
def first(house: House, account: Account) -> openai.OpenAI:
    """Return the package's client on `/v1`."""
    return openai.OpenAI(base_url=house.url + "/v1", api_key=account.key())


class Counting(httpx2.HTTPTransport):
    """Counts what the client really sends."""

    def __init__(self) -> None:
        super().__init__()
        self.requests: list[httpx2.Request] = []

    def handle_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests.append(request)
        return super().handle_request(request)


@pytest.fixture
def counted(house: House) -> Callable[[str], tuple[openai.OpenAI, Counting]]:
    """Return a maker of clients that count their requests."""

    def make(key: str) -> tuple[openai.OpenAI, Counting]:
        transport = Counting()
        http = httpx2.Client(transport=transport)
        return openai.OpenAI(base_url=house.url + "/v1", api_key=key, http_client=http), transport

    return make


def test_a_picture_by_url_can_be_fetched_without_a_key(client: openai.OpenAI, account: Account) -> None:
    answer = client.images.generate(model="local/sketch", prompt="a lighthouse on a cliff", size="256x256")
    assert answer.data is not None and len(answer.data) == 1
    url = answer.data[0].url
    assert url is not None and answer.data[0].b64_json is None
    fetched = httpx2.get(url)
    assert fetched.status_code == 200 and fetched.content.startswith(PNG)
    assert (account.jobs, account.spent_micro, account.held_micro) == (1, 0, 0)


def test_pictures_as_base64_are_the_upstream_s_own(client: openai.OpenAI, account: Account, upstream: Upstream) -> None:
    answer = client.images.generate(
        model="test/picture", prompt="a harbour", n=3, response_format="b64_json", size="1024x768"
    )
    assert answer.data is not None
    assert [base64.b64decode(one.b64_json or "") for one in answer.data] == [PICTURE] * 3
    assert [one.url for one in answer.data] == [None] * 3
    (seen,) = upstream.seen
    assert seen.path == "/v1/images/generations"
    assert seen.json == {"model": "upstream-picture", "prompt": "a harbour", "n": 3, "size": "1024x768"}
    assert account.spent_micro == 3 * PRICE_MICRO and account.held_micro == 0


def test_a_field_of_the_model_rides_in_extra_body(first: openai.OpenAI, upstream: Upstream) -> None:
    first.images.generate(model="picture", prompt="a harbour", extra_body={"seed": 7, "guidance": 2.5})
    assert upstream.seen[0].json["seed"] == 7
    assert upstream.seen[0].json["guidance"] == 2.5


def test_one_seed_makes_one_picture(first: openai.OpenAI) -> None:
    def draw(seed: int) -> str | None:
        answer = first.images.generate(
            model="local/sketch", prompt="a fox in snow", size="256x256", response_format="b64_json",
            extra_body={"seed": seed},
        )  # fmt: skip
        assert answer.data is not None
        return answer.data[0].b64_json

    assert draw(5) == draw(5) != draw(6)


async def test_the_asynchronous_client_does_the_same(house: House, account: Account, upstream: Upstream) -> None:
    async with openai.AsyncOpenAI(base_url=house.url + "/v1", api_key=account.key()) as client:
        answer = await client.images.generate(model="test/picture", prompt="a harbour", n=2)
        assert answer.data is not None and len(answer.data) == 2
        assert [model.id async for model in client.models.list()]
        video = await client.videos.create(model="local/sketch-video", prompt="waves", seconds="1", size="256x256")  # type: ignore[arg-type]
        video = await client.videos.poll(video.id, poll_interval_ms=50)
        assert video.status == "completed"
        content = await client.videos.download_content(video.id)
        assert b"ftyp" in (await content.aread())[:12]
    assert account.spent_micro == 2 * PRICE_MICRO


def test_the_answer_says_what_was_routed_and_charged(first: openai.OpenAI, upstream: Upstream) -> None:
    raw = first.images.with_raw_response.generate(model="test/picture", prompt="a harbour", n=2)
    headers = raw.headers
    assert headers["x-phi-cost-micro"] == str(2 * PRICE_MICRO)
    assert headers["x-phi-tier"] == "non_phi"
    assert headers["x-phi-attempts"] == "1"
    assert headers["x-phi-routed"] == "cloud-test-picture/WORLD/non_phi"
    assert headers["x-request-id"]
    assert headers["x-calotype-job-id"]


# -- videos ------------------------------------------------------------------------------------------------------------


def test_a_video_is_created_polled_listed_fetched_and_deleted(client: openai.OpenAI) -> None:
    # the client's types know OpenAI's own models and sizes only; its wire takes any
    made = client.videos.create(model="local/sketch-video", prompt="waves", seconds="1", size="256x256")  # type: ignore[arg-type]
    assert made.object == "video" and made.id.startswith("video_")
    assert made.status in ("queued", "in_progress") and made.seconds == "1" and made.size == "256x256"
    done = client.videos.poll(made.id, poll_interval_ms=50)
    assert (done.status, done.progress, done.error) == ("completed", 100, None)
    assert done.completed_at is not None and done.model == "local/sketch-video" and done.prompt == "waves"
    assert client.videos.retrieve(made.id) == done
    assert [video.id for video in client.videos.list()] == [made.id]
    film = client.videos.download_content(made.id).read()
    assert b"ftyp" in film[:12]
    gone = client.videos.delete(made.id)
    assert (gone.id, gone.deleted, gone.object) == (made.id, True, "video.deleted")
    with pytest.raises(openai.NotFoundError):
        client.videos.download_content(made.id)


def test_numbers_in_a_form_are_numbers(first: openai.OpenAI, house: House) -> None:
    made = first.videos.create(
        model="local/sketch-video", prompt="7", size="256x256", seconds="1",  # type: ignore[arg-type]
        extra_body={"seed": 11, "fps": 12},
    )  # fmt: skip
    (row,) = house.rows("SELECT input FROM job WHERE id LIKE :id", id=f"{made.id[6:14]}-{made.id[14:18]}%")
    fields = json.loads(row[0])
    assert (fields["seed"], fields["fps"], fields["seconds"], fields["prompt"]) == (11, 12, 1, "7")


def test_a_picture_to_film_rides_in_the_form(first: openai.OpenAI) -> None:
    made = first.videos.create(
        model="local/ken-burns", prompt="ignored", seconds="1", size="256x256",  # type: ignore[arg-type]
        input_reference=("still.png", PICTURE, "image/png"),
    )  # fmt: skip
    assert first.videos.poll(made.id, poll_interval_ms=50).status == "completed"
    raw = first.videos.with_raw_response.retrieve(made.id)
    assert json.loads(raw.headers["x-calotype-warnings"]) == json.loads(raw.text)["warnings"]
    assert "prompt" in json.loads(raw.text)["warnings"][0]


def test_a_page_of_videos_ends_where_it_says(house: House, account: Account) -> None:
    client = openai.OpenAI(base_url=house.url + "/v1", api_key=account.key())
    ids = [
        client.videos.create(model="local/sketch-video", prompt="waves", seconds="1", size="256x256").id  # type: ignore[arg-type]
        for _ in range(4)
    ]
    page = client.videos.list(limit=2)
    assert [video.id for video in page.data] == ids[:1:-1] and page.has_more
    page = page.get_next_page()
    assert [video.id for video in page.data] == ids[1::-1] and not page.has_more
    with pytest.raises(openai.BadRequestError) as refused:
        client.videos.list(order="asc")
    assert refused.value.param == "order"
    assert [video.id for video in client.videos.list(limit=3, after=ids[2])] == ids[1::-1]


def test_the_poll_is_told_when_to_come_back(first: openai.OpenAI, upstream: Upstream) -> None:
    raw = first.videos.with_raw_response.create(model="local/sketch-video", prompt="waves", seconds="4")
    assert raw.http_response.status_code == 202
    assert int(raw.headers["openai-poll-after-ms"]) >= 100
    first.videos.delete(raw.parse().id)


def test_json_makes_the_same_video(first: openai.OpenAI, house: House, http: httpx2.Client, account: Account) -> None:
    headers = {"authorization": f"Bearer {account.key()}"}
    for seconds in (1, "1"):
        body = {"model": "local/sketch-video", "prompt": "waves", "seconds": seconds, "size": "256x256"}
        made = http.post("/v1/videos/generations", json=body, headers=headers)
        assert made.status_code == 202
        assert set(made.json()) >= {
            "id", "object", "model", "status", "progress", "created_at", "completed_at", "seconds", "size", "error",
            "data",
        }  # fmt: skip
        done = first.videos.poll(made.json()["id"], poll_interval_ms=50)
        assert done.status == "completed"
        shown = http.get(f"/v1/videos/{done.id}", headers=headers).json()
        (film,) = shown["data"]
        assert (film["width"], film["height"], film["content_type"]) == (256, 256, "video/mp4")
        assert film["duration_seconds"] == pytest.approx(1, abs=0.1)


def test_a_video_of_another_organisation_is_not_found(house: House, first: openai.OpenAI) -> None:
    made = first.videos.create(model="local/sketch-video", prompt="waves", seconds="1", size="256x256")  # type: ignore[arg-type]
    stranger = openai.OpenAI(base_url=house.url + "/v1", api_key=house.account().key())
    for call in (stranger.videos.retrieve, stranger.videos.delete, stranger.videos.download_content):
        with pytest.raises(openai.NotFoundError) as refused:
            call(made.id)
        assert refused.value.code == "job_not_found"
    assert list(stranger.videos.list()) == []


# -- models and files --------------------------------------------------------------------------------------------------


def test_models_are_listed_and_found_by_ids_with_slashes(client: openai.OpenAI) -> None:
    ids = [model.id for model in client.models.list()]
    assert {"local/sketch", "test/picture", "gpt-image-2"} <= set(ids)
    assert "dall-e-3" not in ids
    for name in ids:
        assert client.models.retrieve(name).id == name
    assert client.models.retrieve("openai/gpt-image-2").id == "gpt-image-2"
    with pytest.raises(openai.NotFoundError) as unknown:
        client.models.retrieve("local/sketsh")
    assert unknown.value.code == "model_not_found" and "local/sketch" in unknown.value.message


def test_a_file_is_kept_described_fetched_and_deleted(client: openai.OpenAI, house: House) -> None:
    made = client.files.create(file=("still.png", PICTURE, "image/png"), purpose="vision")
    assert (made.bytes, made.filename, made.purpose, made.object) == (len(PICTURE), "still.png", "vision", "file")
    assert client.files.retrieve(made.id) == made
    assert client.files.content(made.id).read() == PICTURE
    assert [one.id for one in client.files.list()] == [made.id]
    stranger = openai.OpenAI(base_url=house.url + "/v1", api_key=house.account().key())
    with pytest.raises(openai.NotFoundError):
        stranger.files.content(made.id)
    assert client.files.delete(made.id).deleted
    with pytest.raises(openai.NotFoundError):
        client.files.retrieve(made.id)


def test_a_file_s_life_can_be_shortened(first: openai.OpenAI) -> None:
    made = first.files.create(
        file=("still.png", PICTURE), purpose="vision", expires_after={"anchor": "created_at", "seconds": 3600}
    )
    assert made.expires_at == pytest.approx(time.time() + 3600, abs=30)


# -- errors ------------------------------------------------------------------------------------------------------------


def test_errors_are_the_classes_the_package_has_for_them(
    house: House, account: Account, upstream: Upstream, counted: Callable[[str], tuple[openai.OpenAI, Counting]]
) -> None:
    key = account.key()
    poor, poor_org = house.account(micro=10), None
    cases: list[tuple[str, dict[str, Any], type[openai.APIStatusError], int, str, str | None]] = [
        (key, {"model": "test/picture", "n": 99}, openai.BadRequestError, 400, "invalid_input", "n"),
        ("ct_live_nobody", {"model": "test/picture"}, openai.AuthenticationError, 401, "invalid_api_key", None),
        (poor.key(), {"model": "test/picture"}, openai.APIStatusError, 402, "insufficient_credits", None),
        (account.key(models=["local/*"]), {"model": "test/picture"}, openai.PermissionDeniedError, 403,
         "model_not_allowed", "model"),
        (key, {"model": "nothing-like-it"}, openai.NotFoundError, 404, "model_not_found", "model"),
        (key, {"model": "dall-e-3"}, openai.APIStatusError, 410, "model_retired", "model"),
        (key, {"model": "krea-2"}, openai.InternalServerError, 501, "planned", "model"),
    ]  # fmt: skip
    del poor_org
    for token, body, kind, status, code, param in cases:
        client, sent = counted(token)
        with pytest.raises(kind) as refused:
            client.images.generate(prompt="a harbour", **body)
        problem = refused.value
        assert (problem.status_code, problem.code, problem.param) == (status, code, param), body
        assert problem.request_id
        assert len(sent.requests) == 1, f"{code} must not be retried"
    assert upstream.seen == []
    account.untouched()


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (error(400, "bad_value"), 400, "invalid_input"),
        (error(400, "moderation_blocked"), 400, "moderation_blocked"),
        (error(401, "invalid_api_key"), 503, "unavailable"),
        (error(429, "insufficient_quota"), 503, "unavailable"),
        (error(404, "model_not_found"), 503, "unavailable"),
        (error(502, "bad_gateway"), 502, "upstream_failed"),
        (error(418, "teapot"), 400, "invalid_input"),
    ],
)
def test_an_end_that_is_final_is_not_asked_for_again(
    answer: Any, status: int, code: str, account: Account, upstream: Upstream,
    counted: Callable[[str], tuple[openai.OpenAI, Counting]],
) -> None:  # fmt: skip
    upstream.answers = [answer] * 3
    client, sent = counted(account.key())
    with pytest.raises(openai.APIStatusError) as failed:
        client.images.generate(model="test/picture", prompt="a harbour")
    assert (failed.value.status_code, failed.value.code) == (status, code)
    assert len(sent.requests) == 1
    assert len(upstream.seen) == 1
    assert (account.held_micro, account.spent_micro) == (0, 0)


def test_a_rate_limit_is_waited_for_and_charged_once(
    account: Account, upstream: Upstream, counted: Callable[[str], tuple[openai.OpenAI, Counting]]
) -> None:
    client, sent = counted(account.key(requests_per_minute=60))
    burst = 60 // 6
    for _ in range(burst):
        client.models.with_raw_response.list()  # polls and lists take nothing from the rate
    for n in range(burst + 1):
        client.images.generate(model="test/picture", prompt=f"harbour {n}")
    assert len(sent.requests) == burst + burst + 2
    assert account.jobs == burst + 1 == len(upstream.seen)
    assert account.spent_micro == (burst + 1) * PRICE_MICRO


def test_an_upstream_that_recovers_is_charged_once(
    account: Account, upstream: Upstream, counted: Callable[[str], tuple[openai.OpenAI, Counting]]
) -> None:
    upstream.answers = [error(503, "overloaded")]
    client, sent = counted(account.key())
    answer = client.images.generate(model="test/picture", prompt="a harbour")
    assert answer.data is not None and len(answer.data) == 1
    assert len(upstream.seen) == 2, "the job itself tried again"
    assert len(sent.requests) == 1
    assert (account.jobs, account.spent_micro, account.held_micro) == (1, PRICE_MICRO, 0)


def test_a_503_is_sent_again_by_the_client_and_charged_once(
    account: Account, upstream: Upstream, counted: Callable[[str], tuple[openai.OpenAI, Counting]], house: House
) -> None:
    rounds = 3
    upstream.answers = [error(503, "overloaded")] * rounds
    client, sent = counted(account.key())
    answer = client.images.generate(model="test/picture", prompt="a harbour")
    assert answer.data is not None
    assert len(sent.requests) == 2
    assert sent.requests[1].headers["x-stainless-retry-count"] == "1"
    assert account.spent_micro == PRICE_MICRO and account.held_micro == 0
    states = house.rows("SELECT state FROM job WHERE org_id = :org ORDER BY id", org=account.org.id)
    assert [state for (state,) in states] == ["failed", "succeeded"]


def test_a_connection_cut_before_the_answer_joins_the_same_job(
    house: House, account: Account, upstream: Upstream
) -> None:
    upstream.gate.clear()
    with Cutter(house.port, cuts=1) as proxy:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{proxy.port}/v1", api_key=account.key())
        answers: list[Any] = []
        thread = threading.Thread(
            target=lambda: answers.append(client.images.generate(model="test/picture", prompt="a harbour", n=2))
        )
        thread.start()
        assert upstream.arrived.wait(10)
        proxy.release.set()
        house_sees_two = lambda: proxy.connections >= 2  # noqa: E731
        _until(house_sees_two)
        upstream.gate.set()
        thread.join(30)
    (answer,) = answers
    assert len(answer.data) == 2
    assert proxy.connections == 2
    assert len(upstream.seen) == 1
    assert (account.jobs, account.spent_micro, account.held_micro) == (1, 2 * PRICE_MICRO, 0)


def test_a_video_whose_answer_was_cut_off_is_made_once(house: House, account: Account) -> None:
    with Cutter(house.port, cuts=1) as proxy:
        key = account.key()
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{proxy.port}/v1", api_key=key)
        made: list[Any] = []
        thread = threading.Thread(
            target=lambda: made.append(
                client.videos.create(
                    model="local/ken-burns",
                    prompt="x",
                    seconds="1",
                    size="256x256",  # type: ignore[arg-type]
                    input_reference=("still.png", PICTURE, "image/png"),
                )
            )
        )
        thread.start()
        _until(lambda: account.jobs == 1)
        proxy.release.set()
        thread.join(30)
    assert len(made) == 1 and proxy.connections == 2
    assert account.jobs == 1


def test_a_test_key_makes_free_pictures_and_lists_nothing(house: House, account: Account) -> None:
    client = openai.OpenAI(base_url=house.url + "/v1", api_key=account.key(KeyClass.TEST))
    assert client.images.generate(model="local/sketch", prompt="a fox", size="256x256").data
    with pytest.raises(openai.PermissionDeniedError):
        client.images.generate(model="test/picture", prompt="a fox")
    with pytest.raises(openai.PermissionDeniedError):
        client.videos.list()
    with pytest.raises(openai.PermissionDeniedError):
        client.files.list()


def _until(true: Callable[[], bool], within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.005)
