"""Sound models through a running server: prices, refusals, and weights that arrive while it runs."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from calotype.kernel.generation import KeyClass
from calotype.providers.available import MODELS_FOLDER
from calotype.providers.local.weights import entries
from running import Account, House, running

PRICE_MICRO = 500_000
"""For a million characters."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    with running(tmp_path_factory.mktemp("served"), prices={"local/tts": PRICE_MICRO}) as house:
        yield house


@pytest.fixture
def account(served: House) -> Account:
    return served.account()


def ask(account: Account, model: str, fields: dict[str, Any]) -> httpx2.Response:
    headers = {"Authorization": f"Key {account.key(KeyClass.PAID)}"}
    return httpx2.post(f"{account.house.url}/fal/run/{model}", json=fields, headers=headers, timeout=60)


def test_speech_is_charged_by_its_characters_and_stored(account: Account) -> None:
    text = "Good morning, Geneva."
    answer = ask(account, "local/tts", {"input": text, "response_format": "flac"})
    assert answer.status_code == 200, answer.text
    assert answer.json()["audio"]["content_type"] == "audio/flac"
    assert httpx2.get(answer.json()["audio"]["url"]).content[:4] == b"fLaC"
    per_million = -(-len(text) * PRICE_MICRO // 1_000_000)
    assert (account.spent_micro, account.held_micro) == (per_million, 0)


def test_bare_samples_are_stored_although_no_byte_says_what_they_are(account: Account) -> None:
    answer = ask(account, "local/tts", {"input": "Good morning.", "response_format": "pcm"})
    assert answer.status_code == 200, answer.text
    audio = answer.json()["audio"]
    assert audio["content_type"] == "audio/pcm"
    assert len(httpx2.get(audio["url"]).content) == round(answer.json()["duration_s"] * 24_000) * 2


def test_what_cannot_be_spoken_costs_nothing(account: Account) -> None:
    answer = ask(account, "local/tts", {"input": "…"})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"] == ["body", "input"]
    assert (account.spent_micro, account.held_micro) == (0, 0)


def test_weights_that_arrive_while_the_server_runs_are_used_at_once(account: Account) -> None:
    fields = {"messages": [{"role": "user", "content": "Say hello."}]}
    refused = ask(account, "local/smollm2-135m", fields)
    assert refused.status_code == 404
    assert "run calotype models pull smollm2-135m" in refused.json()["message"]
    account.untouched()
    folder = Path(account.house.app.settings.data_dir) / MODELS_FOLDER / "smollm2-135m"
    folder.mkdir(parents=True)
    for file in entries()["smollm2-135m"].files:
        with (folder / file.name).open("wb") as body:
            body.truncate(file.size_bytes)
    changed = ask(account, "local/smollm2-135m", fields)
    assert "were changed on disk" in changed.text, "taken, and refused by the digest when it is loaded"
    assert (account.spent_micro, account.held_micro) == (0, 0)
