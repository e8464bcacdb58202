"""Jobs at Google from the first request to the stored result, against the emulator: one charge or none, no key left."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from calotype.providers.base import PollSchedule
from calotype.providers.google import Google
from calotype.sandbox import media
from calotype.sandbox.google import Google as GoogleEmulator
from calotype.sandbox.serve import on_a_thread
from running import Account, House, running

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API")
KEY = "sandbox-key-5f0c2ad1beef"
MARGIN_BPS = 1000
SMALL = "gemini-3.1-flash-image"
PICTURE = f"data:image/png;base64,{base64.b64encode(media.png(16, 16, 'given')).decode()}"


def retail(cost_micro: float) -> int:
    """What a cost in micro-USD costs with the margin, rounded up."""
    return -(-round(cost_micro * 100) * (10_000 + MARGIN_BPS) // 1_000_000)


@pytest.fixture(scope="module")
def _google() -> Iterator[GoogleEmulator]:
    emulator = GoogleEmulator()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def google(_google: GoogleEmulator) -> GoogleEmulator:
    """Return the emulator with an empty memory."""
    _google.reset()
    return _google


@pytest.fixture(scope="module")
def house(_google: GoogleEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return the server, looking at Google many times a second."""
    port = _google.url.rpartition(":")[2]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Google, "schedule", PollSchedule(first_s=0.01, factor=1.0, max_s=0.02))
        settings = {"api_key": KEY, "base_url": _google.url, "read_timeout_s": 2}
        with running(
            tmp_path_factory.mktemp("house"), providers={"google": settings}, margin_bps=MARGIN_BPS,
            security={"allowed_private_hosts": [f"localhost:{port}"]},
        ) as one:  # fmt: skip
            yield one


@pytest.fixture
def account(house: House) -> Account:
    return house.account()


@pytest.fixture
def client(house: House, account: Account) -> openai.OpenAI:
    return openai.OpenAI(base_url=house.url + "/v1", api_key=account.key(), max_retries=0)


def picture(client: openai.OpenAI, prompt: str, model: str = SMALL, **more: Any) -> list[bytes]:
    body = {"image_size": "512"} if model == SMALL else {}
    made = client.images.generate(model=model, prompt=prompt, extra_body=body, **more)
    return [httpx2.get(one.url).raise_for_status().content for one in made.data]


def video(client: openai.OpenAI, account: Account, prompt: str, model: str = "veo-3.1-fast", **more: Any) -> Any:
    body = {"model": model, "prompt": prompt, "seconds": 4, **more}
    made: Any = client.post("/videos/generations", cast_to=object, body=body)
    return client.videos.poll(made["id"], poll_interval_ms=20)


def run(account: Account, model: str, fields: dict[str, Any]) -> httpx2.Response:
    headers = {"Authorization": f"Key {account.key()}"}
    return httpx2.post(f"{account.house.url}/fal/run/{model}", json=fields, headers=headers, timeout=60)


def submissions(account: Account) -> list[tuple[Any, ...]]:
    rows: list[tuple[Any, ...]] = account.house.rows(
        "SELECT s.state, s.cost_micro, s.cost_amount, s.cost_unit FROM submission s JOIN job j ON j.id = s.job_id"
        " WHERE j.org_id = :org ORDER BY s.attempt",
        org=account.org.id,
    )
    return rows


# -- each operation ---------------------------------------------------------------------------------------------------


def test_pictures_are_made_at_once_stored_and_charged_by_their_tokens(
    client: openai.OpenAI, account: Account, google: GoogleEmulator
) -> None:
    stored = [Image.open(io.BytesIO(one)) for one in picture(client, "a lighthouse", n=2, size="1536x1024")]
    assert [one.size for one in stored] == [(624, 416)] * 2
    assert len(google.submits) == 2
    asked = google.submits[0].json()
    assert asked["generationConfig"]["imageConfig"] == {"aspectRatio": "3:2", "imageSize": "512"}
    assert google.submits[0].headers["x-goog-api-key"] == KEY
    # two calls, each of four tokens of text at 0.50 and 747 of a picture at 60 USD a million
    cost = 2 * 4 * 0.5 + 2 * 747 * 60
    assert (account.spent_micro, account.held_micro) == (retail(cost), 0)
    assert submissions(account) == [("done", round(cost), "1502", "tokens")]


def test_a_picture_is_edited_with_the_pictures_that_were_sent(account: Account, google: GoogleEmulator) -> None:
    files = [media.png(16, 16, "one"), media.png(16, 16, "two")]
    uris = [f"data:image/png;base64,{base64.b64encode(body).decode()}" for body in files]
    answer = run(account, "gemini-2.5-flash-image", {"prompt": "join them", "image": uris})
    assert answer.status_code == 200, answer.text
    parts = google.submits[0].json()["contents"][0]["parts"]
    sent = [base64.b64decode(part["inlineData"]["data"]) for part in parts[:2]]
    assert sent == files and parts[2] == {"text": "join them"}
    assert account.spent_micro == retail(3 * 0.3 + 2 * 258 * 0.3 + 1290 * 30)


def test_imagen_is_charged_for_the_pictures_that_were_not_held_back(
    client: openai.OpenAI, account: Account, google: GoogleEmulator
) -> None:
    assert len(picture(client, "three cats @partial", "imagen-4", n=3)) == 2
    assert google.submits[0].json()["parameters"]["sampleCount"] == 3
    assert (account.spent_micro, account.held_micro) == (80_000, 0)


def test_a_video_of_veos_is_polled_fetched_with_the_key_and_charged_by_the_second(
    client: openai.OpenAI, account: Account, google: GoogleEmulator
) -> None:
    done = video(client, account, "waves", resolution="1080p", image_url=PICTURE)
    assert done.status == "completed"
    assert client.videos.download_content(done.id).read()[4:8] == b"ftyp"
    asked = google.submits[0].json()
    assert asked["parameters"] == {"aspectRatio": "16:9", "durationSeconds": 4, "resolution": "1080p"}
    assert asked["instances"][0]["image"]["mimeType"] == "image/png"
    assert (account.spent_micro, account.held_micro) == (retail(4 * 120_000), 0)


def test_the_key_is_not_shown_to_the_host_a_file_is_really_on(
    client: openai.OpenAI, account: Account, google: GoogleEmulator
) -> None:
    google.settings["redirects"] = 1
    assert video(client, account, "waves @bare").status == "completed"
    assert google.keys_shown == []


def test_an_interaction_makes_a_video_that_is_charged_by_its_tokens(
    client: openai.OpenAI, account: Account, google: GoogleEmulator
) -> None:
    assert video(client, account, "waves", "gemini-omni-1.1-flash").status == "completed"
    assert google.submits[0].json()["response_format"]["delivery"] == "uri"
    assert account.spent_micro == retail(2 * 1.5 + 4 * 5_792 * 17.5)
    assert submissions(account)[0][2:] == (str(2 + 4 * 5_792), "tokens")


@pytest.mark.parametrize(
    ("model", "fields", "magic", "micro"),
    [
        ("text-to-speech", {"prompt": "one two three four"}, b"RIFF", retail(5 * 0.5 + 40 * 9)),
        ("gemini-3.8-flash-lite-tts", {"input": "one two three four"}, b"ID3", retail(5 * 0.5 + 40 * 6)),
        ("lyria-3.5", {"prompt": "calm piano"}, b"ID3", retail(80_000)),
    ],
)
def test_speech_and_music_are_stored_and_charged(
    account: Account, google: GoogleEmulator, model: str, fields: dict[str, Any], magic: bytes, micro: int
) -> None:
    answer = run(account, model, fields)
    assert answer.status_code == 200, answer.text
    assert httpx2.get(answer.json()["audio"]["url"]).content.startswith(magic)
    assert (account.spent_micro, account.held_micro, len(google.submits)) == (micro, 0, 1)


def test_speech_falls_over_to_the_older_model_where_the_newer_is_gone(account: Account, google: GoogleEmulator) -> None:
    httpx2.post(f"{google.url}/__control__", json={"faults": [{"status": 404, "times": 1}]})
    assert run(account, "text-to-speech", {"prompt": "one two"}).status_code == 200
    first, second = google.submits
    assert first.path.endswith("/interactions") and "gemini-2.5-flash-preview-tts" in second.path
    assert [row[0] for row in submissions(account)] == ["rejected", "done"]


def test_a_chat_is_answered_and_charged_by_what_was_said_and_thought(account: Account, google: GoogleEmulator) -> None:
    fields = {"messages": [{"role": "user", "content": "Hello there @think"}], "max_tokens": 100}
    answer = run(account, "gemini-2-5-flash", fields)
    assert answer.status_code == 200, answer.text
    assert (answer.json()["output"], answer.json()["reasoning"]) == (
        "You said: Hello there",
        "Let me think about that.",
    )
    # 5 tokens in, 6 of the answer and 7 of thought
    assert (account.spent_micro, account.held_micro) == (retail(5 * 0.3 + 13 * 2.5), 0)


def test_vectors_are_answered_and_charged_by_the_tokens_of_the_texts(account: Account, google: GoogleEmulator) -> None:
    answer = run(account, "gemini-embedding-001", {"input": ["one two", "three four five"], "dimensions": 8})
    assert answer.status_code == 200, answer.text
    assert [len(vector) for vector in answer.json()["embeddings"]] == [8, 8]
    assert (account.spent_micro, account.held_micro) == (retail(6 * 0.15), 0)


# -- trouble ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("words", "submits"),
    [("@status=429 @times=1 @retry_after=0", 2), ("@status=503 @times=1", 2), ("@finish=NO_IMAGE @times=1", 2)],
)
def test_trouble_that_passes_is_waited_out_and_charged_once(
    client: openai.OpenAI, account: Account, google: GoogleEmulator, words: str, submits: int
) -> None:
    assert picture(client, f"a cat {words}")
    assert len(google.submits) == submits and account.held_micro == 0
    assert 0 < account.spent_micro < 2 * retail(747 * 60)


@pytest.mark.parametrize(
    ("words", "status", "code"),
    [
        ("@moderated", 400, "moderation_blocked"),
        ("@finish=IMAGE_SAFETY", 400, "moderation_blocked"),
        ("@finish=MAX_TOKENS", 502, "upstream_failed"),
        ("@status=400", 400, "invalid_input"),
        ("@status=403", 503, "unavailable"),
        ("@status=404", 503, "unavailable"),
        ("@perday", 503, "unavailable"),
        ("@status=504", 502, "upstream_failed"),
        ("@cut=read", 502, "upstream_failed"),
        ("@cut=after", 502, "upstream_failed"),
        ("@cut=body", 502, "upstream_failed"),
        ("@garbage", 502, "upstream_failed"),
        ("@hang", 502, "upstream_failed"),
    ],
)
def test_trouble_that_lasts_is_one_submit_and_a_refund(
    house: House, client: openai.OpenAI, account: Account, google: GoogleEmulator, words: str, status: int, code: str
) -> None:
    awake(house)
    with pytest.raises(openai.APIStatusError) as failure:
        picture(client, f"a dog {words}")
    assert (failure.value.status_code, failure.value.code) == (status, code)
    assert len(google.submits) == 1
    assert (account.spent_micro, account.held_micro) == (0, 0)
    awake(house)


def awake(house: House) -> None:
    """Let no credential rest over what an earlier test did to it."""
    runtime: Any = house.app.runtimes["google"]
    for one in runtime.ring._all:
        one._rests_until_s = 0.0


@pytest.mark.parametrize(
    ("words", "code"),
    [
        ("@moderated", "moderation_blocked"),
        ("@filtered", "moderation_blocked"),
        ("@rpc=13", "upstream_failed"),
        ("@rpc=3", "invalid_input"),
        ("@lost", "upstream_failed"),
        ("@expired", "upstream_failed"),
    ],
)
def test_a_video_that_fails_after_it_was_taken_is_refunded_and_not_begun_again(
    client: openai.OpenAI, account: Account, google: GoogleEmulator, words: str, code: str
) -> None:
    done = video(client, account, f"waves {words}")
    assert (done.status, done.error.code) == ("failed", code)
    assert (len(google.submits), account.spent_micro, account.held_micro) == (1, 0, 0)


@pytest.mark.parametrize("words", ["@on=status @status=503 @times=2", "@on=file @status=503 @times=1 @retry_after=0"])
def test_a_video_waits_for_polls_and_files_that_fail_for_a_while(
    client: openai.OpenAI, account: Account, google: GoogleEmulator, words: str
) -> None:
    assert video(client, account, f"waves {words}").status == "completed"
    assert (len(google.submits), account.spent_micro) == (1, retail(4 * 100_000))


def test_a_canceled_interaction_is_stopped_at_google_and_refunded(
    client: openai.OpenAI, account: Account, google: GoogleEmulator, house: House
) -> None:
    made: Any = client.post(
        "/videos/generations", cast_to=object,
        body={"model": "gemini-omni-1.1-flash", "prompt": "waves @polls=100000", "seconds": 4},
    )  # fmt: skip
    (job,) = house.rows("SELECT id FROM job WHERE org_id = :org", org=account.org.id)
    while client.videos.retrieve(made["id"]).status != "in_progress":
        pass
    house.ask(house.app.engine.cancel(job[0], account.org.id))
    assert client.videos.poll(made["id"], poll_interval_ms=20).error.code == "canceled"  # type: ignore[union-attr]
    assert [work.canceled for work in google.works.values()] == [True]
    assert (account.spent_micro, account.held_micro) == (0, 0)


def test_a_retired_model_is_refunded(client: openai.OpenAI, account: Account, google: GoogleEmulator) -> None:
    google.settings["retired"] = 1
    with pytest.raises(openai.APIStatusError):
        picture(client, "a cat", "imagen-4")
    assert (account.spent_micro, account.held_micro) == (0, 0)


# -- what stays -------------------------------------------------------------------------------------------------------


def test_the_key_is_in_no_file_that_the_server_wrote(
    client: openai.OpenAI, account: Account, google: GoogleEmulator, house: House
) -> None:
    """Also after a file that could not be fetched at first, and errors that quote the key."""
    assert video(client, account, "waves @on=file @status=503 @times=1 @retry_after=0").status == "completed"
    with pytest.raises(openai.APIStatusError):
        picture(client, "a dog @status=400")
    house.rows("PRAGMA wal_checkpoint(PASSIVE)")
    written = [path for path in Path(house.app.settings.data_dir).rglob("*") if path.is_file()]
    assert any(path.name == "server.log" for path in written)
    assert [path.name for path in written if KEY.encode() in path.read_bytes()] == []
