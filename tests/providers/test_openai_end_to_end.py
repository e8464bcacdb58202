"""Chats, vectors and sound at OpenAI's API and at hosts that speak it, from the request to the charge."""

import base64
import io
from collections.abc import Iterator
from typing import Any

import av
import pytest
from asked import Ended, ended, stored, submissions

from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation, Region
from calotype.sandbox import media
from calotype.sandbox.openai import OpenAI as Emulator
from calotype.sandbox.serve import on_a_thread
from running import Account, House, running

KEY = "sk-secret-7c1e90ab52d4"
GEMMA_EU = (272_727, 536_363)
GEMMA_CH = (218_181, 436_363)


def price(cost: tuple[int, int], tokens_in: int, tokens_out: int) -> int:
    """Return what tokens cost a caller: with the margin of 10 %, rounded up once."""
    return -(-(tokens_in * cost[0] + tokens_out * cost[1]) * 11_000 // (1_000_000 * 10_000))


@pytest.fixture(scope="module")
def _upstream() -> Iterator[Emulator]:
    emulator = Emulator()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def upstream(_upstream: Emulator) -> Emulator:
    """Return the emulator with an empty memory."""
    _upstream.reset()
    return _upstream


@pytest.fixture(scope="module")
def house(_upstream: Emulator, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    base_url = f"{_upstream.url}/v1"
    host = {"kind": "openai", "api_key": KEY, "base_url": base_url, "read_timeout_s": 2}
    providers = {
        "openai": host, "scaleway": host, "together": {**host, "models": {"glm-5.2": "unknown"}},
        "infomaniak": {**host, "models": {"qwen3.5": "unknown"}},
    }  # fmt: skip
    folder = tmp_path_factory.mktemp("house")
    with running(folder, providers=providers, margin_bps=1000) as one:
        yield one
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert any(path.name == "server.log" for path in written)
    assert [path.name for path in written if KEY.encode() in path.read_bytes()] == [], "the key is written nowhere"


@pytest.fixture
def account(house: House) -> Account:
    return house.account()


def chat(account: Account, text: str, model: str = "gemma-4", **how: Any) -> Ended:
    fields = {"messages": [{"role": "user", "content": text}], "max_tokens": 1000, **how.pop("fields", {})}
    return ended(account, Operation.CHAT, model, fields, **how)


@pytest.mark.parametrize(("region", "cost"), [(Region.CH, GEMMA_CH), (Region.EU, GEMMA_EU)])
def test_a_chat_is_answered_in_its_region_and_charged_by_its_tokens(
    account: Account, upstream: Emulator, region: Region, cost: tuple[int, int]
) -> None:
    one = chat(account, "good evening", region=region)
    (choice,) = one.data["choices"]
    assert (choice["message"]["content"], choice["finish_reason"]) == ("You said: good evening", "stop")
    (submit,) = upstream.submits
    assert submit.json()["model"] == {Region.CH: "google/gemma-4-31B-it", Region.EU: "gemma-4-26b-a4b-it"}[region]
    assert submit.headers["authorization"] == f"Bearer {KEY}"
    provider = {Region.CH: "infomaniak", Region.EU: "scaleway"}[region]
    billed = -(-(4 * cost[0] + 8 * cost[1]) // 1_000_000)
    assert submissions(account) == [("done", provider, billed, "table")]
    assert (account.spent_micro, account.held_micro) == (price(cost, 4, 8), 0)


def test_what_is_shown_of_a_stream_is_the_result_and_the_price_is_the_same(
    account: Account, upstream: Emulator
) -> None:
    one = chat(account, "good evening @reasoning", listen=True, region=Region.EU)
    assert "".join(piece.get("content", "") for piece in one.deltas) == "You said: good evening"
    message = one.data["choices"][0]["message"]
    assert message["content"] == "You said: good evening"
    assert "".join(piece.get("reasoning", "") for piece in one.deltas) == message["reasoning"]
    assert upstream.submits[0].json()["stream"] is True
    assert account.spent_micro == price(GEMMA_EU, 6, 18)


def test_a_tool_is_called_and_its_pieces_are_shown(account: Account, upstream: Emulator) -> None:
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    one = chat(account, "look @tool", fields={"tools": [tool]}, listen=True, region=Region.EU)
    (call,) = one.data["choices"][0]["message"]["tool_calls"]
    pieces = [piece["tool_calls"][0]["function"].get("arguments", "") for piece in one.deltas]
    assert "".join(pieces) == call["function"]["arguments"] and call["function"]["name"] == "look"


def test_a_picture_in_a_message_reaches_the_model(account: Account, upstream: Emulator) -> None:
    uri = f"data:image/png;base64,{base64.b64encode(media.png(64, 64)).decode()}"
    parts = [{"type": "text", "text": "What is this?"}, {"type": "image_url", "image_url": {"url": uri}}]
    one = chat(account, "", fields={"messages": [{"role": "user", "content": parts}]}, region=Region.EU)
    assert upstream.submits[0].json()["messages"][0]["content"] == parts
    assert one.view.job.result is not None and one.view.job.result.usage["input_tokens"] == 306
    assert account.held_micro == 0


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": "http://169.254.169.254/latest/meta-data"}},
        {"type": "image_url", "image_url": "http://localhost:8000/admin"},
        {"type": "video_url", "video_url": {"url": "file:///etc/passwd"}},
        {"type": "input_audio", "input_audio": {"url": "http://[::1]/x"}},
        {"type": "file", "file": {"file_data": "http://10.0.0.1/x.pdf"}},
    ],
)
def test_an_address_inside_a_message_may_not_lead_an_upstream_into_its_own_network(
    account: Account, upstream: Emulator, part: dict[str, Any]
) -> None:
    with pytest.raises(Problem) as refused:
        chat(account, "", fields={"messages": [{"role": "user", "content": [part]}]}, region=Region.EU)
    assert (refused.value.code, refused.value.field) == (Code.INVALID_INPUT, f"messages[0].content[0].{part['type']}")
    assert upstream.submits == [] and account.held_micro == 0


def test_an_address_inside_a_message_that_anyone_may_open_is_passed_on(account: Account, upstream: Emulator) -> None:
    parts = [
        {"type": "text", "text": "Is http://10.0.0.1/ private?"},
        {"type": "image_url", "image_url": {"url": "https://example.com/a.png", "detail": "low"}},
    ]
    chat(account, "", fields={"messages": [{"role": "user", "content": parts}]}, region=Region.EU)
    assert upstream.submits[0].json()["messages"][0]["content"] == parts


def test_a_host_without_the_model_leads_to_the_next_and_the_price_stays(account: Account, upstream: Emulator) -> None:
    one = chat(account, "hi", model="qwen3.5")
    assert one.data["choices"]
    states = [row[0] for row in submissions(account)]
    assert states[-1] == "done" and set(states[:-1]) <= {"rejected"}
    assert len({submit.json()["model"] for submit in upstream.submits}) == len(upstream.submits)
    assert account.spent_micro > 0 and account.held_micro == 0


def test_vectors_are_charged_by_the_tokens_of_their_texts(account: Account, upstream: Emulator) -> None:
    one = ended(
        account, Operation.EMBEDDINGS, "qwen3-embedding-8b", {"input": ["good evening", "good night"]},
        region=Region.EU,
    )  # fmt: skip
    assert [len(vector) for vector in one.data["embeddings"]] == [64, 64]
    assert account.spent_micro == price((110_000, 0), 8, 0) == 1
    assert account.held_micro == 0


@pytest.mark.parametrize("shape", ["mp3", "wav", "opus", "flac", "aac", "pcm"])
def test_speech_is_stored_and_charged_by_its_characters(account: Account, upstream: Emulator, shape: str) -> None:
    one = ended(account, Operation.TEXT_TO_SPEECH, "tts-1", {"input": "good evening", "response_format": shape})
    sound = stored(account, one)
    if shape == "pcm":
        assert len(sound) == pytest.approx(0.8 * 48_000, rel=0.01)
    else:
        with av.open(io.BytesIO(sound), "r") as container:
            assert container.streams.audio
    assert (account.spent_micro, account.held_micro) == (198, 0)
    assert one.view.warnings == ("tts-1 stops on 2027-01-06",)


def test_a_recording_is_written_down_and_charged_by_its_length(account: Account, upstream: Emulator) -> None:
    uri = f"data:audio/wav;base64,{base64.b64encode(media.wav(10.0)).decode()}"
    one = ended(account, Operation.TRANSCRIPTION, "gpt-transcribe", {"audio_url": uri})
    assert one.data == {"text": "the evening train leaves at half past nine", "duration_s": 10.0}
    assert (account.spent_micro, account.held_micro) == (825, 0)


def test_whisper_at_a_resident_host_writes_subtitles(account: Account, upstream: Emulator) -> None:
    uri = f"data:audio/wav;base64,{base64.b64encode(media.wav(10.0)).decode()}"
    fields = {"audio_url": uri, "response_format": "srt"}
    one = ended(account, Operation.TRANSCRIPTION, "whisper", fields, region=Region.EU)
    assert one.data["srt"].startswith("1\n00:00:00,000 --> 00:00:05,000\nthe evening train leaves\n")
    assert submissions(account)[0][1] == "scaleway"
    assert (account.spent_micro, account.held_micro) == (600, 0)


@pytest.mark.parametrize("listen", [False, True])
@pytest.mark.parametrize("words", ["@status=429 @times=1 @retry_after=0", "@status=503 @times=1"])
def test_trouble_that_passes_is_waited_out_and_charged_once(
    account: Account, upstream: Emulator, words: str, listen: bool
) -> None:
    one = chat(account, f"hi {words}", listen=listen, region=Region.EU)
    assert one.data["choices"]
    assert (len(upstream.submits), len(upstream.done)) == (2, 1)
    assert account.spent_micro > 0 and account.held_micro == 0


@pytest.mark.parametrize(
    ("words", "listen", "code"),
    [
        ("@moderated", False, Code.MODERATED),
        ("@moderated", True, Code.MODERATED),
        ("@filtered", False, Code.MODERATED),
        ("@empty", True, Code.UPSTREAM_FAILED),
        ("@status=400", False, Code.INVALID_INPUT),
        ("@status=401", False, Code.UNAVAILABLE),
        ("@code=insufficient_quota", True, Code.UNAVAILABLE),
        ("@error", False, Code.UPSTREAM_FAILED),
        ("@error", True, Code.UPSTREAM_FAILED),
        ("@status=502", False, Code.UPSTREAM_FAILED),
        ("@garbage", False, Code.UPSTREAM_FAILED),
        ("@cut=after", False, Code.UPSTREAM_FAILED),
        ("@cut=read", True, Code.UPSTREAM_FAILED),
        ("@hang", False, Code.UPSTREAM_FAILED),
    ],
)
def test_trouble_that_lasts_is_one_submit_and_a_refund(
    account: Account, upstream: Emulator, words: str, listen: bool, code: Code
) -> None:
    one = chat(account, f"one two three {words}", listen=listen, region=Region.EU)
    assert (one.problem.code, one.deltas) == (code, ())
    assert len(upstream.submits) == 1
    assert (account.spent_micro, account.held_micro) == (0, 0)
    if code is Code.UNAVAILABLE:  # the credential rests after such a refusal; the next test is to use it
        rested(account.house)


@pytest.mark.parametrize("words", ["@midstream", "@cut=body", "@cut=body @nodone"])
def test_an_answer_that_breaks_off_was_shown_and_is_refunded_and_never_asked_for_again(
    account: Account, upstream: Emulator, words: str
) -> None:
    one = chat(account, f"one two three four five six {words}", listen=True, region=Region.EU)
    assert one.problem.code is Code.UPSTREAM_FAILED
    assert "".join(piece.get("content", "") for piece in one.deltas).startswith("You said: one")
    assert len(upstream.submits) == 1
    assert (account.spent_micro, account.held_micro) == (0, 0)
    assert [row[0] for row in submissions(account)] == ["failed"]


def test_a_stream_without_its_mark_or_its_tokens_is_still_an_answer(account: Account, upstream: Emulator) -> None:
    assert chat(account, "hi @nodone", listen=True, region=Region.EU).data["choices"]
    one = chat(account, "hi there @nousage", listen=True, region=Region.EU)
    assert any("estimated" in warning for warning in one.view.warnings)
    assert account.held_micro == 0


def rested(house: House) -> None:
    """Let credentials that were refused be used again."""
    for runtime in house.app.runtimes.values():
        for credential in getattr(getattr(runtime, "ring", None), "_all", ()):
            credential._rests_until_s = 0.0


def test_regions_without_a_route_are_refused_before_anything_is_sent(account: Account, upstream: Emulator) -> None:
    from calotype.kernel.errors import Problem

    for model, region in (("gemma-4", Region.US), ("glm-5.2", Region.EU), ("gpt-4o", Region.US)):
        with pytest.raises(Problem) as refusal:
            chat(account, "hi", model=model, region=region)
        assert refusal.value.code is Code.NO_ROUTE
    assert upstream.submits == []
    account.untouched()


def test_the_published_prices_come_out_to_the_last_digit(house: House) -> None:
    from calotype.catalog import rates

    published = {
        ("gemma-4", "infomaniak"): (240_000, 480_000), ("gemma-4", "scaleway"): (300_000, 590_000),
        ("qwen3.5", "infomaniak"): (970_000, 4_360_000), ("qwen3.5", "scaleway"): (710_000, 4_280_000),
        ("qwen3.5", "together"): (770_000, 3_850_000), ("qwen3.6", "scaleway"): (470_000, 1_780_000),
        ("glm-5.2", "together"): (660_000, 2_410_000), ("claude-sonnet-4-6", "anthropic"): (3_300_000, 16_500_000),
        ("gpt-4o", "azure_openai"): (2_750_000, 11_000_000), ("qwen3-embedding-8b", "infomaniak"): (88_000,),
        ("qwen3-embedding-8b", "scaleway"): (121_000,), ("qwen3-embedding-8b", "fireworks"): (18_000,),
        ("qwen3-embedding-8b", "vllm"): (0,), ("bge-multilingual-gemma2", "infomaniak"): (55_000,),
        ("all-MiniLM-L12-v2", "infomaniak"): (22_000,),
    }  # fmt: skip
    catalog = house.app.catalog
    found = {}
    for model, provider in published:
        card = catalog.find(model)
        (route,) = (route for route in card.routes if route.provider == provider)
        found[model, provider] = tuple(rate.price_micro for rate in rates(card, route, catalog.pricing))
    assert found == published
