"""Jobs at OpenRouter from the request to the stored result, against the emulator: one submit, one charge or none."""

import base64
import io
from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest
from asked import Ended, ended, stored, submissions
from PIL import Image

from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Operation, Region
from calotype.providers.base import PollSchedule
from calotype.providers.openrouter import OpenRouter
from calotype.sandbox import media
from calotype.sandbox.openrouter import OpenRouter as Emulator
from calotype.sandbox.serve import on_a_thread
from running import Account, House, running

KEY = "sk-or-secret-7c1e90ab52d4"
PRIVATE = {"zdr": True, "data_collection": "deny"}
ROUTE = 'routes = [{{ provider = "openrouter", upstream = "a/b", cost_source = "tests", cost = {cost} }}]'
CARD = """[[cards]]
id = "{id}"
title = "Test"
operation = {operations}
output = "{output}"
example = {example}
{route}

[cards.input]
properties = {{ {properties} }}
"""
PROMPT = 'prompt = { type = "string" }, n = { type = "integer", default = 1 }, size = { type = "string" }'
IMAGE = 'image_url = { type = "string", x-media = "image" }'


def card(ident: str, operations: list[str], output: str, example: str, cost: str, properties: str) -> str:
    route = ROUTE.format(cost=cost)
    return CARD.format(
        id=ident, operations=operations, output=output, example=example, route=route, properties=properties
    )


CARDS = (
    card(
        "t/chat", ["chat"], "text", '{ messages = [{ role = "user", content = "x" }] }',
        '{ unit = "token", input_micro = 500_000, micro = 3_000_000, text = ["messages"], max_input = 9_000,'
        ' max_output = 900 }',
        'messages = { type = "array" }, max_tokens = { type = "integer" }',
    ),
    card("t/vectors", ["embeddings"], "data", '{ input = "x" }',
         '{ unit = "token", input_micro = 500_000, text = ["input"], max_input = 9_000, max_output = 0 }',
         'input = { type = ["string", "array"] }'),
    card("t/image", ["text-to-image", "image-to-image"], "image", '{ prompt = "x" }',
         '{ unit = "image", micro = 40_000 }', f"{PROMPT}, {IMAGE}"),
    card("t/video", ["text-to-video", "image-to-video"], "video", '{ prompt = "x" }',
         '{ unit = "second", micro = 100_000, max = 10 }',
         f'{PROMPT}, {IMAGE}, seconds = {{ type = ["integer", "string"] }}'),
    card("t/speech", ["text-to-speech"], "audio", '{ input = "x" }', '{ unit = "character", micro = 15_000_000 }',
         'input = { type = "string" }, voice = { type = "string" }, response_format = { type = "string" }'),
    card("t/heard", ["transcription"], "text", '{ audio_url = "https://example.com/a.mp3" }',
         '{ unit = "minute", micro = 6_000, max = 600 }',
         'audio_url = { type = "string", x-media = "audio" }, prompt = { type = "string" }'),
)  # fmt: skip


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
    folder, cards = tmp_path_factory.mktemp("house"), tmp_path_factory.mktemp("cards")
    (cards / "cards.toml").write_text("\n".join(CARDS))
    agreement = {"reference": "BAA 7", "expires": date(2999, 1, 1)}
    account = {
        "api_key": KEY, "base_url": f"{_upstream.url}/api/v1", "read_timeout_s": 2, "phi": agreement,
        "headers": {"X-OpenRouter-Title": "Calotype"},
    }  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(OpenRouter, "schedule", PollSchedule(first_s=0.01, factor=1.01, max_s=0.02))
        with running(folder, providers={"openrouter": account}, cards_dir=cards, margin_bps=1000) as one:
            yield one
    written = [path for path in folder.rglob("*") if path.is_file()]
    assert [path.name for path in written if KEY.encode() in path.read_bytes()] == [], "the key is written nowhere"


@pytest.fixture
def account(house: House) -> Account:
    return house.account()


def chat(account: Account, text: str, model: str = "t/chat", **how: Any) -> Ended:
    return ended(account, Operation.CHAT, model, {"messages": [{"role": "user", "content": text}]}, **how)


def data_uri(kind: str, body: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(body).decode()}"


@pytest.mark.parametrize("listen", [False, True])
def test_a_chat_is_charged_by_the_table_and_billed_by_openrouters_word(
    account: Account, upstream: Emulator, listen: bool
) -> None:
    one = chat(account, "good evening", listen=listen)
    assert one.data["choices"][0]["message"]["content"] == "You said: good evening"
    assert "".join(piece["content"] for piece in one.deltas) == ("You said: good evening" if listen else "")
    (submit,) = upstream.submits
    assert submit.headers["x-openrouter-title"] == "Calotype" and "provider" not in submit.json()
    (usd,) = upstream.bills.values()
    assert submissions(account) == [("done", "openrouter", round(usd * 1_000_000), "response")]
    assert (account.spent_micro, account.held_micro) == (-(-(4 * 500_000 + 8 * 3_000_000) * 11 // 10_000_000), 0)


def test_models_without_a_known_cost_are_named_in_openrouters_words(account: Account, upstream: Emulator) -> None:
    for model, name in (
        ("phaya-gpt", "google/gemini-3-flash-preview"), ("openrouter/auto", "openrouter/auto"),
        ("anthropic/claude-3-5-haiku", "anthropic/claude-3.5-haiku"),
    ):  # fmt: skip
        assert chat(account, "hi", model=model).data["choices"]
        assert upstream.submits[-1].json()["model"] == name
    one = ended(account, Operation.EMBEDDINGS, "qwen/qwen3-embedding-8b", {"input": "x", "dimensions": 16})
    assert len(one.data["embeddings"][0]) == 16


def test_phi_is_sent_to_private_hosts_only_and_leaves_nothing_behind(account: Account, upstream: Emulator) -> None:
    one = chat(account, "patient Ada Lovelace", phi=True)
    assert "Lovelace" in one.data["choices"][0]["message"]["content"]
    assert upstream.submits[0].json()["provider"] == PRIVATE
    assert account.spent_micro > 0 and account.held_micro == 0
    for table in ("job", "submission"):
        link = "id" if table == "job" else "job_id"
        sql = f"SELECT * FROM {table} WHERE {link} IN (SELECT id FROM job WHERE org_id = :org)"
        rows = account.house.rows(sql, org=account.org.id)
        assert len(rows) == 1 and "Lovelace" not in str(rows)


def test_phi_is_never_made_into_a_video(account: Account, upstream: Emulator) -> None:
    fields = {"prompt": "a patient", "seconds": 1}
    assert ended(account, Operation.TEXT_TO_VIDEO, "t/video", fields, phi=True).problem.code is Code.UNAVAILABLE
    assert upstream.submits == []
    assert (account.spent_micro, account.held_micro) == (0, 0)


def test_vectors_carry_their_bill(account: Account, upstream: Emulator) -> None:
    assert ended(account, Operation.EMBEDDINGS, "t/vectors", {"input": ["one", "two"]}).data["embeddings"]
    assert submissions(account) == [("done", "openrouter", 2, "response")]
    assert account.spent_micro == 3


def test_pictures_are_stored_and_those_to_look_at_are_sent_inside(account: Account, upstream: Emulator) -> None:
    one = ended(account, Operation.TEXT_TO_IMAGE, "t/image", {"prompt": "a garden", "size": "64x32"})
    assert Image.open(io.BytesIO(stored(account, one))).size == (64, 32)
    assert (account.spent_micro, account.held_micro) == (44_000, 0)
    assert submissions(account) == [("done", "openrouter", 40_000, "response")]
    picture = data_uri("image/png", media.png(16, 16))
    assert ended(account, Operation.IMAGE_TO_IMAGE, "t/image", {"prompt": "x", "image_url": picture}).view.artifacts
    sent = upstream.submits[-1].json()
    assert sent["input_references"] == [{"type": "image_url", "image_url": {"url": picture}}]


@pytest.mark.parametrize("words", ["", "@unsigned", "@stuck"])
def test_a_video_is_submitted_polled_stored_and_charged_once(account: Account, upstream: Emulator, words: str) -> None:
    fields = {"prompt": f"waves {words}", "seconds": 2, "image_url": data_uri("image/png", media.png(16, 16))}
    one = ended(account, Operation.IMAGE_TO_VIDEO, "t/video", fields, at_once=False)
    assert stored(account, one)[4:8] == b"ftyp"
    (submit,) = upstream.submits
    assert (submit.json()["duration"], submit.json()["frame_images"][0]["frame_type"]) == (2, "first_frame")
    assert submissions(account) == [("done", "openrouter", 200_000, "response")]
    assert (account.spent_micro, account.held_micro) == (220_000, 0)


def test_speech_is_stored_and_its_bill_asked_for(account: Account, upstream: Emulator) -> None:
    one = ended(account, Operation.TEXT_TO_SPEECH, "t/speech", {"input": "good evening", "response_format": "mp3"})
    assert stored(account, one)
    assert submissions(account) == [("done", "openrouter", 180, "response")]
    assert (account.spent_micro, account.held_micro) == (198, 0)


def test_a_recording_is_written_down_and_charged_by_its_length(account: Account, upstream: Emulator) -> None:
    one = ended(account, Operation.TRANSCRIPTION, "t/heard", {"audio_url": data_uri("audio/wav", media.wav(10.0))})
    assert one.data["text"] and len(one.data["segments"]) == 2
    assert submissions(account) == [("done", "openrouter", 1_000, "response")]
    assert (account.spent_micro, account.held_micro) == (1_100, 0)


@pytest.mark.parametrize(
    ("words", "submits"),
    [("@status=429 @times=1 @retry_after=0", 2), ("@status=502 @times=1", 2), ("@on=bill @status=500", 1)],
)
def test_trouble_that_passes_is_waited_out_and_charged_once(
    account: Account, upstream: Emulator, words: str, submits: int
) -> None:
    assert chat(account, f"hi {words}").data["choices"]
    assert (len(upstream.submits), len(upstream.bills)) == (submits, 1)
    assert account.spent_micro > 0 and account.held_micro == 0


@pytest.mark.parametrize(
    ("words", "listen", "code", "submits"),
    [
        ("@moderated", False, Code.MODERATED, 1),
        ("@moderated", True, Code.MODERATED, 1),
        ("@code=400", False, Code.INVALID_INPUT, 1),
        ("@code=408", True, Code.UPSTREAM_FAILED, 1),
        ("@code=524", False, Code.UPSTREAM_FAILED, 1),
        ("@garbage", False, Code.UPSTREAM_FAILED, 1),
        ("@cut=after", True, Code.UPSTREAM_FAILED, 1),
        ("@hang", False, Code.UPSTREAM_FAILED, 1),
        ("@midstream", True, Code.UPSTREAM_FAILED, 1),
        ("@cut=body", True, Code.UPSTREAM_FAILED, 1),
        ("@error", False, Code.UNAVAILABLE, 2),
        ("@inflight", False, Code.UNAVAILABLE, 2),
    ],
)
def test_trouble_that_lasts_ends_in_a_refund(
    account: Account, upstream: Emulator, words: str, listen: bool, code: Code, submits: int
) -> None:
    one = chat(account, f"one two three four {words}", listen=listen)
    assert one.problem.code is code
    assert len(upstream.submits) == submits
    assert (account.spent_micro, account.held_micro) == (0, 0)


@pytest.mark.parametrize(("words", "code"), [("@fails", Code.UPSTREAM_FAILED), ("@flagged", Code.MODERATED)])
def test_a_video_that_fails_is_refunded(account: Account, upstream: Emulator, words: str, code: Code) -> None:
    fields = {"prompt": f"waves {words}", "seconds": 2}
    one = ended(account, Operation.TEXT_TO_VIDEO, "t/video", fields, at_once=False)
    assert one.problem.code is code
    assert len(upstream.submits) == 1
    assert (account.spent_micro, account.held_micro) == (0, 0)


def test_a_region_needs_a_route_that_names_it_for_phi(account: Account, upstream: Emulator) -> None:
    with pytest.raises(Problem) as refusal:
        chat(account, "x", phi=True, region=Region.EU)
    assert refusal.value.code is Code.PHI_BLOCKED
    assert upstream.submits == []
    account.untouched()
