"""Stills of videos, videos made of videos, and files by the page, with OpenAI's own package and without it."""

import io
from collections.abc import Iterator
from typing import Any

import openai
import pytest
from openai.types import Video
from openai_kit import Kit, picture, recording, refused
from PIL import Image

from calotype.providers.base import PollSchedule
from calotype.providers.google import Google
from calotype.sandbox.google import Google as GoogleEmulator
from calotype.sandbox.serve import on_a_thread
from running import Account, House, running

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API")
OMNI = "gemini-omni-1.1-flash"


@pytest.fixture(scope="module")
def google() -> Iterator[GoogleEmulator]:
    emulator = GoogleEmulator()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture(scope="module")
def filming(google: GoogleEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return a server with a model that works on films."""
    port = google.url.rpartition(":")[2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Google, "schedule", PollSchedule(first_s=0.01, factor=1.0, max_s=0.02))
        providers = {"google": {"api_key": "sandbox-key-77aa", "base_url": google.url}}
        with running(
            tmp_path_factory.mktemp("filming"), providers=providers,
            security={"allowed_private_hosts": [f"localhost:{port}"]},
        ) as one:  # fmt: skip
            yield one


def film(client: openai.OpenAI, model: str = "local/sketch-video", seconds: Any = "1") -> str:
    made = client.videos.create_and_poll(
        model=model,
        prompt="waves",
        seconds=seconds,
        poll_interval_ms=20,
        **SMALL.get(model, {}),
    )
    assert made.status == "completed", made
    return made.id


SMALL: dict[str, dict[str, Any]] = {"local/sketch-video": {"size": "256x256"}}


# -- stills ------------------------------------------------------------------------------------------------------------


@pytest.mark.client
def test_a_still_and_a_sheet_of_stills_are_made_of_a_film(kit: Kit) -> None:
    ident = film(kit.client)
    still = Image.open(io.BytesIO(kit.client.videos.download_content(ident, variant="thumbnail").read()))
    assert (still.format, still.size) == ("WEBP", (256, 256))
    sheet = Image.open(io.BytesIO(kit.client.videos.download_content(ident, variant="spritesheet").read()))
    assert (sheet.format, sheet.size) == ("JPEG", (5 * 256, 4 * 256))
    corners = [sheet.crop((x, y, x + 256, y + 256)).convert("L").tobytes() for x, y in ((0, 0), (1024, 768))]
    assert corners[0] != corners[1] and max(corners[1]) > 30, "the cells show the film at different times"
    answer = kit.http.get(f"/videos/{ident}/content?variant=thumbnail")
    assert answer.headers["content-type"] == "image/webp" and answer.headers["x-calotype-job-id"]


def test_making_a_still_takes_from_the_rate_and_looking_does_not(kit: Kit) -> None:
    address = f"/videos/{film(kit.client)}/content"
    slow = {"authorization": f"Bearer {kit.account.key(requests_per_minute=6)}"}
    wanted = [kit.http.get(f"{address}?variant=thumbnail", headers=slow).status_code for _ in range(2)]
    assert wanted == [200, 429]
    assert [kit.http.get(address, headers=slow).status_code for _ in range(2)] == [302, 302]


def test_another_variant_is_refused_by_name(kit: Kit) -> None:
    ident = film(kit.client)
    answer = kit.http.get(f"/videos/{ident}/content?variant=poster")
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "variant"
    assert "thumbnail, spritesheet" in answer.json()["error"]["message"]


# -- films of films ----------------------------------------------------------------------------------------------------


@pytest.fixture
def maker(filming: House, google: GoogleEmulator) -> tuple[openai.OpenAI, Account]:
    google.reset()
    account = filming.account()
    return openai.OpenAI(base_url=f"{filming.url}/v1", api_key=account.key()), account


@pytest.mark.client
def test_a_film_is_remixed_edited_and_carried_on(maker: tuple[openai.OpenAI, Account]) -> None:
    client, account = maker
    first = film(client, OMNI, "2")
    post = client.post  # the package refuses what its own types take: an object with an id
    for made in (
        client.videos.remix(first, prompt="the same at night"),
        post("/videos/edits", cast_to=Video, body={"prompt": "the same in snow", "video": {"id": first}}),
        post("/videos/extensions", cast_to=Video, body={"prompt": "a boat", "seconds": "4", "video": first}),
    ):
        assert made.remixed_from_video_id == first and made.model == OMNI
        done = client.videos.poll(made.id, poll_interval_ms=20)
        assert (done.status, done.remixed_from_video_id) == ("completed", first), done
    assert account.held_micro == 0 and account.spent_micro > 0


@pytest.mark.client
def test_a_film_of_one_s_own_is_edited(maker: tuple[openai.OpenAI, Account]) -> None:
    client, _ = maker
    body = client.videos.download_content(film(client)).read()
    made = client.videos.edit(prompt="x", video=("a.mp4", body, "video/mp4"), extra_body={"model": OMNI})
    assert client.videos.poll(made.id, poll_interval_ms=20).status == "completed"
    assert made.remixed_from_video_id is None


def test_a_model_that_does_not_work_on_films_is_refused_by_name(kit: Kit) -> None:
    ident = film(kit.client)
    jobs = kit.account.jobs
    refused(
        kit.http.post(f"/videos/{ident}/remix", json={"prompt": "x"}), 400, "invalid_input", "model", "video-to-video"
    )
    refused(
        kit.http.post("/videos/extensions", json={"prompt": "x", "video": {"id": ident}, "seconds": "4"}), 400,
        "invalid_input", "model", "task takes extend",
    )  # fmt: skip
    assert kit.account.jobs == jobs


def test_only_one_s_own_finished_films_are_worked_on(kit: Kit) -> None:
    for ident, param in (("video_x", "id"), ("video_" + "0" * 32, None)):
        refused(kit.http.post(f"/videos/{ident}/remix", json={"prompt": "x"}), 404, "job_not_found", param)
    other = kit.house.account()
    theirs = film(openai.OpenAI(base_url=f"{kit.house.url}/v1", api_key=other.key()))
    refused(kit.http.post(f"/videos/{theirs}/remix", json={"prompt": "x"}), 404, "job_not_found", None)
    refused(kit.http.post("/videos/edits", json={"prompt": "x", "video": {"id": theirs}}), 404, "job_not_found", None)
    refused(kit.http.post("/videos/edits", json={"prompt": "x"}), 400, "invalid_input", "video", "a file")
    kit.account.untouched()


@pytest.mark.client
def test_characters_are_not_offered(kit: Kit) -> None:
    with pytest.raises(openai.NotFoundError, match="input_reference"):
        kit.client.videos.create_character(name="x", video=("a.mp4", b"x"))


# -- files -------------------------------------------------------------------------------------------------------------


@pytest.mark.client
def test_files_come_by_the_page_in_either_order_and_by_purpose(kit: Kit) -> None:
    files = kit.client.files
    made = [files.create(file=(f"{n}.png", picture(16 + n)), purpose="vision").id for n in range(5)]
    other = files.create(file=("x.png", picture()), purpose="user_data").id
    kit.client.audio.transcriptions.create(model="test/ear", file=("a.wav", recording()))
    page = files.list(limit=2)
    assert [one.id for one in page.data] == [other, made[4]] and page.has_more
    assert [one.id for one in files.list(limit=2)] == [other, *made[::-1]]
    assert [one.id for one in files.list(limit=2, order="asc")] == [*made, other]
    assert [one.id for one in files.list(limit=2, purpose="vision")] == made[::-1]
    assert [one.id for one in files.list(after=made[2])] == made[1::-1]
    assert [one.filename for one in files.list(purpose="input")] == ["a.wav"], "what came inside requests is apart"
    assert files.content(made[0]).read() == picture(16)
    found = files.retrieve(made[0])
    assert (found.filename, found.purpose, found.bytes) == ("0.png", "vision", len(picture(16)))


@pytest.mark.client
async def test_the_asynchronous_package_pages_too(kit: Kit) -> None:
    async with kit.asynchronous() as client:
        made = [(await client.files.create(file=(f"{n}.png", picture()), purpose="vision")).id for n in range(3)]
        assert [one.id async for one in client.files.list(limit=1)] == made[::-1]
        assert (await client.files.content(made[0])).content == picture()


@pytest.mark.parametrize(
    ("query", "param"), [("limit=0", "limit"), ("limit=10001", "limit"), ("limit=x", "limit"), ("order=up", "order")]
)
def test_odd_questions_for_files_are_refused_by_name(kit: Kit, query: str, param: str) -> None:
    refused(kit.http.get(f"/files?{query}"), 400, "invalid_input", param)


def test_files_of_others_are_not_there(kit: Kit) -> None:
    upload = kit.http.post("/files", files={"file": ("a.png", picture())}).json()["id"]
    stranger = {"authorization": f"Bearer {kit.house.account().key()}"}
    for path in (f"/files/{upload}", f"/files/{upload}/content"):
        assert kit.http.get(path, headers=stranger).status_code == 404
    assert kit.http.get("/files", headers=stranger).json() == {
        "object": "list", "data": [], "first_id": None, "last_id": None, "has_more": False
    }  # fmt: skip
