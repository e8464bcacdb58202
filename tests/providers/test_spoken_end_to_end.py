"""Recordings, voices and documents at Mistral, Azure and a compatible server: the region's own host, one charge."""

import base64
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from calotype.providers.azure import Azure
from calotype.providers.base import PollSchedule
from calotype.sandbox import media
from calotype.sandbox.azure import Azure as AzureEmulator
from calotype.sandbox.mistral import Mistral as MistralEmulator
from calotype.sandbox.openai import OpenAI as OpenAIEmulator
from calotype.sandbox.serve import on_a_thread
from running import Account, House, running

KEY = "azure-hidden-5f0c2ad1"
SOUND = media.wav(6.0)
Emulators = tuple[MistralEmulator, AzureEmulator, OpenAIEmulator]


@pytest.fixture(scope="module")
def _upstreams() -> Iterator[Emulators]:
    mistral, azure, openai = MistralEmulator(), AzureEmulator(), OpenAIEmulator()
    with on_a_thread(mistral), on_a_thread(azure), on_a_thread(openai):
        yield mistral, azure, openai


@pytest.fixture
def upstreams(_upstreams: Emulators) -> Emulators:
    for one in _upstreams:
        one.reset()
    return _upstreams


@pytest.fixture(scope="module")
def house(_upstreams: Emulators, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    mistral, azure, openai = _upstreams
    providers: dict[str, Any] = {
        f"azure-{place}": {"kind": "azure", "api_key": KEY, "base_url": f"{azure.url}/{place}"}
        for place in ("ch", "eu", "us")
    }
    providers["mistral"] = {"api_key": KEY, "base_url": f"{mistral.url}/v1", "read_timeout_s": 2}
    providers["scaleway"] = {"kind": "openai", "api_key": "sk-scaleway", "base_url": f"{openai.url}/v1"}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Azure, "schedule", PollSchedule(first_s=0.01, factor=1.01, max_s=0.02))
        with running(tmp_path_factory.mktemp("house"), providers=providers, margin_bps=1000) as one:
            yield one


@pytest.fixture
def account(house: House) -> Account:
    return house.account()


def ask(account: Account, model: str, region: str | None = None, **fields: Any) -> httpx2.Response:
    headers = {"authorization": f"Key {account.key()}", **({} if region is None else {"X-Region": region})}
    return httpx2.post(f"{account.house.url}/fal/run/{model}", json=fields, headers=headers, timeout=60)


def uri(body: bytes, kind: str = "audio/wav") -> str:
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"


def providers(account: Account) -> list[str]:
    statement = "SELECT s.provider FROM submission s JOIN job j ON j.id = s.job_id WHERE j.org_id = :org"
    return [row[0] for row in account.house.rows(statement, org=account.org.id)]


@pytest.mark.parametrize(
    ("region", "provider", "micro"),
    [("EU", "mistral", 330), ("CH", "azure-ch", 1_830), ("US", "azure-us", 1_830)],
)
def test_a_recording_is_written_down_in_its_region_at_the_price_of_a_minute(
    account: Account, upstreams: Emulators, region: str, provider: str, micro: int
) -> None:
    done = ask(account, "whisper", region, audio_url=uri(SOUND), response_format="srt")
    assert done.status_code == 200, done.text
    assert done.json()["text"] == "The quick brown fox."
    assert "-->" in done.json()["srt"]
    assert providers(account) == [provider]
    assert (account.spent_micro, account.held_micro) == (micro, 0)


def test_in_the_eu_another_host_of_the_eu_steps_in(account: Account, upstreams: Emulators) -> None:
    mistral, azure, openai = upstreams
    httpx2.post(f"{mistral.url}/__control__", json={"faults": [{"status": 429}]})
    done = ask(account, "whisper", "EU", audio_url=uri(SOUND))
    assert done.status_code == 200, done.text
    assert (len(mistral.submits), len(openai.submits), len(azure.submits)) == (1, 1, 0)
    assert providers(account) == ["mistral", "scaleway"]
    assert 0 < account.spent_micro <= 360 and account.held_micro == 0


def test_a_region_without_a_host_has_no_route(account: Account, upstreams: Emulators) -> None:
    refused = ask(account, "azure-neural-tts", "CH", input="Grüezi")
    assert refused.status_code == 404
    account.untouched()
    assert not any(one.submits for one in upstreams)


@pytest.mark.parametrize(
    ("model", "region", "fields", "micro"),
    [
        ("voxtral-tts", "EU", {"voice": "gb_jane_neutral", "response_format": "wav"}, 352),
        ("azure-neural-tts", "EU", {"voice": "de-CH-LeniNeural", "response_format": "wav", "speed": 1.2}, 330),
        ("azure-neural-tts", "US", {"response_format": "wav"}, 330),
    ],
)
def test_a_text_is_spoken_and_charged_by_its_characters(
    account: Account, upstreams: Emulators, model: str, region: str, fields: dict[str, Any], micro: int
) -> None:
    done = ask(account, model, region, input="twenty characters..!", **fields)
    assert done.status_code == 200, done.text
    sound = httpx2.get(done.json()["audio"]["url"]).raise_for_status().content
    assert sound.startswith(b"RIFF")
    assert (account.spent_micro, account.held_micro) == (micro, 0)


@pytest.mark.parametrize(
    ("model", "region", "micro", "first"),
    [
        ("mistral-ocr", "EU", 6_600, "# Page 1\n\nAs it is written."),
        ("azure-document-intelligence", "CH", 4_950, "Seite 1: wie geschrieben."),
        ("azure-document-intelligence", "EU", 4_950, "Seite 1: wie geschrieben."),
    ],
)
def test_a_document_is_read_and_charged_by_its_pages(
    account: Account, upstreams: Emulators, model: str, region: str, micro: int, first: str
) -> None:
    done = ask(account, model, region, document=uri(b"%PDF-1.7 @pages=3 @polls=2", "application/pdf"))
    assert done.status_code == 200, done.text
    said = done.json()
    assert (said["page_count"], said["pages"][0]) == (3, {"index": 0, "markdown": first})
    assert said["raw"]["pages"]
    assert (account.spent_micro, account.held_micro) == (micro, 0)


def test_the_pages_that_are_named_are_all_that_is_held_and_charged(account: Account, upstreams: Emulators) -> None:
    document = uri(b"%PDF-1.7 @pages=9", "application/pdf")
    said = ask(account, "azure-document-intelligence", "EU", document=document, pages=[0, 4]).json()
    assert [page["index"] for page in said["pages"]] == [0, 4]
    assert account.house.rows("SELECT amount_micro FROM hold WHERE org_id = :org", org=account.org.id) == [(3_300,)]
    assert account.spent_micro == 3_300


@pytest.mark.parametrize(
    ("model", "fields", "status"),
    [
        ("azure-document-intelligence", {"document": b"%PDF-1.7 @unreadable"}, 422),
        ("azure-document-intelligence", {"document": b"%PDF-1.7 @elsewhere"}, 502),
        ("azure-document-intelligence", {"document": b"%PDF-1.7 @status=415"}, 422),
        ("azure-document-intelligence", {"document": b"%PDF-1.7 @cut=after"}, 502),
        ("mistral-ocr", {"document": b"%PDF-1.7 @cut=after"}, 502),
        ("mistral-ocr", {"document": b"%PDF-1.7 @garbage"}, 502),
        ("mistral-ocr", {"document": b"%PDF-1.7 @status=422"}, 422),
        ("voxtral-tts", {"input": "@nothing"}, 502),
        ("voxtral-tts", {"input": "@status=502"}, 502),
        ("voxtral-tts", {"input": "@hang"}, 502),
    ],
)
def test_trouble_is_one_paid_request_and_a_refund(
    account: Account, upstreams: Emulators, model: str, fields: dict[str, Any], status: int
) -> None:
    sent = {name: uri(v, "application/pdf") if isinstance(v, bytes) else v for name, v in fields.items()}
    failed = ask(account, model, "EU", **sent)
    assert failed.status_code in (status, 500 if status == 502 else status), failed.text
    assert sum(len(one.submits) for one in upstreams) == 1
    assert (account.spent_micro, account.held_micro) == (0, 0)
    assert KEY not in failed.text


def test_the_key_is_in_no_log_and_no_row(house: House, account: Account, upstreams: Emulators) -> None:
    ask(account, "azure-neural-tts", "EU", input="@status=400")
    folder = house.app.settings.data_dir
    for name in ("server.log", "calotype.db", "calotype.db-wal"):
        assert KEY.encode() not in (folder / name).read_bytes()
