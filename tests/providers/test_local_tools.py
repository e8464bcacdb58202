"""Tools of this machine, each through its runtime: they succeed, refuse by field, can be cancelled, survive a crash."""

import asyncio
import contextlib
import hashlib
import os
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytest_asyncio
import toolbox
from PIL import Image

from calotype.catalog import Catalog
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Succeeded
from calotype.kernel.steps import FileRef
from calotype.providers.base import Call
from calotype.providers.local import background, upscale, weights_data
from calotype.providers.local.extra import engine
from calotype.providers.local.messages import BadInput, Unavailable
from calotype.providers.local.models import MODELS
from calotype.providers.local.pool import Limits
from calotype.providers.local.runtime import LocalRuntime

PATIENCE_S = 90.0
KINDS = [
    toolbox.image_samples,
    toolbox.film_samples,
    toolbox.still_samples,
    toolbox.drawn_samples,
    toolbox.score_samples,
]
ELSEWHERE = {
    "video-download": "test_local_tools_download",
    **dict.fromkeys(("tts", "music", "denoise", "transcribe", "smollm2-135m"), "test_local_sound"),
}
"""Models that are not in these tables, and the tests that try them."""
CATALOG = Catalog.load()

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tools")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runtime(folder: Path) -> AsyncIterator[LocalRuntime]:
    runtime = LocalRuntime(folder / "scratch", Limits(queue=4), models_dir=folder / "models")
    yield runtime
    await runtime.close()


async def nothing() -> None:
    return None


def call_of(sample: toolbox.Sample, folder: Path, fields: dict[str, Any], files: toolbox.Files) -> Call:
    card = CATALOG.find(sample.card)
    given = {**sample.files(folder), **files}
    filled = {**card.schema.defaults, **sample.fields, **fields}
    refs = {
        name: tuple(FileRef(path, "application/octet-stream") for path in (at if isinstance(at, list) else [at]))
        for name, at in given.items()
        if at is not None
    }
    return Call("job", 1, "token", MODELS[sample.model].operation, sample.model, filled, files=refs)


async def submit(runtime: LocalRuntime, call: Call, on_progress: Any = None) -> Outcome:
    async with asyncio.timeout(PATIENCE_S):
        return await runtime.submit(call, nothing, on_progress or (lambda fraction: None))


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "scratch").iterdir())


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_each_tool_makes_what_it_says_and_tells_how_far_it_is(
    runtime: LocalRuntime, folder: Path, kind: Any
) -> None:
    for sample in kind(folder):
        told: list[float] = []
        outcome = await submit(runtime, call_of(sample, folder, {}, {}), told.append)
        assert isinstance(outcome, Succeeded), (sample.model, outcome)
        assert outcome.data["label"] == MODELS[sample.model].label
        assert outcome.data["is_ai_model"] is MODELS[sample.model].ai
        assert told == sorted(told)
        assert len(told) > 1
        assert told[-1] == 1.0
        for output in outcome.outputs:
            path = Path(output.path or "")
            sample.look(path)
            path.unlink()
        assert left_in(folder) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_each_tool_names_the_field_that_is_wrong(runtime: LocalRuntime, folder: Path, kind: Any) -> None:
    for sample in kind(folder):
        assert sample.bad
        for fields, files, field in sample.bad:
            outcome = await submit(runtime, call_of(sample, folder, fields, files))
            assert isinstance(outcome, Failed), (sample.model, fields, files)
            assert (sample.model, outcome.kind, outcome.field) == (sample.model, FailedKind.INVALID, field)
        assert left_in(folder) == []


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
async def test_each_tool_ends_when_it_is_cancelled_or_its_process_dies(
    runtime: LocalRuntime, folder: Path, kind: Any
) -> None:
    for sample in {sample.model: sample for sample in kind(folder)}.values():
        call = call_of(sample, folder, {}, {})
        assert await first_ended(lambda call=call: cancelled(runtime, call)), "the work was never stopped"
        assert left_in(folder) == []

        outcome = await first_ended(lambda call=call: killed(runtime, call))
        assert isinstance(outcome, Failed)
        assert (outcome.kind, outcome.detail) == (FailedKind.UPSTREAM, "SIGKILL")
        assert left_in(folder) == []


async def first_ended(attempt: Callable[[], Awaitable[Any]]) -> Any:
    """Try until the work was caught in the middle: small samples may be done before the signal arrives."""
    for _ in range(30):
        if (found := await attempt()) is not None:
            return found
    return None


async def cancelled(runtime: LocalRuntime, call: Call) -> bool | None:
    running: list[asyncio.Task[Outcome]] = []
    running.append(asyncio.create_task(submit(runtime, call, lambda fraction: running[0].cancel())))
    try:
        drop(await running[0])
    except asyncio.CancelledError:
        return True
    return None


async def killed(runtime: LocalRuntime, call: Call) -> Outcome | None:
    working = asyncio.create_task(submit(runtime, call))
    before = set(runtime.pool.pids)
    for _ in range(random.randint(1, 40)):  # somewhere in the middle of the work, wherever that is on this machine
        await asyncio.sleep(0)
    for pid in before | set(runtime.pool.pids):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    outcome = await working
    if isinstance(outcome, Failed):
        return outcome
    drop(outcome)
    return None


def drop(outcome: Outcome) -> None:
    for output in outcome.outputs if isinstance(outcome, Succeeded) else ():
        if output.path is not None:
            Path(output.path).unlink(missing_ok=True)


async def test_no_model_of_this_machine_is_left_out(folder: Path) -> None:
    assert {sample.model for kind in KINDS for sample in kind(folder)} | ELSEWHERE.keys() == MODELS.keys()


async def test_the_cards_of_the_tools_take_what_the_samples_give(folder: Path) -> None:
    for sample in (sample for kind in KINDS for sample in kind(folder)):
        card = CATALOG.find(sample.card)
        stand_in = {
            name: ["https://example.com/a"] * len(at) if isinstance(at, list) else "https://example.com/a"
            for name, at in sample.files(folder).items()
        }
        assert card.check({**stand_in, **sample.fields}).input.keys() >= sample.fields.keys()


async def test_tiles_of_an_enlarged_picture_leave_no_seams(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = str(toolbox.picture(folder, (120, 90)))

    def made() -> np.ndarray[Any, np.dtype[np.int16]]:
        body = upscale.render(image=source, factor=2, progress=lambda fraction: None).file
        assert isinstance(body, bytes)
        (folder / "large.png").write_bytes(body)
        return np.asarray(Image.open(folder / "large.png"), np.int16)

    whole = made()
    monkeypatch.setattr(upscale, "TILE", 50)
    assert np.abs(whole - made()).max() <= 3


async def test_the_subject_stays_and_the_sky_goes(folder: Path) -> None:
    source = str(toolbox.picture(folder, (300, 200)))
    body = background.render(image=source, progress=lambda fraction: None).file
    assert isinstance(body, bytes)
    (folder / "cut.png").write_bytes(body)
    alpha = np.asarray(Image.open(folder / "cut.png").getchannel("A"))
    assert alpha[100, 150] > 250
    assert alpha[5, 5] < 5
    plain = folder / "plain.png"
    Image.new("RGB", (64, 64), "grey").save(plain)
    assert background.render(image=str(plain), progress=lambda fraction: None).warnings


async def test_weights_that_are_not_pulled_are_said_to_be_missing(folder: Path) -> None:
    sample = toolbox.Sample("nsfw-check", {}, lambda folder: {"image_url": toolbox.picture(folder)})
    runtime = LocalRuntime(folder / "scratch", Limits(queue=4), models_dir=folder / "none")
    try:
        outcome = await submit(runtime, call_of(sample, folder, {}, {}))
    finally:
        await runtime.close()
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailedKind.GONE
    assert "calotype models pull open-nsfw" in outcome.message


async def test_a_missing_package_names_the_extra() -> None:
    with pytest.raises(Unavailable, match=r"calotype\[local\]"):
        engine("no_such_engine")


async def test_carried_weights_are_the_pinned_ones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(weights_data.__file__).parent
    for name, digest in weights_data.DIGESTS.items():
        assert hashlib.sha256((folder / name).read_bytes()).hexdigest() == digest
    weights_data.carried.cache_clear()
    monkeypatch.setitem(weights_data.DIGESTS, "u2netp.onnx", "0" * 64)
    with pytest.raises(Unavailable):
        weights_data.carried("u2netp.onnx")
    weights_data.carried.cache_clear()


async def test_a_value_out_of_range_is_refused_by_name(folder: Path) -> None:
    source = str(toolbox.picture(folder))
    with pytest.raises(BadInput) as refusal:
        upscale.render(image=source, factor=5, progress=lambda fraction: None)
    assert refusal.value.field == "factor"
