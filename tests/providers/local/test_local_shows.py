"""What models of this machine show of themselves while they work, and only to who listens."""

import io
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from PIL import Image, ImageChops, ImageStat

from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Delta, Succeeded
from calotype.providers.base import Call
from calotype.providers.local.models import LocalModel
from calotype.providers.local.pool import Limits
from calotype.providers.local.runtime import LocalRuntime
from calotype.providers.local.sketch import easel, render

SPEAK = LocalModel(
    "chores:speak", Operation.TEXT_TO_IMAGE, "a test", "image/png", "png", 20.0, fields=("words",), shows=True
)


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[LocalRuntime]:
    models = {"speak": SPEAK, "mute": LocalModel(*(getattr(SPEAK, name) for name in SPEAK.__struct_fields__[:7]))}
    runtime = LocalRuntime(tmp_path / "scratch", Limits(processes=1), models=models)
    yield runtime
    await runtime.close()


async def shown(runtime: LocalRuntime, model: str, *, stream: bool) -> list[Delta]:
    call = Call("job", 1, "token", Operation.TEXT_TO_IMAGE, model, {"words": "one two three"}, stream=stream)
    pieces: list[Delta] = []

    async def nothing() -> None:
        return None

    outcome = await runtime.submit(call, nothing, lambda _: None, pieces.append)
    assert isinstance(outcome, Succeeded), outcome
    return pieces


async def test_pieces_reach_who_listens_in_their_order_and_nobody_else(runtime: LocalRuntime) -> None:
    heard = await shown(runtime, "speak", stream=True)
    assert heard == [Delta("chat", {"content": word}) for word in ("one", "two", "three")]
    assert await shown(runtime, "speak", stream=False) == []


@pytest.mark.parametrize(
    "prompt", ["a lighthouse on a cliff by the sea at sunset", "a cat on a table", "a fish under water"]
)
def test_a_sketch_shows_itself_layer_by_layer_and_is_the_same_unseen(
    prompt: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(easel, "PAUSE_S", 0.0)
    pieces: list[Delta] = []
    shares: list[float] = []
    seen = render(prompt, seed=7, width=1024, height=768, progress=shares.append, show=pieces.append)
    assert seen.png == render(prompt, seed=7, width=1024, height=768).png
    assert shares == sorted(shares) and shares[-1] == 1.0 and len(shares) > 3
    assert len(pieces) >= 2 and {(one.kind, one.content_type) for one in pieces} == {("preview", "image/jpeg")}
    previews = [Image.open(io.BytesIO(one.body)) for one in pieces]
    assert {(one.format, one.size) for one in previews} == {("JPEG", (512, 384))}
    final = Image.open(io.BytesIO(seen.png)).convert("RGB").resize((512, 384))
    apart = [sum(ImageStat.Stat(ImageChops.difference(one, final)).mean) for one in (previews[0], previews[-1])]
    assert apart[1] < apart[0], "it comes nearer to the picture"


def test_previews_come_no_faster_than_they_can_be_looked_at() -> None:
    pieces: list[Delta] = []
    one = easel.Easel(show=pieces.append)
    for _ in range(5):
        one.see(Image.new("RGB", (64, 64)))
    assert len(pieces) == 1
    assert easel.Easel().wanted is False
