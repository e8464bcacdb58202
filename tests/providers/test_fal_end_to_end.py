"""Jobs at fal from the first request to the stored result, against the emulator: one submit, one charge or none."""

import base64
import io
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image
from pydantic import SecretStr

from calotype.http import Upstream
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Pending, Succeeded
from calotype.kernel.steps import FileRef
from calotype.providers.base import Call, PollSchedule
from calotype.providers.driver import Driven
from calotype.providers.fal import Fal
from calotype.sandbox import media
from calotype.sandbox.fal import Fal as FalEmulator
from calotype.sandbox.serve import on_a_thread
from calotype.settings import ProviderSettings
from running import Account, House, running

pytestmark = pytest.mark.filterwarnings("ignore:The Sora API")
KREA_MICRO = 33_000
SIZE = "256x320"


@pytest.fixture(scope="module")
def _fal() -> Iterator[FalEmulator]:
    emulator = FalEmulator()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def fal(_fal: FalEmulator) -> FalEmulator:
    """Return the emulator with an empty memory."""
    _fal.reset()
    return _fal


@pytest.fixture(scope="module")
def house(_fal: FalEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return the server, looking at fal many times a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fal, "schedule", PollSchedule(first_s=0.01, factor=1.01, max_s=0.02))
        fal = {"api_key": "sandbox:key", "base_url": f"{_fal.url}/queue", "read_timeout_s": 2}
        with running(tmp_path_factory.mktemp("house"), providers={"fal": fal}, margin_bps=1000) as one:
            yield one


@pytest.fixture
def account(house: House) -> Account:
    return house.account()


@pytest.fixture
def client(house: House, account: Account) -> openai.OpenAI:
    return openai.OpenAI(base_url=house.url + "/v1", api_key=account.key(), max_retries=0)


def picture(client: openai.OpenAI, prompt: str, **more: Any) -> bytes:
    made = client.images.generate(model="krea-2", prompt=prompt, size=SIZE, **more)  # type: ignore[call-overload]
    return httpx2.get(made.data[0].url).raise_for_status().content


def submissions(account: Account) -> list[tuple[Any, ...]]:
    return account.house.rows(
        "SELECT s.state, s.upstream_id, s.cost_amount, s.cost_unit FROM submission s JOIN job j ON j.id = s.job_id"
        " WHERE j.org_id = :org ORDER BY s.attempt",
        org=account.org.id,
    )


def test_a_picture_is_submitted_polled_stored_and_charged_once(
    client: openai.OpenAI, account: Account, fal: FalEmulator
) -> None:
    stored = Image.open(io.BytesIO(picture(client, "a lighthouse")))
    assert stored.size == (256, 320)
    (submit,) = fal.submits
    assert submit.path == "/queue/fal-ai/flux/krea"
    assert submit.json() == {"prompt": "a lighthouse", "image_size": {"width": 256, "height": 320}, "num_images": 1}
    assert submit.headers["x-fal-store-io"] == "0"
    (work,) = fal.works.values()
    assert submissions(account) == [("done", work.id, "1", "fal_unit")]
    assert (account.spent_micro, account.held_micro) == (KREA_MICRO, 0)


def test_a_video_of_five_seconds_asks_for_its_frames(client: openai.OpenAI, account: Account, fal: FalEmulator) -> None:
    made = client.videos.create(model="wan", prompt="waves", seconds="5")  # type: ignore[arg-type]
    assert client.videos.poll(made.id, poll_interval_ms=20).status == "completed"
    assert fal.submits[0].json() == {"prompt": "waves", "num_frames": 81}
    assert client.videos.download_content(made.id).read()[4:8] == b"ftyp"
    assert 0 < account.spent_micro <= 440_000 and account.held_micro == 0


def test_an_avatars_files_reach_fals_storage(client: openai.OpenAI, account: Account, fal: FalEmulator) -> None:
    portrait, speech = media.png(64, 64, "portrait"), media.wav(1.0)
    uris = {
        "image_url": f"data:image/png;base64,{base64.b64encode(portrait).decode()}",
        "audio_url": f"data:audio/wav;base64,{base64.b64encode(speech).decode()}",
    }
    made = client.post("/videos/generations", cast_to=object, body={"model": "avatar", "prompt": "hello", **uris})
    done = client.videos.poll(made["id"], poll_interval_ms=20)  # type: ignore[index]
    assert done.status == "completed"
    sent = fal.submits[0].json()
    assert (sent["prompt"], sent["num_frames"]) == ("hello", 721)
    kept = [fal.storage.files[sent[name].partition("/cdn/")[2]].body for name in ("image_url", "audio_url")]
    assert kept == [portrait, speech]
    assert account.spent_micro > 0 and account.held_micro == 0


@pytest.mark.parametrize(
    ("words", "submits"),
    [
        ("@status=429 @times=1 @retry_after=0", 2),
        ("@status=503 @times=1", 2),
        ("@on=status @status=502 @times=2", 1),
        ("@on=status @garbage @times=1", 1),
        ("@on=status @cut=after @times=1", 1),
        ("@on=result @status=429 @times=1", 1),
        ("@on=result @cut=body @times=1", 1),
        ("@on=file @status=503 @times=1 @retry_after=0", 1),
    ],
)
def test_trouble_that_passes_is_waited_out_and_charged_once(
    client: openai.OpenAI, account: Account, fal: FalEmulator, words: str, submits: int
) -> None:
    assert picture(client, f"a cat {words}")
    assert (len(fal.submits), len(fal.works)) == (submits, 1)
    assert (account.spent_micro, account.held_micro) == (KREA_MICRO, 0)


@pytest.mark.parametrize(
    ("words", "status", "code", "works"),
    [
        ("@cut=read", 502, "upstream_failed", 0),
        ("@cut=after", 502, "upstream_failed", 1),
        ("@cut=body", 502, "upstream_failed", 1),
        ("@garbage", 502, "upstream_failed", 1),
        ("@status=502", 502, "upstream_failed", 0),
        ("@hang", 502, "upstream_failed", 0),
        ("@moderated", 400, "moderation_blocked", 1),
        ("@expired", 502, "upstream_failed", 1),
        ("@type=runner_server_error", 502, "upstream_failed", 1),
        ("@type=image_too_large", 400, "invalid_input", 1),
        ("@type=no_media_generated", 502, "upstream_failed", 1),
        ("@status=422", 400, "invalid_input", 0),
        ("@status=401", 503, "unavailable", 0),
    ],
)
def test_trouble_that_lasts_is_one_submit_and_a_refund(
    client: openai.OpenAI, account: Account, fal: FalEmulator, words: str, status: int, code: str, works: int
) -> None:
    with pytest.raises(openai.APIStatusError) as failure:
        picture(client, f"a dog {words}")
    assert (failure.value.status_code, failure.value.code) == (status, code)
    assert (len(fal.submits), len(fal.works)) == (1, works)
    assert (account.spent_micro, account.held_micro) == (0, 0)


def test_a_submit_without_an_answer_is_written_down_as_ambiguous(
    client: openai.OpenAI, account: Account, fal: FalEmulator
) -> None:
    with pytest.raises(openai.APIStatusError):
        picture(client, "@cut=after")
    assert [row[0] for row in submissions(account)] == ["ambiguous"]


def test_a_canceled_job_is_stopped_at_fal_and_refunded(
    client: openai.OpenAI, account: Account, fal: FalEmulator, house: House
) -> None:
    made = client.videos.create(model="wan", prompt="waves @polls=100000", seconds="5")  # type: ignore[arg-type]
    (job,) = house.rows("SELECT id FROM job WHERE org_id = :org", org=account.org.id)
    while client.videos.retrieve(made.id).status != "in_progress":
        pass
    house.ask(house.app.engine.cancel(job[0], account.org.id))
    assert client.videos.poll(made.id, poll_interval_ms=20).error.code == "canceled"  # type: ignore[union-attr]
    assert [work.canceled for work in fal.works.values()] == [True]
    assert (account.spent_micro, account.held_micro) == (0, 0)


# -- through the driver alone -----------------------------------------------------------------------------------------


@pytest.fixture
async def driven(fal: FalEmulator) -> AsyncIterator[Driven]:
    settings = ProviderSettings(api_key=SecretStr("sandbox:key"), base_url=f"{fal.url}/queue")
    runtime = Driven([Fal("fal", settings)], Upstream("fal"), max_in_progress=10)
    yield runtime
    await runtime.close()


def call(prompt: str, **changes: Any) -> Call:
    fields = {"prompt": prompt}
    return Call("job", 1, "token", Operation.TEXT_TO_IMAGE, "fal-ai/flux/dev", fields, **changes)


async def test_the_submission_is_recorded_after_uploads_and_before_the_submit(
    driven: Driven, fal: FalEmulator, tmp_path: Path
) -> None:
    (tmp_path / "i.png").write_bytes(media.png(8, 8))
    seen: list[tuple[int, int]] = []

    async def on_commit() -> None:
        seen.append((len(fal.storage.files), len(fal.submits)))

    files = {"image_url": (FileRef(tmp_path / "i.png", "image/png", "i.png"),)}
    outcome = await driven.submit(call("x", files=files), on_commit, lambda _: None)
    assert seen == [(1, 0)]
    assert isinstance(outcome, Pending)
    while isinstance(ended := await driven.poll(outcome.handle), Pending):
        pass
    assert isinstance(ended, Succeeded) and ended.outputs[0].url
    assert await driven.cancel(outcome.handle) is False


@pytest.mark.parametrize(("key", "kind"), [("locked:x", FailedKind.QUOTA), ("unknown:x", FailedKind.AUTH)])
async def test_a_locked_or_unknown_account_is_the_operators_trouble(
    fal: FalEmulator, key: str, kind: FailedKind
) -> None:
    settings = ProviderSettings(api_key=SecretStr(key), base_url=f"{fal.url}/queue")
    runtime = Driven([Fal("fal", settings)], Upstream("fal"), max_in_progress=10)

    async def on_commit() -> None:
        return None

    outcome = await runtime.submit(call("x"), on_commit, lambda _: None)
    await runtime.close()
    assert isinstance(outcome, Failed) and outcome.kind is kind
