"""The emulated Mistral and Azure, by plain HTTP as their own clients would speak."""

import base64
import json
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from calotype.sandbox import media
from calotype.sandbox.azure import Azure
from calotype.sandbox.mistral import Mistral
from calotype.sandbox.serve import on_a_thread

BEARER = {"authorization": "Bearer mistral-sandbox"}
KEY = {"ocp-apim-subscription-key": "azure-sandbox"}
SSML = '<speak version="1.0" xml:lang="en-US"><voice name="en-US-AvaNeural">hi</voice></speak>'


@pytest.fixture(scope="module")
def upstreams() -> Iterator[tuple[Mistral, Azure]]:
    mistral, azure = Mistral(), Azure()
    with on_a_thread(mistral), on_a_thread(azure):
        yield mistral, azure


@pytest.fixture
def mistral(upstreams: tuple[Mistral, Azure]) -> Mistral:
    upstreams[0].reset()
    return upstreams[0]


@pytest.fixture
def azure(upstreams: tuple[Mistral, Azure]) -> Azure:
    upstreams[1].reset()
    return upstreams[1]


def test_mistral_counts_seconds_and_refuses_language_beside_times(mistral: Mistral) -> None:
    url = f"{mistral.url}/v1/audio/transcriptions"
    file = {"file": ("a.wav", media.wav(3.0))}
    form = {"model": "voxtral-mini-latest"}
    said = httpx2.post(url, data=form, files=file, headers=BEARER).json()
    assert (said["usage"]["prompt_audio_seconds"], said["segments"]) == (3, [])
    timed = httpx2.post(url, data={**form, "timestamp_granularities": "segment"}, files=file, headers=BEARER).json()
    assert timed["segments"][0]["end"] == 3.0
    both = {**form, "timestamp_granularities": "segment", "language": "en"}
    assert httpx2.post(url, data=both, files=file, headers=BEARER).status_code == 400


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("audio/speech", {"model": "voxtral-mini-tts-3-0", "input": "hi", "voice_id": "a"}, 200),
        ("audio/speech", {"model": "voxtral-mini-tts-3-0", "input": "hi"}, 400),
        ("audio/speech", {"model": "tts-1", "input": "hi", "voice_id": "a"}, 404),
        (
            "ocr",
            {"model": "mistral-ocr-latest", "document": {"type": "document_url", "document_url": "https://x/y"}},
            200,
        ),
        ("ocr", {"model": "mistral-ocr-latest", "document": {"type": "pdf"}}, 422),
        ("ocr", {"model": "mistral-ocr-latest"}, 422),
    ],
)
def test_mistral_takes_what_its_reference_says(mistral: Mistral, path: str, body: dict[str, Any], status: int) -> None:
    answer = httpx2.post(f"{mistral.url}/v1/{path}", json=body, headers=BEARER)
    assert answer.status_code == status
    assert len(mistral.done) == (status == 200)
    if status != 200:
        assert answer.json()["object"] == "error"


def test_mistral_refuses_keys_and_reads_words_inside_a_document(mistral: Mistral) -> None:
    for key, status in (("unknown", 401), ("empty", 402)):
        answer = httpx2.get(f"{mistral.url}/v1/models", headers={"authorization": f"Bearer {key}"})
        assert answer.status_code == status
    pdf = base64.b64encode(b"%PDF-1.7 @pages=4").decode()
    document = {"type": "document_url", "document_url": f"data:application/pdf;base64,{pdf}"}
    body = {"model": "mistral-ocr-latest", "document": document, "pages": [1, 3, 9]}
    said = httpx2.post(f"{mistral.url}/v1/ocr", json=body, headers=BEARER).json()
    assert [page["index"] for page in said["pages"]] == [1, 3]
    assert said["usage_info"]["pages_processed"] == 2


def test_azure_writes_down_speaks_and_knows_its_versions(azure: Azure) -> None:
    url = f"{azure.url}/eu/speechtotext/transcriptions:transcribe?api-version="
    files = {
        "audio": ("a.wav", media.wav(2.0), "audio/wav"),
        "definition": ("", json.dumps({"locales": ["de-DE"]}), "application/json"),
    }
    said = httpx2.post(f"{url}2024-11-15", files=files, headers=KEY).json()
    assert (said["durationMilliseconds"], said["phrases"][0]["locale"]) == (2000, "de-DE")
    assert httpx2.post(f"{url}2020-01-01", files=files, headers=KEY).status_code == 404
    speak = f"{azure.url}/ch/tts/cognitiveservices/v1"
    headers = {**KEY, "content-type": "application/ssml+xml", "x-microsoft-outputformat": "riff-24khz-16bit-mono-pcm"}
    assert httpx2.post(speak, content=SSML, headers=headers).content.startswith(b"RIFF")
    assert httpx2.post(speak, content=SSML, headers={**headers, "content-type": "text/plain"}).status_code == 415
    assert httpx2.post(speak, content="<speak>hi</speak>", headers=headers).status_code == 400


def test_azure_reads_a_document_later_at_the_address_it_names(azure: Azure) -> None:
    url = f"{azure.url}/us/documentintelligence/documentModels/prebuilt-read:analyze?api-version=2024-11-30"
    accepted = httpx2.post(f"{url}&pages=2,3", content=b"%PDF @polls=1", headers=KEY)
    assert (accepted.status_code, accepted.content) == (202, b"")
    place = accepted.headers["operation-location"]
    assert httpx2.get(place, headers=KEY).json()["status"] == "running"
    done = httpx2.get(place, headers=KEY).json()
    assert [page["pageNumber"] for page in done["analyzeResult"]["pages"]] == [2, 3]
    assert httpx2.get(place).status_code == 401
    assert httpx2.post(f"{url}&pages=x", content=b"%PDF", headers=KEY).status_code == 400
    assert httpx2.post(url.replace("prebuilt-read", "mine"), content=b"%PDF", headers=KEY).status_code == 404


def test_environments_lead_every_instance_here(mistral: Mistral, azure: Azure) -> None:
    assert mistral.environment()["MISTRAL_API_BASE"] == f"{mistral.url}/v1"
    assert azure.environment()["AZURE_CH_API_BASE"] == f"{azure.url}/ch"
    assert len(azure.environment()) == 6
