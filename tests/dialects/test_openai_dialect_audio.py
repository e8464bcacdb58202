"""Speech and transcriptions in OpenAI's words: every format, subtitles, what is refused and what it costs."""

import base64
import contextlib
import io
import json
import os
import re
from pathlib import Path
from typing import Any

import av
import pytest
from openai_kit import CHARACTER_MICRO, SECOND_MICRO, SPOKEN, Kit, recording, refused

from calotype.sandbox import media

TYPES = {
    "mp3": "audio/mpeg", "opus": "audio/ogg", "aac": "audio/aac", "flac": "audio/flac", "wav": "audio/wav",
    "pcm": "audio/pcm",
}  # fmt: skip
SAY = {"model": "test/voice", "input": "good evening", "voice": "alloy"}


def hear(kit: Kit, model: str = "test/ear", **fields: Any) -> Any:
    return kit.http.post(
        "/audio/transcriptions", files={"file": ("a.wav", recording())}, data={"model": model, **fields}
    )


# -- speech ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", sorted(TYPES))
def test_speech_is_the_recording_itself_in_the_format_asked_for(kit: Kit, shape: str) -> None:
    answer = kit.http.post("/audio/speech", json={**SAY, "response_format": shape})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == TYPES[shape]
    assert int(answer.headers["content-length"]) == len(answer.content)
    if shape == "pcm":
        assert len(answer.content) == pytest.approx(0.8 * 48_000, rel=0.01)
    else:
        with av.open(io.BytesIO(answer.content), "r") as container:
            assert container.streams.audio
    price = len(SAY["input"]) * CHARACTER_MICRO
    assert answer.headers["x-phi-cost-micro"] == str(price) and kit.money == (price, 0)


@pytest.mark.client
def test_the_python_package_reads_and_streams_a_recording(kit: Kit) -> None:
    whole = kit.client.audio.speech.create(model="test/voice", input="good evening", voice="nova")
    with kit.client.audio.speech.with_streaming_response.create(
        model="test/voice", input="good evening", voice="nova", speed=1.5
    ) as answer:
        pieces = b"".join(answer.iter_bytes(1024))
    assert pieces[:2] == whole.content[:2] and len(pieces) > 1000
    assert kit.upstream.submits[1].json()["speed"] == 1.5


@pytest.mark.client
async def test_the_asynchronous_package_does_the_same(kit: Kit) -> None:
    async with kit.asynchronous() as client:
        spoken = await client.audio.speech.create(model="test/voice", input="hi", voice="alloy", response_format="wav")
        heard = await client.audio.transcriptions.create(model="test/ear", file=("a.wav", spoken.content))
    assert heard.text == SPOKEN


def test_a_voice_may_be_named_by_an_object(kit: Kit) -> None:
    assert kit.http.post("/audio/speech", json={**SAY, "voice": {"id": "nova"}}).status_code == 200
    assert kit.sent()["voice"] == "nova"


def test_the_events_of_speech_join_to_the_recording(kit: Kit) -> None:
    whole = kit.http.post("/audio/speech", json={**SAY, "response_format": "wav"}).content
    _, events = kit.events("/audio/speech", {**SAY, "response_format": "wav", "stream_format": "sse"})
    *pieces, last = [body for _, body in events]
    assert base64.b64decode("".join(one["audio"] for one in pieces)) == whole
    assert last["type"] == "speech.audio.done" and set(last["usage"]) == {
        "input_tokens", "output_tokens", "total_tokens"
    }  # fmt: skip


def test_a_sent_again_request_gets_the_recording_that_was_made(kit: Kit) -> None:
    kit.http.headers["idempotency-key"] = "say-1"
    first, again = (kit.http.post("/audio/speech", json=SAY) for _ in range(2))
    assert first.content == again.content and len(kit.upstream.submits) == 1


def test_this_machine_speaks_and_what_it_says_is_free(kit: Kit) -> None:
    answer = kit.http.post("/audio/speech", json={"model": "local/tts", "input": "Good evening.", "voice": "alloy"})
    assert answer.status_code == 200 and answer.headers["content-type"] == "audio/mpeg", answer.text
    assert kit.money == (0, 0)


SPEECH: list[tuple[dict[str, Any], int, str, str, str]] = [
    ({"input": ""}, 400, "invalid_input", "input", "1 to 4096"),
    ({"input": "x" * 4097}, 400, "invalid_input", "input", "1 to 4096"),
    ({"input": None}, 400, "invalid_input", "input", "required"),
    ({"input": ["x"]}, 400, "invalid_input", "input", "a text"),
    ({"voice": "king"}, 400, "invalid_input", "voice", "alloy, nova"),
    ({"voice": {"name": "nova"}}, 400, "invalid_input", "voice", "id"),
    ({"speed": 9}, 400, "invalid_input", "speed", "from 0.25 to 4"),
    ({"response_format": "midi"}, 400, "invalid_input", "response_format", "mp3, opus"),
    ({"stream_format": "ws"}, 400, "invalid_input", "stream_format", "'ws'"),
    ({"inputs": "x"}, 400, "invalid_input", "inputs", "Did you mean input?"),
    ({"model": "test/ear"}, 400, "invalid_input", "model", "transcription, not text-to-speech"),
    ({"model": "test/voic"}, 404, "model_not_found", "model", "test/voice"),
]


@pytest.mark.parametrize(("change", "status", "code", "param", "word"), SPEECH)
def test_a_request_for_speech_that_does_not_fit_is_refused_by_name(
    kit: Kit, change: dict[str, Any], status: int, code: str, param: str, word: str
) -> None:
    refused(kit.http.post("/audio/speech", json={**SAY, **change}), status, code, param, word)
    assert kit.upstream.submits == []
    kit.account.untouched()


@pytest.mark.parametrize("stream_format", ["audio", "sse"])
def test_speech_that_fails_is_an_ordinary_error(kit: Kit, stream_format: str) -> None:
    answer = kit.http.post("/audio/speech", json={**SAY, "input": "x @status=502", "stream_format": stream_format})
    assert answer.status_code == 502 and answer.json()["error"]["code"] == "upstream_failed"
    assert kit.money == (0, 0)


# -- transcriptions ----------------------------------------------------------------------------------------------------


def test_json_is_the_text_and_what_was_used(kit: Kit) -> None:
    answer = hear(kit)
    assert answer.json() == {"text": SPOKEN, "usage": {"type": "duration", "seconds": 4}, "model": "test/ear"}
    assert answer.headers["x-phi-cost-micro"] == str(4 * SECOND_MICRO) and kit.money == (4 * SECOND_MICRO, 0)


def test_text_and_subtitles_are_no_json(kit: Kit) -> None:
    text, srt, vtt = (hear(kit, response_format=shape) for shape in ("text", "srt", "vtt"))
    assert (text.text, text.headers["content-type"]) == (f"{SPOKEN}\n", "text/plain; charset=utf-8")
    assert re.match(r"1\n00:00:00,000 --> 00:00:02,000\n", srt.text), srt.text
    assert re.match(r"WEBVTT\n\n00:00:00\.000 --> 00:00:02\.000\n", vtt.text), vtt.text
    assert vtt.headers["content-type"] == "text/vtt; charset=utf-8"


def test_the_long_form_tells_times_with_every_field_that_clients_want(kit: Kit) -> None:
    body = hear(kit, response_format="verbose_json").json()
    assert (body["task"], body["language"], body["duration"]) == ("transcribe", "en", 4.0) and "words" not in body
    assert [one["end"] for one in body["segments"]] == [2.0, 4.0]
    assert set(body["segments"][0]) == {
        "id", "seek", "start", "end", "text", "tokens", "temperature", "avg_logprob", "compression_ratio",
        "no_speech_prob",
    }  # fmt: skip
    form: dict[str, Any] = {"response_format": "verbose_json", "timestamp_granularities[]": ["word"]}
    words = hear(kit, **form).json()
    assert [one["word"] for one in words["words"]] == SPOKEN.split() and "segments" not in words
    form["timestamp_granularities[]"] = ["word", "segment"]
    assert {"words", "segments"} <= set(hear(kit, **form).json())


@pytest.mark.client
def test_the_python_package_reads_every_form(kit: Kit) -> None:
    client, file = kit.client.audio.transcriptions, ("a.wav", recording())
    assert client.create(model="test/ear", file=file, language="en").text == SPOKEN
    assert client.create(model="test/ear", file=file, response_format="text").strip() == SPOKEN
    assert client.create(model="test/ear", file=file, response_format="srt").startswith("1\n")
    long = client.create(
        model="test/ear", file=file, response_format="verbose_json", timestamp_granularities=["word", "segment"]
    )
    assert long.duration == 4.0 and long.words is not None and long.segments is not None
    assert long.segments[0].text == "the evening train leaves" and len(long.words) == 8
    assert kit.money == (4 * 4 * SECOND_MICRO, 0)


def test_a_recording_may_be_named_in_json(kit: Kit) -> None:
    upload = kit.http.post("/files", files={"file": ("a.wav", recording())}, data={"purpose": "user_data"}).json()
    for name in ("file", "audio_url"):
        answer = kit.http.post("/audio/transcriptions", json={"model": "test/ear", name: upload["id"]})
        assert answer.status_code == 200 and answer.json()["text"] == SPOKEN, answer.text


def test_a_model_without_times_writes_text_and_refuses_subtitles(kit: Kit) -> None:
    assert hear(kit, "test/ear-short", response_format="text").text == f"{SPOKEN}\n"
    assert "warnings" not in hear(kit, "test/ear-short", response_format="json").json()
    spent = kit.account.spent_micro
    for shape in ("srt", "vtt", "verbose_json", "diarized_json"):
        refused(hear(kit, "test/ear-short", response_format=shape), 400, "invalid_input", "response_format", "no times")
    assert kit.account.spent_micro == spent


HEARD: list[tuple[dict[str, Any], int, str, str, str]] = [
    ({"model": "test/voice"}, 400, "invalid_input", "model", "text-to-speech, not transcription"),
    ({"model": "test/eer"}, 404, "model_not_found", "model", "test/ear"),
    ({"response_format": "docx"}, 400, "invalid_input", "response_format", "'docx'"),
    ({"response_format": "diarized_json"}, 400, "invalid_input", "response_format", "verbose_json"),
    ({"response_format": "srt", "stream": "true"}, 400, "invalid_input", "response_format", "json and text"),
    ({"timestamp_granularities[]": ["letter"]}, 400, "invalid_input", "timestamp_granularities[0]", "segment, word"),
    ({"stream": "maybe"}, 400, "invalid_input", "stream", "bool"),
    ({"langauge": "en"}, 400, "invalid_input", "langauge", "Did you mean language?"),
    ({"a[b]": "c"}, 400, "invalid_input", "a", "not a field"),
]


@pytest.mark.parametrize(("fields", "status", "code", "param", "word"), HEARD)
def test_a_form_that_does_not_fit_is_refused_by_name_and_costs_nothing(
    kit: Kit, fields: dict[str, Any], status: int, code: str, param: str, word: str
) -> None:
    refused(hear(kit, **{"model": "test/ear", **fields}), status, code, param, word)
    assert kit.upstream.submits == []
    kit.account.untouched()


@pytest.mark.parametrize("body", [{}, {"file": ""}, {"file": 7}, {"file": "http://10.0.0.7/a.wav"}, {"file": "file_x"}])
def test_a_recording_is_required_and_its_address_public(kit: Kit, body: dict[str, Any]) -> None:
    answer = kit.http.post("/audio/transcriptions", json={"model": "test/ear", **body})
    assert answer.status_code == 400 and answer.json()["error"]["param"] == "file", answer.text
    kit.account.untouched()


def test_a_known_field_without_effect_is_a_warning(kit: Kit) -> None:
    form: dict[str, Any] = {"chunking_strategy": "auto", "include[]": ["logprobs"]}
    answer = hear(kit, **form)
    assert answer.status_code == 200
    assert {one.split()[0] for one in answer.json()["warnings"]} == {"chunking_strategy", "include"}
    assert json.loads(answer.headers["x-calotype-warnings"]) == answer.json()["warnings"]


def held_in_memory() -> list[Path]:
    links = []
    for name in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):
            links.append(name.readlink())
    return [link for link in links if "memfd:input" in str(link)]


def test_a_recording_of_a_phi_request_is_written_down_and_lies_nowhere(kit: Kit) -> None:
    kit.http.headers["x-phi"] = "true"
    spoken = media.wav(60.0, "a dictation") + os.urandom(200_000)
    assert len(spoken) > 1 << 20, "more than forms keep in memory otherwise"
    file = {"file": ("a.wav", spoken)}
    answer = kit.http.post("/audio/transcriptions", files=file, data={"model": "test/ear-clinic"})
    assert (answer.status_code, answer.json()["text"]) == (200, SPOKEN), answer.text
    assert answer.headers["x-phi-tier"] == "phi" and kit.money[0] >= 60 * SECOND_MICRO and kit.money[1] == 0
    uri = "data:audio/wav;base64," + base64.b64encode(spoken).decode()
    json_answer = kit.http.post("/audio/transcriptions", json={"model": "test/ear-clinic", "file": uri})
    assert json_answer.json()["text"] == SPOKEN
    piece = spoken[-1000:-900]
    folder = kit.house.app.settings.data_dir.parent
    assert [path for path in folder.rglob("*") if path.is_file() and piece in path.read_bytes()] == []
    kept = "SELECT result, input FROM job WHERE org_id = :org"
    assert not any(SPOKEN in str(row) or "data:" in str(row) for row in kit.house.rows(kept, org=kit.account.org.id))
    assert kit.house.rows("SELECT id FROM upload WHERE org_id = :org", org=kit.account.org.id) == []
    assert held_in_memory() == []


def test_a_phi_recording_comes_inside_the_request_and_goes_only_where_it_may(kit: Kit) -> None:
    file, purpose = {"file": ("a.wav", recording())}, {"purpose": "user_data"}
    known = kit.http.post("/files", files=file, data=purpose).json()["id"]
    kit.http.headers["x-phi"] = "true"
    assert kit.http.post("/files", files=file, data=purpose).status_code == 403, "nothing of PHI becomes a file"
    for place in ("https://example.com/a.wav", known):
        body = {"model": "test/ear-clinic", "file": place}
        refused(kit.http.post("/audio/transcriptions", json=body), 403, "phi_blocked", "file")
    refused(hear(kit), 403, "phi_blocked", "model")
    assert kit.upstream.submits == [] and held_in_memory() == []
    kit.account.untouched()


def test_a_phi_recording_is_bounded_as_it_lies_in_memory(kit: Kit) -> None:
    kit.http.headers["x-phi"] = "true"
    file = {"file": ("a.wav", bytes(35 << 20))}
    answer = kit.http.post("/audio/transcriptions", files=file, data={"model": "test/ear-clinic"})
    assert (answer.status_code, answer.json()["error"]["code"]) == (413, "payload_too_large")
    kit.account.untouched()
