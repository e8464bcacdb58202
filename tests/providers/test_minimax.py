"""MiniMax's videos with recorded answers, and through a running server against the emulator."""

import base64
from collections.abc import Generator, Iterator
from typing import Any

import msgspec
import openai
import pytest
from pydantic import SecretStr

from calotype.catalog import Catalog, Pricing
from calotype.kernel.generation import DataClass, Operation
from calotype.kernel.outcome import Failed, FailedKind, Output, Pending, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse
from calotype.providers.base import Call, Check, Idempotency, MediaInputs, PollSchedule
from calotype.providers.minimax import MiniMax
from calotype.sandbox import media
from calotype.sandbox.minimax import MiniMax as MiniMaxEmulator
from calotype.sandbox.serve import on_a_thread
from calotype.settings import ProviderSettings
from running import Account, House, running

KEY = "minimax-hidden-5f0c2ad1"
PRICE_MICRO = 300_000
HANDLE = {"id": "106916112212032"}


def provider(**settings: Any) -> MiniMax:
    return MiniMax("minimax", ProviderSettings(**{"api_key": SecretStr(KEY), **settings}))


def call(**fields: Any) -> Call:
    data_class = fields.pop("data_class", DataClass.GENERAL)
    asked = {"prompt": "a calm sea", "duration": 6, "first_frame_image": None, **fields}
    return Call("job", 1, "token", Operation.TEXT_TO_VIDEO, "MiniMax-Hailuo-2.3", asked, data_class=data_class)


def answer(code: int | None, http: int = 200, text: str = "", **body: Any) -> HttpResponse:
    inner = {} if code is None else {"base_resp": {"status_code": code, "status_msg": text}}
    return HttpResponse(http, {}, msgspec.json.encode({**body, **inner}))


def told(steps: Generator[Any, Any, Any], *answers: HttpResponse) -> tuple[list[HttpRequest], Any]:
    asked = [next(steps)]
    for one in answers:
        try:
            asked.append(steps.send(one))
        except StopIteration as end:
            return asked, end.value
    raise AssertionError("the conversation goes on")


def test_a_prompt_becomes_one_task() -> None:
    (request,), outcome = told(provider().submit(call()), answer(0, task_id=HANDLE["id"]))
    assert (request.method, request.url, request.commits) == (
        "POST",
        "https://api.minimax.io/v1/video_generation",
        True,
    )
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    body = msgspec.json.decode(request.body)
    assert body == {"model": "MiniMax-Hailuo-2.3", "prompt": "a calm sea", "duration": 6}
    assert outcome == Pending(HANDLE, upstream_id=HANDLE["id"])
    assert (MiniMax.idempotency, MiniMax.media_inputs) == (Idempotency.NONE, MediaInputs.DATA)


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (answer(1002), FailedKind.RETRY),
        (answer(1039), FailedKind.RETRY),
        (answer(1004), FailedKind.AUTH),
        (answer(2049), FailedKind.AUTH),
        (answer(1008), FailedKind.QUOTA),
        (answer(1026), FailedKind.MODERATED),
        (answer(2013), FailedKind.INVALID),
        (answer(1000), FailedKind.UNKNOWN),
        (answer(1033), FailedKind.UNKNOWN),
        (answer(0), FailedKind.UNKNOWN),
        (answer(None), FailedKind.UNKNOWN),
        (HttpResponse(200, {}, b"<html>"), FailedKind.UNKNOWN),
        (answer(None, 401), FailedKind.AUTH),
        (answer(None, 404), FailedKind.GONE),
        (answer(None, 422), FailedKind.INVALID),
        (answer(None, 429), FailedKind.RETRY),
        (answer(None, 500), FailedKind.UNKNOWN),
    ],
)
def test_the_code_inside_decides_and_an_answer_without_one_is_ambiguous(said: HttpResponse, kind: FailedKind) -> None:
    outcome = told(provider().submit(call()), said)[1]
    assert isinstance(outcome, Failed) and outcome.kind is kind


def test_an_operator_reads_neither_key_nor_prompt_and_of_phi_nothing() -> None:
    said = answer(2013, text=f"bad: a calm sea {KEY}")
    detail = told(provider().submit(call()), said)[1].detail
    assert "bad" in detail and "calm" not in detail and KEY not in detail
    assert "bad" not in told(provider().submit(call(data_class=DataClass.PHI)), said)[1].detail


def test_a_finished_task_names_a_file_whose_address_is_asked_for() -> None:
    done = answer(0, status="Success", file_id="77", video_width=1366, video_height=768)
    file = answer(0, file={"download_url": "https://cdn.example/a.mp4?sig=1"})
    asked, outcome = told(provider().poll(HANDLE), done, file)
    assert [request.url for request in asked] == [
        "https://api.minimax.io/v1/query/video_generation?task_id=106916112212032",
        "https://api.minimax.io/v1/files/retrieve?file_id=77",
    ]
    video = Output(url="https://cdn.example/a.mp4?sig=1", content_type="video/mp4", width=1366, height=768)
    assert outcome == Succeeded((video,), upstream_id=HANDLE["id"])


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (answer(0, status="Queueing"), None),
        (answer(0, status="Preparing"), None),
        (answer(0, status="Somehow"), None),
        (answer(0, status="Success", file_id=""), None),
        (answer(0, status="Fail"), FailedKind.UPSTREAM),
        (answer(1027, status="Fail"), FailedKind.MODERATED),
        (answer(1002), FailedKind.RETRY),
        (answer(1004), FailedKind.RETRY),
        (answer(None, 502), FailedKind.RETRY),
    ],
)
def test_a_poll_ends_a_task_only_when_the_task_itself_ended(said: HttpResponse, kind: FailedKind | None) -> None:
    outcome = told(provider().poll(HANDLE), said)[1]
    assert outcome == Pending(HANDLE) if kind is None else isinstance(outcome, Failed) and outcome.kind is kind


def test_a_file_that_is_not_there_yet_is_asked_for_again() -> None:
    done = answer(0, status="Success", file_id="77")
    assert told(provider().poll(HANDLE), done, answer(1033))[1].kind is FailedKind.RETRY


@pytest.mark.parametrize(
    ("said", "check"),
    [(answer(2013), Check(True, "ok")), (answer(2049), Check(True, "refused")), (answer(None, 503), None)],
)
def test_the_account_is_asked_about_a_task_that_nobody_has(said: HttpResponse, check: Check | None) -> None:
    (request,), found = told(provider().check(), said)
    assert request.url.endswith("query/video_generation?task_id=0")
    assert found == (check or Check(True, "unknown", note="HTTP 503"))


@pytest.mark.parametrize("base_url", ["ftp://x", "https://a:b@x", "nonsense"])
def test_a_base_url_that_cannot_be_used_is_refused_by_name(base_url: str) -> None:
    with pytest.raises(ValueError, match=r"providers\.minimax\.base_url"):
        provider(base_url=base_url)


# -- through a running server -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def _minimax() -> Iterator[MiniMaxEmulator]:
    emulator = MiniMaxEmulator()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def minimax(_minimax: MiniMaxEmulator) -> MiniMaxEmulator:
    _minimax.reset()
    return _minimax


@pytest.fixture(scope="module")
def house(_minimax: MiniMaxEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(MiniMax, "schedule", PollSchedule(first_s=0.01, factor=1.01, max_s=0.02))
        providers = {"minimax": {"api_key": KEY, "base_url": _minimax.url, "read_timeout_s": 2}}
        prices = {"hailuo": PRICE_MICRO}
        with running(tmp_path_factory.mktemp("house"), providers=providers, prices=prices) as one:
            yield one


@pytest.fixture
def account(house: House) -> Account:
    return house.account()


def film(account: Account, prompt: str, **more: Any) -> Any:
    client = openai.OpenAI(base_url=account.house.url + "/v1", api_key=account.key(), max_retries=0)
    made = client.post("/videos/generations", cast_to=object, body={"model": "hailuo", "prompt": prompt, **more})
    return client.videos.poll(made["id"], poll_interval_ms=20)  # type: ignore[index]


@pytest.mark.filterwarnings("ignore:The Sora API")
def test_a_film_from_a_picture_is_submitted_once_stored_and_charged_once(
    account: Account, minimax: MiniMaxEmulator
) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(media.png(64, 64, 'a')).decode()}"
    done = film(account, "it moves @seconds=1 @late", image_url=uri, seconds="6")
    assert done.status == "completed", done
    (submit,) = minimax.submits
    assert submit.json() == {
        "model": "MiniMax-Hailuo-2.3", "prompt": "it moves @seconds=1 @late", "first_frame_image": uri, "duration": 6,
        "resolution": "768P", "prompt_optimizer": True,
    }  # fmt: skip
    assert (account.spent_micro, account.held_micro) == (PRICE_MICRO, 0)


@pytest.mark.filterwarnings("ignore:The Sora API")
@pytest.mark.parametrize(
    ("words", "code", "submits"),
    [
        ("@code=1026", "moderation_blocked", 1),
        ("@code=1008", "unavailable", 1),
        ("@code=2013", "invalid_input", 1),
        ("@code=1033", "upstream_failed", 1),
        ("@moderated", "moderation_blocked", 1),
        ("@fail", "upstream_failed", 1),
        ("@cut=after", "upstream_failed", 1),
    ],
)
def test_trouble_is_one_submit_and_a_refund(
    account: Account, minimax: MiniMaxEmulator, house: House, words: str, code: str, submits: int
) -> None:
    done = film(account, f"a dog {words}")
    assert (done.status, done.error.code) == ("failed", code)
    assert len(minimax.submits) == submits
    assert (account.spent_micro, account.held_micro) == (0, 0)
    for one in house.app.runtimes["minimax"].ring._all:  # type: ignore[attr-defined]
        one._rests_until_s = 0.0


def test_at_the_real_minimax_it_waits_for_the_operators_price() -> None:
    account = {"minimax": ProviderSettings(api_key=SecretStr(KEY))}
    assert not Catalog.load(providers=account).find("hailuo").routes[0].priced
    priced = Catalog.load(providers=account, pricing=Pricing(overrides={"hailuo": PRICE_MICRO}))
    assert priced.find("hailuo").routes[0].priced
