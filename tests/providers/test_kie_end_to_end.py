"""Jobs at KIE from the first request to the stored result, against the emulator: one create, one charge or none."""

import base64
import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av
import httpx2
import pytest
from PIL import Image

from calotype.kernel.ids import JobId
from calotype.providers import kie as adapter
from calotype.providers.base import PollSchedule
from calotype.providers.kie_rate import Turnstile
from calotype.sandbox import media
from calotype.sandbox.kie import Kie
from calotype.sandbox.serve import on_a_thread
from running import Account, House, running

KEY = "kie-5f0c2ad1beef-secret"
CREDIT = 30_000
SORA = {
    "sora2-text-to-video": "sora-2-text-to-video", "sora2-video": "sora-2-image-to-video",
    "sora2-character": "sora-2-characters",
}  # fmt: skip
QUICK = PollSchedule(first_s=0.01, factor=1.01, max_s=0.02)


def uri(kind: str, body: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"


PORTRAIT = uri("image/png", media.png(320, 320, "portrait"))


@pytest.fixture(scope="module")
def _kie() -> Iterator[Kie]:
    emulator = Kie()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def kie(_kie: Kie) -> Kie:
    """Return the emulator with an empty memory and no limit of its rate."""
    _kie.reset()
    _kie.settings["per_window"] = 100_000
    return _kie


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("house")


@pytest.fixture(scope="module")
def house(_kie: Kie, data_dir: Path) -> Iterator[House]:
    """Return the server, looking at KIE many times a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(adapter.Kie, "schedule", QUICK)
        patch.setattr(adapter.Kie, "slow_schedule", QUICK)
        patch.setattr(adapter, "Turnstile", lambda: Turnstile(most=100_000))
        patch.setattr(adapter, "WINDOW_MS", 50)
        patch.setattr(adapter, "MAINTENANCE_MS", 50)
        kie = {
            "api_key": KEY, "base_url": _kie.url, "webhook_secret": _kie.webhook_key, "read_timeout_s": 2,
            "models": SORA,
        }  # fmt: skip
        with running(data_dir, providers={"kie": kie}) as one:
            one.app.url = one.url
            yield one


@pytest.fixture
def account(house: House, kie: Kie) -> Account:
    return house.account()


class User:
    """Runs models by name through the queue of the fal dialect, which takes any model's own fields."""

    def __init__(self, house: House, http: httpx2.Client, key: str) -> None:
        self._house = house
        self._http = http
        self._headers = {"Authorization": f"Key {key}"}

    def submit(self, model: str, **fields: Any) -> httpx2.Response:
        return self._http.post(f"/fal/queue/{model}", json=fields, headers=self._headers)

    def run(self, model: str, **fields: Any) -> httpx2.Response:
        """Return the answer of the result's address once the request has ended."""
        made = self.submit(model, **fields)
        made.raise_for_status()
        self._house.ask(self._house.app.engine.wait(JobId(made.json()["request_id"]), 30))
        return self._http.get(made.json()["response_url"], headers=self._headers)

    def made(self, model: str, **fields: Any) -> dict[str, Any]:
        result = self.run(model, **fields)
        assert result.status_code == 200, result.text
        body: dict[str, Any] = result.json()
        return body

    def fetch(self, url: str) -> bytes:
        return self._http.get(url).raise_for_status().content


@pytest.fixture
def user(house: House, account: Account) -> Iterator[User]:
    with httpx2.Client(base_url=house.url, timeout=60) as http:
        yield User(house, http, account.key())


def submissions(account: Account) -> list[tuple[Any, ...]]:
    found: list[tuple[Any, ...]] = account.house.rows(
        "SELECT s.state, s.upstream_model, s.cost_micro, s.cost_amount, s.cost_unit FROM submission s"
        " JOIN job j ON j.id = s.job_id WHERE j.org_id = :org ORDER BY s.attempt",
        org=account.org.id,
    )
    return found


def charged(account: Account, credits_micro: int) -> None:
    assert (account.spent_micro, account.held_micro) == (credits_micro * CREDIT // 1_000_000, 0)


def seconds_of(film: bytes) -> float:
    with av.open(io.BytesIO(film), "r") as container:
        return (container.duration or 0) / 1_000_000


def test_a_picture_is_created_looked_at_stored_and_charged_once(user: User, account: Account, kie: Kie) -> None:
    picture = user.made("text-to-image", prompt="a lighthouse", aspect_ratio="16:9")["images"][0]
    assert Image.open(io.BytesIO(user.fetch(picture["url"]))).size == (1024, 576)
    (submit,) = kie.submits
    body = submit.json()
    assert (submit.path, body["model"]) == ("/api/v1/jobs/createTask", "z-image")
    assert body["input"] == {"prompt": "a lighthouse", "aspect_ratio": "16:9"}
    assert submissions(account) == [("done", "z-image", 4_000, "0.8", "kie_credit")]
    charged(account, 1_000_000)


def test_a_model_may_be_called_like_an_operation(house: House, account: Account, kie: Kie) -> None:
    with httpx2.Client(base_url=house.url, headers={"Authorization": f"Bearer {account.key()}"}, timeout=60) as http:
        made = http.post("/v1/images/generations", json={"model": "text-to-image", "prompt": "a cat"})
        assert made.status_code == 200 and len(made.json()["data"]) == 1
        listed = {model["id"] for model in http.get("/v1/models").json()["data"]}
    assert {"text-to-image", "text-to-music", "veo3", "veo3_fast", "sora2-character"} <= listed
    charged(account, 1_000_000)


def test_a_picture_to_work_on_is_uploaded_and_chooses_the_model(user: User, account: Account, kie: Kie) -> None:
    user.made("seedream", prompt="at night", image_urls=[PORTRAIT])
    body = kie.submits[0].json()
    assert body["model"] == "seedream/5-lite-image-to-image"
    (path,) = kie.uploads
    assert body["input"]["image_urls"] == [f"{kie.url}/{path}"] and path.startswith("uploads/calotype/")
    assert uri("image/png", kie.uploads[path]) == PORTRAIT
    user.made("seedream", prompt="a lighthouse", quality="high")
    assert kie.submits[1].json()["model"] == "seedream/5-lite-text-to-image"
    charged(account, 3_000_000)


@pytest.mark.parametrize(
    ("resolution", "credits_micro", "cost"), [("1K", 2_000_000, 40_000), ("2K", 3_000_000, 60_000)]
)
def test_nano_banana_costs_by_its_size(
    user: User, account: Account, kie: Kie, resolution: str, credits_micro: int, cost: int
) -> None:
    made = user.made("nano-banana", prompt="a cat", image_input=[PORTRAIT, PORTRAIT], resolution=resolution)
    assert made["images"][0]["content_type"] == "image/jpeg"
    assert len(kie.submits[0].json()["input"]["image_input"]) == len(kie.uploads) == 2
    assert "google_search" not in kie.submits[0].json()["input"]
    assert submissions(account)[0][2] == cost
    charged(account, credits_micro)


def test_seedance_is_priced_by_its_matrix(user: User, account: Account, kie: Kie) -> None:
    fields = {"resolution": "480p", "duration": "4", "generate_audio": True}
    film = user.made("seedance-video", prompt="waves", **fields)["video"]
    assert seconds_of(user.fetch(film["url"])) == pytest.approx(4, abs=0.3)
    assert kie.submits[0].json()["input"] == {
        "prompt": "waves", "aspect_ratio": "16:9", "resolution": "480p", "duration": 4, "fixed_lens": False,
        "generate_audio": True,
    }  # fmt: skip
    charged(account, 3_000_000)


def test_motion_control_holds_the_most_and_charges_the_seconds_that_came(
    user: User, account: Account, house: House, kie: Kie
) -> None:
    film = uri("video/mp4", media.mp4(4.0, name="dance"))
    user.made("kling-motion-control", input_urls=[PORTRAIT], video_urls=[film], mode="1080p")
    ((quoted,),) = house.rows("SELECT quote_micro FROM job WHERE org_id = :org", org=account.org.id)
    assert quoted == 30 * 1_820_000 * CREDIT // 1_000_000
    assert len(kie.uploads) == 2
    assert account.spent_micro in (4 * 54_600, 5 * 54_600) and account.held_micro == 0


def test_veo_uses_its_own_address_and_its_origin_is_kept_too(user: User, account: Account, kie: Kie) -> None:
    made = user.made("veo3_fast", prompt="waves @origin", image_urls=[PORTRAIT], generation_type="REFERENCE_2_VIDEO")
    assert made["resolution"] == "1080p"
    (submit,) = kie.submits
    assert submit.path == "/api/v1/veo/generate"
    assert {"imageUrls", "generationType"} <= set(submit.json()) and submit.json()["model"] == "veo3_fast"
    assert seconds_of(user.fetch(made["video"]["url"])) == pytest.approx(8, abs=0.3)
    charged(account, 15_000_000)


def test_music_is_two_songs_for_one_price(user: User, account: Account, kie: Kie) -> None:
    songs = user.made("text-to-music", prompt="la la", style="jazz", title="Sea", negative_tags="drums")
    assert len(songs["audios"]) == len(songs["tracks"]) == 2 and songs["tracks"][0]["title"] == "Sea"
    body = kie.submits[0].json()
    assert (body["customMode"], body["negativeTags"]) == (True, "drums") and body["callBackUrl"].startswith("http")
    charged(account, 3_000_000)


def test_half_of_the_music_is_half_of_the_price(user: User, account: Account, kie: Kie) -> None:
    kie.settings["polls"] = 0
    result = user.made("text-to-music", prompt="calm @songs=1")
    assert result["audio"]["content_type"].startswith("audio/")
    charged(account, 1_500_000)


def test_a_character_is_an_id_and_no_file(user: User, account: Account, kie: Kie) -> None:
    address = "https://example.com/somebody.mp4"
    made = user.made("sora2-character", character_file_url=address, character_prompt="a sailor")
    assert made["character_id"].startswith("char_")
    assert kie.submits[0].json()["input"] == {"character_file_url": address, "character_prompt": "a sailor"}
    charged(account, 500_000)


def test_sora_makes_films_with_and_without_pictures(user: User, account: Account, kie: Kie) -> None:
    user.made("sora2-video", prompt="it turns", image_urls=[PORTRAIT], n_frames="5", character_id_list=["char_1"])
    user.made("sora2-text-to-video", prompt="waves")
    bodies = [submit.json() for submit in kie.submits]
    assert [body["model"] for body in bodies] == ["sora-2-image-to-video", "sora-2-text-to-video"]
    assert bodies[0]["input"]["n_frames"] == "5" and bodies[0]["input"]["character_id_list"] == ["char_1"]
    charged(account, 16_000_000)


def test_a_signed_callback_ends_a_job_long_before_its_next_look(
    user: User, account: Account, kie: Kie, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(adapter.Kie, "schedule", PollSchedule(first_s=600, factor=1.01, max_s=600))
    user.made("text-to-image", prompt="a cat @work=0.3 @nulls=0")
    assert [answer for _, answer in kie.calls] and all(200 <= answer < 300 for _, answer in kie.calls)
    charged(account, 1_000_000)


@pytest.mark.parametrize(
    ("words", "creates"),
    [
        ("@status=429 @times=1", 2),
        ("@status=455 @times=1", 2),
        ("@status=403 @times=1", 2),
        ("@on=status @status=429 @times=2", 1),
        ("@nulls=6", 1),
        ("@state=dreaming", 1),
        ("@on=status @status=500 @times=3", 1),
        ("@on=status @status=502 @times=3", 1),
        ("@on=status @garbage @times=1", 1),
        ("@on=status @cut=after @times=1", 1),
        ("@on=file @status=503 @times=1 @retry_after=0", 1),
        ("@uncounted", 1),
        ("@call=forged", 1),
        ("@call=twice", 1),
        ("@call=early", 1),
    ],
)
def test_trouble_that_passes_is_waited_out_and_charged_once(
    user: User, account: Account, kie: Kie, words: str, creates: int
) -> None:
    assert user.made("text-to-image", prompt=f"a cat {words}")["images"]
    assert (len(kie.submits), len(kie.tasks)) == (creates, 1)
    charged(account, 1_000_000)


@pytest.mark.parametrize(
    ("words", "state", "tasks"),
    [
        ("@cut=read", "ambiguous", 0),
        ("@cut=after", "ambiguous", 1),
        ("@cut=body", "ambiguous", 1),
        ("@garbage", "ambiguous", 1),
        ("@status=502", "ambiguous", 0),
        ("@code=500", "ambiguous", 0),
        ("@hang", "ambiguous", 0),
        ("@code=400", "failed", 0),
        ("@code=401", "rejected", 0),
        ("@code=402", "rejected", 0),
        ("@code=433", "rejected", 0),
        ("@code=505", "rejected", 0),
        ("@moderated=submit", "failed", 0),
        ("@moderated", "failed", 1),
        ("@fail=500", "failed", 1),
        ("@fail=422", "failed", 1),
        ("@empty", "failed", 1),
        ("@expired", "done", 1),
    ],
)
def test_trouble_that_lasts_is_one_create_and_a_refund(
    user: User, account: Account, kie: Kie, words: str, state: str, tasks: int
) -> None:
    result = user.run("text-to-image", prompt=f"a dog {words}")
    assert result.status_code >= 400 and KEY not in result.text
    assert (len(kie.submits), len(kie.tasks)) == (1, tasks)
    assert [row[0] for row in submissions(account)] == [state]
    charged(account, 0)


def test_content_policy_is_recognised_by_its_words_alone(user: User, account: Account, kie: Kie) -> None:
    for words in ("@moderated=submit", "@moderated", "@fail=500 @said=nsfw"):
        result = user.run("text-to-image", prompt=f"a dog {words}")
        assert result.json()["detail"][0]["type"] == "content_policy_violation"
    assert user.run("veo3", prompt="@moderated").json()["detail"][0]["type"] == "content_policy_violation"
    charged(account, 0)


def test_a_retired_model_is_refused_before_anything_is_held_unless_the_operator_names_an_upstream(
    kie: Kie, tmp_path: Path
) -> None:
    provider = {"api_key": KEY, "base_url": kie.url}
    with running(tmp_path, providers={"kie": provider}) as house:
        account = house.account()
        with httpx2.Client(base_url=house.url, timeout=60) as http:
            refused = User(house, http, account.key()).submit("sora2-text-to-video", prompt="waves")
        assert refused.status_code >= 400 and "seedance-video" in refused.text
        account.untouched()
    assert not kie.submits


def test_the_key_is_in_no_log_and_no_row(user: User, account: Account, house: House, data_dir: Path, kie: Kie) -> None:
    user.run("text-to-image", prompt="@code=401")
    user.run("text-to-image", prompt="@fail=500")
    kept = [path for path in data_dir.rglob("*") if path.is_file() and path.suffix in (".log", ".db", ".db-wal")]
    assert kept
    for path in kept:
        assert KEY.encode() not in path.read_bytes() and kie.webhook_key.encode() not in path.read_bytes()
