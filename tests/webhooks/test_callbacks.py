"""An upstream that says it is done brings the next poll forward, and nothing else can."""

import time
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from calotype.jobs.callbacks import PATH, Callbacks
from calotype.kernel.ids import JobId, new_job_id
from calotype.providers.base import PollSchedule
from calotype.providers.fal import Fal
from calotype.sandbox.fal import Fal as FalEmulator
from calotype.sandbox.serve import on_a_thread
from running import Account, House, running

NEVER = PollSchedule(first_s=600.0, factor=1.0, max_s=600.0)


@pytest.fixture(scope="module")
def fal() -> Iterator[FalEmulator]:
    emulator = FalEmulator()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture(scope="module")
def house(fal: FalEmulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return a server that would look at fal only after ten minutes."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Fal, "schedule", NEVER)
        settings = {"api_key": "sandbox:key", "base_url": f"{fal.url}/queue"}
        with running(tmp_path_factory.mktemp("house"), providers={"fal": settings}) as one:
            one.app.url = one.url
            yield one


@pytest.fixture
def account(house: House) -> Account:
    return house.account()


def posted(house: House, token: str, body: bytes = b"{}", **headers: str) -> int:
    return httpx2.post(f"{house.url}{PATH}/{token}", content=body, headers=headers, timeout=30).status_code


def asked(house: House, account: Account, prompt: str) -> str:
    with httpx2.Client(base_url=house.url, headers={"Authorization": f"Key {account.key()}"}, timeout=30) as client:
        return str(client.post("/fal/queue/krea-2", json={"prompt": prompt}).raise_for_status().json()["request_id"])


def state_of(house: House, job_id: str) -> str:
    return str(house.rows("SELECT state FROM job WHERE id = :id", id=job_id)[0][0])


def until_state(house: House, job_id: str, *wanted: str) -> str:
    end = time.monotonic() + 20
    while (state := state_of(house, job_id)) not in wanted:
        assert time.monotonic() < end, f"still {state}"
        time.sleep(0.02)
    return state


def test_a_signed_word_of_the_upstream_ends_the_wait(house: House, account: Account, fal: FalEmulator) -> None:
    fal.webhooks.sent.clear()
    job_id = asked(house, account, "a heron")
    assert until_state(house, job_id, "succeeded", "failed") == "succeeded"
    assert account.spent_micro > 0
    assert account.held_micro == 0
    ((target, status),) = fal.webhooks.sent
    assert target.startswith(f"{house.url}{PATH}/")
    assert status == 200


def test_a_word_that_the_upstream_did_not_sign_changes_nothing(house: House, account: Account) -> None:
    job_id = asked(house, account, "a heron @work=600")
    until_state(house, job_id, "running")
    token = token_of(house, job_id)
    assert posted(house, token, b'{"status":"OK"}') == 401
    forged = {"x-fal-webhook-request-id": "r", "x-fal-webhook-user-id": "u", "x-fal-webhook-signature": "0" * 128}
    assert posted(house, token, **forged, **{"x-fal-webhook-timestamp": str(int(time.time()))}) == 401
    ((due_ms,),) = house.rows("SELECT next_at_ms FROM job WHERE id = :id", id=job_id)
    assert due_ms > time.time() * 1000 + 60_000


@pytest.mark.parametrize("token", ["", "x", "A" * 40, "-" * 40, "é" * 40, "A" * 4000])
def test_an_address_that_is_none_of_ours_is_not_found(house: House, token: str) -> None:
    assert posted(house, token) == 404


def test_a_word_about_an_ended_job_or_another_attempt_is_taken_and_forgotten(house: House, account: Account) -> None:
    job_id = asked(house, account, "an owl")
    until_state(house, job_id, "succeeded")
    spent = account.spent_micro
    assert posted(house, token_of(house, job_id)) == 200
    assert posted(house, token_of(house, job_id, attempt=2)) == 200
    assert posted(house, token_of(house, new_job_id())) == 200
    assert account.spent_micro == spent


def test_a_body_that_is_too_large_is_refused(house: House, account: Account) -> None:
    job_id = asked(house, account, "a heron @work=600")
    assert posted(house, token_of(house, job_id), b"x" * ((1 << 20) + 1)) == 413
    assert httpx2.get(f"{house.url}{PATH}/{token_of(house, job_id)}").status_code == 405


def token_of(house: House, job_id: str, attempt: int = 1) -> str:
    url = house.app.callbacks.url(house.app.runtimes["fal"], JobId(job_id), attempt)
    assert url is not None
    return url.rpartition("/")[2]


class Takes:
    callbacks = True

    def __init__(self, *hosts: str) -> None:
        self.output_hosts = frozenset(hosts)


def url(runtime: Any, public_url: str | None) -> str | None:
    callbacks = Callbacks((b"k" * 32,), public_url, lambda: "http://127.0.0.1:8700")
    return callbacks.url(runtime, new_job_id(), 1)


def test_an_address_is_given_only_to_who_can_reach_it() -> None:
    public = "https://gateway.example"
    assert (url(Takes(), public) or "").startswith(f"{public}{PATH}/")
    assert url(Takes(), None) is None, "fal cannot reach a private address"
    assert (url(Takes("127.0.0.1:9000"), None) or "").startswith("http://127.0.0.1:8700/")
    taciturn = Takes()
    taciturn.callbacks = False
    assert url(taciturn, public) is None


def test_a_token_holds_its_job_and_attempt_and_survives_a_rotation() -> None:
    old, new = b"o" * 32, b"n" * 32
    job_id = new_job_id()
    made = Callbacks((old,), "https://g.example", str).url(Takes(), job_id, 3)  # type: ignore[arg-type]
    assert made is not None
    token = made.rpartition("/")[2]
    assert Callbacks((new, old), None, str).read(token) == (job_id, 3)
    assert Callbacks((new,), None, str).read(token) is None
    assert Callbacks((old,), None, str).read(token[:-1] + ("A" if token[-1] != "A" else "B")) is None
