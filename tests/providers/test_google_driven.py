"""Google's adapter through the driver, against the emulator: streams, tools, uploads and keys."""

import base64
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pydantic import SecretStr

from calotype.http import Upstream
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Delta, Failed, FailedKind, Succeeded
from calotype.providers import google_media
from calotype.providers.base import Call
from calotype.providers.driver import Driven
from calotype.providers.google import Google
from calotype.sandbox import media
from calotype.sandbox.google import Google as GoogleEmulator
from calotype.sandbox.serve import on_a_thread
from calotype.settings import ProviderSettings

KEY = "sandbox-key-5f0c2ad1beef"
PICTURE = f"data:image/png;base64,{base64.b64encode(media.png(16, 16, 'given')).decode()}"


@pytest.fixture(scope="module")
def _google() -> Iterator[GoogleEmulator]:
    emulator = GoogleEmulator()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def google(_google: GoogleEmulator) -> GoogleEmulator:
    """Return the emulator with an empty memory."""
    _google.reset()
    return _google


@pytest.fixture
async def driven(google: GoogleEmulator) -> AsyncIterator[Driven]:
    settings = ProviderSettings(api_key=SecretStr(KEY), base_url=google.url)
    runtime = Driven([Google("google", settings)], Upstream("google"), max_in_progress=10)
    yield runtime
    await runtime.close()


async def no_commit() -> None:
    return None


async def test_a_chat_is_shown_piece_by_piece(driven: Driven, google: GoogleEmulator) -> None:
    messages = [{"role": "user", "content": "The evening train to Geneva @think"}]
    asked = Call("job", 1, "token", Operation.CHAT, "gemini-2.5-flash", {"messages": messages}, stream=True)
    shown: list[Delta] = []
    outcome = await driven.submit(asked, no_commit, lambda _: None, shown.append)
    assert isinstance(outcome, Succeeded)
    message = outcome.data["choices"][0]["message"]
    assert "".join(one.data.get("content", "") for one in shown) == message["content"]
    assert "".join(one.data.get("reasoning", "") for one in shown) == message["reasoning"]
    assert len(shown) > 3 and outcome.usage["output_tokens"] > 0
    assert google.submits[0].path.endswith(":streamGenerateContent") and google.submits[0].query == "alt=sse"


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("@breakoff", FailedKind.UPSTREAM), ("@streamerror", FailedKind.UPSTREAM), ("@moderated", FailedKind.MODERATED),
        ("@perday", FailedKind.QUOTA), ("@cut=read", FailedKind.UNKNOWN), ("@garbage @status=503", FailedKind.UNKNOWN),
    ],
)  # fmt: skip
async def test_a_stream_that_goes_wrong_is_a_failure(driven: Driven, words: str, kind: FailedKind) -> None:
    fields = {"messages": [{"role": "user", "content": f"Hello {words}"}]}
    asked = Call("job", 1, "token", Operation.CHAT, "gemini-2.5-flash", fields, stream=True)
    outcome = await driven.submit(asked, no_commit, lambda _: None)
    assert isinstance(outcome, Failed) and outcome.kind is kind


async def test_a_tool_is_called_and_answered(driven: Driven, google: GoogleEmulator) -> None:
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object"}}}
    messages: list[dict[str, Any]] = [{"role": "user", "content": "Is it raining? @call"}]

    async def say() -> dict[str, Any]:
        fields = {"messages": messages, "tools": [tool]}
        asked = Call("job", 1, "token", Operation.CHAT, "gemini-3.8-flash", fields)
        outcome = await driven.submit(asked, no_commit, lambda _: None)
        assert isinstance(outcome, Succeeded)
        choice: dict[str, Any] = outcome.data["choices"][0]
        return choice

    first = await say()
    assert first["finish_reason"] == "tool_calls"
    (made,) = first["message"]["tool_calls"]
    messages[0]["content"] = "Is it raining?"
    messages += [first["message"], {"role": "tool", "tool_call_id": made["id"], "content": "yes"}]
    assert (await say())["finish_reason"] == "stop"
    back = google.submits[1].json()["contents"][1]["parts"][0]
    assert back == {"functionCall": {"name": "weather", "args": {"place": "Geneva"}}, "thoughtSignature": "c2ln"}


async def test_large_inputs_are_put_into_the_files_api_before_the_submission_is_recorded(
    driven: Driven, google: GoogleEmulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(google_media, "INLINE_CHARS", 10)
    monkeypatch.setattr(google_media, "PAUSE_S", 0.01)
    google.settings["processing"] = 2
    seen: list[tuple[int, int]] = []

    async def on_commit() -> None:
        seen.append((len(google.files), len(google.submits)))

    fields = {"prompt": "edit it", "image": [PICTURE]}
    asked = Call("job", 1, "token", Operation.IMAGE_TO_IMAGE, "gemini-2.5-flash-image", fields)
    outcome = await driven.submit(asked, on_commit, lambda _: None)
    assert isinstance(outcome, Succeeded) and seen == [(1, 0)]
    (kept,) = google.files.values()
    assert kept == (media.png(16, 16, "given"), "image/png")
    part = google.submits[0].json()["contents"][0]["parts"][0]
    assert part["fileData"]["fileUri"].startswith(f"{google.url}/v1beta/files/")


@pytest.mark.parametrize(("key", "kind"), [("unknown-1", FailedKind.AUTH), ("unpaid-1", FailedKind.QUOTA)])
async def test_a_key_that_does_not_work_is_the_operators_trouble(
    google: GoogleEmulator, key: str, kind: FailedKind
) -> None:
    settings = ProviderSettings(api_key=SecretStr(key), base_url=google.url)
    runtime = Driven([Google("google", settings)], Upstream("google"), max_in_progress=10)
    asked = Call("job", 1, "token", Operation.TEXT_TO_IMAGE, "gemini-3.1-flash-image", {"prompt": "x"})
    outcome = await runtime.submit(asked, no_commit, lambda _: None)
    await runtime.close()
    assert isinstance(outcome, Failed) and outcome.kind is kind
