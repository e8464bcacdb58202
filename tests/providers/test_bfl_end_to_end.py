"""Jobs at Black Forest Labs from the first request to the stored result: one submit a picture, one charge or none."""

import base64
import io
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image

from calotype.providers.base import PollSchedule
from calotype.providers.bfl import Bfl
from calotype.sandbox import media
from calotype.sandbox.bfl import Bfl as BflEmulator
from calotype.sandbox.serve import on_a_thread
from running import Account, House, running

KEY = "bfl-hidden-5f0c2ad1"


@pytest.fixture(scope="module")
def _bfl() -> Iterator[BflEmulator]:
    emulator = BflEmulator()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def bfl(_bfl: BflEmulator) -> BflEmulator:
    """Return the emulator with an empty memory."""
    _bfl.reset()
    return _bfl


@pytest.fixture(scope="module")
def house(_bfl: BflEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return the server, with an instance for each host and looking at them many times a second."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Bfl, "schedule", PollSchedule(first_s=0.01, factor=1.01, max_s=0.02))
        patch.setattr("calotype.providers.bfl.FIND_S", 1.0)
        hosts = {"bfl": "", "bfl-eu": "/eu", "bfl-us": "/us"}
        providers = {
            name: {"kind": "bfl", "api_key": KEY, "base_url": _bfl.url + host, "read_timeout_s": 2}
            for name, host in hosts.items()
        }
        with running(tmp_path_factory.mktemp("house"), providers=providers, margin_bps=1000) as one:
            yield one


@pytest.fixture
def account(house: House) -> Account:
    return house.account()


@pytest.fixture
def client(house: House, account: Account) -> openai.OpenAI:
    return openai.OpenAI(base_url=house.url + "/v1", api_key=account.key(), max_retries=0)


def picture(client: openai.OpenAI, prompt: str, model: str = "flux-2-pro", **more: Any) -> list[bytes]:
    more = {"size": "512x256", **more}
    made = client.images.generate(model=model, prompt=prompt, **more)  # type: ignore[call-overload]
    return [httpx2.get(one.url).raise_for_status().content for one in made.data]


def submissions(account: Account) -> list[tuple[Any, ...]]:
    return account.house.rows(
        "SELECT s.state, s.provider, s.upstream_id, s.cost_micro, s.cost_amount, s.cost_unit, s.cost_source"
        " FROM submission s JOIN job j ON j.id = s.job_id WHERE j.org_id = :org ORDER BY s.attempt",
        org=account.org.id,
    )


def test_a_picture_is_submitted_polled_stored_and_charged_once_at_its_published_price(
    client: openai.OpenAI, account: Account, bfl: BflEmulator
) -> None:
    (made,) = picture(client, "a lighthouse", size="2048x1024")
    assert Image.open(io.BytesIO(made)).size == (2048, 1024)
    (submit,) = bfl.submits
    assert submit.path == "/v1/flux-2-pro"
    assert submit.headers["x-key"] == KEY
    assert submit.json() == {
        "prompt": "a lighthouse", "width": 2048, "height": 1024, "safety_tolerance": 2, "output_format": "jpeg",
    }  # fmt: skip
    (task,) = bfl.tasks
    assert submissions(account) == [("done", "bfl", task, 45_000, "4.5", "bfl_credit", "response")]
    assert (account.spent_micro, account.held_micro) == (49_500, 0)


@pytest.mark.parametrize(("region", "path", "provider"), [("EU", "/eu", "bfl-eu"), ("US", "/us", "bfl-us")])
def test_a_request_for_a_region_is_served_by_its_host(
    client: openai.OpenAI, account: Account, bfl: BflEmulator, region: str, path: str, provider: str
) -> None:
    picture(client, "a lighthouse", extra_headers={"X-Region": region})
    assert [submit.path for submit in bfl.submits] == [f"{path}/v1/flux-2-pro"]
    assert [row[1] for row in submissions(account)] == [provider]


def test_a_request_for_a_region_does_not_leave_it_when_its_host_fails(
    client: openai.OpenAI, account: Account, bfl: BflEmulator
) -> None:
    with pytest.raises(openai.APIStatusError) as failure:
        picture(client, "@status=402", extra_headers={"X-Region": "EU"})
    assert failure.value.status_code == 503
    assert {submit.path for submit in bfl.submits} == {"/eu/v1/flux-2-pro"}
    assert (account.spent_micro, account.held_micro) == (0, 0)


def test_an_edit_is_held_at_the_most_and_charged_for_the_pictures_it_was_given(
    client: openai.OpenAI, account: Account, bfl: BflEmulator
) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(media.png(1024, 1024, 'a')).decode()}"
    (made,) = picture(client, "make it night", size="auto", extra_body={"image": [uri, uri]})
    assert Image.open(io.BytesIO(made)).size == (1024, 1024)
    sent = bfl.submits[0].json()
    assert sorted(sent) == ["input_image", "input_image_2", "output_format", "prompt", "safety_tolerance"]
    assert base64.b64decode(sent["input_image"]) == media.png(1024, 1024, "a")
    assert submissions(account)[0][3] == 60_000
    assert (account.spent_micro, account.held_micro) == (66_000, 0)


def test_several_pictures_are_several_tasks_and_one_charge(
    client: openai.OpenAI, account: Account, bfl: BflEmulator
) -> None:
    made = picture(client, "a lighthouse", n=3, extra_body={"seed": 5})
    assert len(made) == 3
    assert [submit.json()["seed"] for submit in bfl.submits] == [5, 6, 7]
    assert submissions(account)[0][3] == 90_000
    assert (account.spent_micro, account.held_micro) == (99_000, 0)


def test_no_more_are_submitted_at_once_than_the_upstream_takes_of_a_model(
    client: openai.OpenAI, account: Account, bfl: BflEmulator
) -> None:
    def one(n: int) -> list[bytes]:
        eu = {"X-Region": "EU"}  # one host alone, so that no other one is tried
        return picture(client, f"{n} @polls=8", "bfl/flux-kontext-max", size=openai.omit, extra_headers=eu)

    with ThreadPoolExecutor(9) as callers:
        assert all(callers.map(one, range(9)))
    assert len(bfl.submits) == len(bfl.tasks) == 9, "none was refused for want of a place"
    assert account.held_micro == 0 and account.spent_micro == 9 * 88_000


def test_of_several_pictures_only_those_that_were_made_are_charged(
    client: openai.OpenAI, account: Account, bfl: BflEmulator
) -> None:
    bfl.settings["active"] = 2
    made = client.images.generate(model="flux-2-pro", prompt="x @polls=3", n=3, size="512x256")  # type: ignore[call-overload]
    assert len(made.data) == 2
    assert (len(bfl.submits), len(bfl.tasks)) == (3, 2)
    assert (account.spent_micro, account.held_micro) == (66_000, 0)


@pytest.mark.parametrize(
    ("model", "more", "endpoint", "micro"),
    [
        ("flux-2-klein", {}, "flux-2-klein-4b", 15_400),
        ("flux-1.1-pro", {"size": "1024x768"}, "flux-pro-1.1", 40_000),
        ("flux-kontext", {"size": openai.omit, "extra_body": {"aspect_ratio": "16:9"}}, "flux-kontext-pro", 44_000),
        ("bfl/flux-pro-1.1-ultra", {"size": openai.omit}, "flux-pro-1.1-ultra", 66_000),
        ("bfl/flux-2-flex", {"extra_body": {"steps": 20}}, "flux-2-flex", 55_000),
    ],
)
def test_every_family_is_served_at_its_price(
    client: openai.OpenAI,
    account: Account,
    bfl: BflEmulator,
    model: str,
    more: dict[str, Any],
    endpoint: str,
    micro: int,
) -> None:
    assert picture(client, "a lighthouse", model, **more)
    assert [submit.path for submit in bfl.submits] == [f"/v1/{endpoint}"]
    assert (account.spent_micro, account.held_micro) == (micro, 0)


@pytest.mark.parametrize(
    ("words", "submits"),
    [
        ("@status=429 @times=1 @retry_after=0", 2),
        ("@status=503 @times=1", 2),
        ("@on=status @status=502 @times=2", 1),
        ("@on=status @garbage @times=1", 1),
        ("@on=status @cut=after @times=1", 1),
        ("@on=file @status=503 @times=1 @retry_after=0", 1),
        ("@lost=2 @polls=3", 1),
        ("@reasoning @polls=3", 1),
        ("@silent", 1),
        ("@terminal=503", 1),
    ],
)
def test_trouble_that_passes_is_waited_out_and_charged_once(
    client: openai.OpenAI, account: Account, bfl: BflEmulator, words: str, submits: int
) -> None:
    assert picture(client, f"a cat {words}")
    assert (len(bfl.submits), len(bfl.tasks)) == (submits, 1)
    assert (account.spent_micro, account.held_micro) == (33_000, 0)


@pytest.mark.parametrize(
    ("words", "status", "code", "submits", "tasks"),
    [
        ("@cut=read", 502, "upstream_failed", 1, 0),
        ("@cut=after", 502, "upstream_failed", 1, 1),
        ("@garbage", 502, "upstream_failed", 1, 1),
        ("@status=500", 502, "upstream_failed", 1, 0),
        ("@hang", 502, "upstream_failed", 1, 0),
        ("@moderated", 400, "moderation_blocked", 1, 1),
        ("@moderated_output @terminal=503", 400, "moderation_blocked", 1, 1),
        ("@error", 502, "upstream_failed", 1, 1),
        ("@lost=100000", 502, "upstream_failed", 1, 1),
        ("@expired", 502, "upstream_failed", 1, 1),
        ("@link=0", 502, "upstream_failed", 1, 1),
        ("@status=422", 400, "invalid_input", 1, 0),
        ("@status=400", 400, "invalid_input", 1, 0),
        ("@status=401", 503, "unavailable", 3, 0),
        ("@status=402", 503, "unavailable", 3, 0),
        ("@status=404", 503, "unavailable", 3, 0),
    ],
)
def test_trouble_that_lasts_ends_in_a_refund_and_nothing_accepted_is_sent_again(
    client: openai.OpenAI, account: Account, bfl: BflEmulator, house: House, words: str, status: int, code: str,
    submits: int, tasks: int,
) -> None:  # fmt: skip
    for name in ("bfl", "bfl-eu", "bfl-us"):
        _wake(house, name)
    with pytest.raises(openai.APIStatusError) as failure:
        picture(client, f"a dog {words}")
    assert (failure.value.status_code, failure.value.code) == (status, code)
    assert (len(bfl.submits), len(bfl.tasks)) == (submits, tasks)
    assert (account.spent_micro, account.held_micro) == (0, 0)
    for name in ("bfl", "bfl-eu", "bfl-us"):
        _wake(house, name)


def _wake(house: House, name: str) -> None:
    """Let the credential of an instance rest no longer."""
    ring = house.app.runtimes[name].ring  # type: ignore[attr-defined]
    for one in ring._all:
        one._rests_until_s = 0.0


def test_a_submit_without_an_answer_is_written_down_as_ambiguous(
    client: openai.OpenAI, account: Account, bfl: BflEmulator
) -> None:
    with pytest.raises(openai.APIStatusError):
        picture(client, "@cut=after")
    assert [row[0] for row in submissions(account)] == ["ambiguous"]


def test_the_key_is_in_no_log_and_no_row(house: House, client: openai.OpenAI, bfl: BflEmulator) -> None:
    with pytest.raises(openai.APIStatusError) as failure:
        picture(client, "@status=400")
    assert KEY not in failure.value.response.text
    folder = house.app.settings.data_dir
    for name in ("server.log", "calotype.db", "calotype.db-wal"):
        assert KEY.encode() not in (folder / name).read_bytes()
