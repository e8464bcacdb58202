"""Sound and chat on this machine, each through its runtime: success, refusal by field, cancelling, a crash."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import soundbox
from soundbox import Sample

from calotype.catalog import Catalog
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Succeeded
from calotype.kernel.steps import FileRef
from calotype.media.probe import probe
from calotype.providers.available import Available
from calotype.providers.base import Call
from calotype.providers.local import chat, denoise, music, transcribe, tts
from calotype.providers.local.models import MODELS
from calotype.providers.local.pool import Limits
from calotype.providers.local.runtime import LocalRuntime
from calotype.providers.local.weights import entries

PATIENCE_S = 120.0
CATALOG = Catalog.load()
EVERY = ["tts", "music", "denoise", "smollm2-135m", "transcribe"]
each = pytest.mark.parametrize("model", EVERY)

pytestmark = pytest.mark.asyncio(loop_scope="module")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("sound")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runtime(folder: Path) -> AsyncIterator[LocalRuntime]:
    runtime = LocalRuntime(folder / "scratch", Limits(queue=4), models_dir=folder / "models")
    yield runtime
    await runtime.close()


def sample_of(model: str, folder: Path) -> Sample:
    """Return the sample of a model; its weights are pulled first, which a run does once."""
    sample = next(one for one in soundbox.every(folder) if one.model == model)
    if sample.weights is not None:
        soundbox.pulled(sample.weights, folder / "models")
    return sample


def call_of(sample: Sample, folder: Path, fields: dict[str, Any], files: dict[str, Path]) -> Call:
    card = CATALOG.find(f"local/{sample.model}")
    filled = {**card.schema.defaults, **sample.fields, **fields}
    refs = {name: (FileRef(path, "audio/wav"),) for name, path in {**sample.files(folder), **files}.items()}
    return Call("job", 1, "token", MODELS[sample.model].operation, sample.model, filled, files=refs)


async def nothing() -> None:
    return None


async def submit(runtime: LocalRuntime, call: Call, on_progress: Any = None) -> Outcome:
    async with asyncio.timeout(PATIENCE_S):
        return await runtime.submit(call, nothing, on_progress or (lambda fraction: None))


def left_in(folder: Path) -> list[str]:
    scratch = folder / "scratch"
    return sorted(path.name for path in scratch.iterdir()) if scratch.exists() else []


@each
async def test_each_makes_what_it_says_and_the_same_each_time(runtime: LocalRuntime, folder: Path, model: str) -> None:
    sample = sample_of(model, folder)
    bodies: list[Any] = []
    for _ in range(2):
        told: list[float] = []
        outcome = await submit(runtime, call_of(sample, folder, {}, {}), told.append)
        assert isinstance(outcome, Succeeded), outcome
        assert outcome.data["label"] == MODELS[model].label
        assert outcome.data["is_ai_model"] is MODELS[model].ai
        assert told == sorted(told) and len(told) > 2 and told[-1] == 1.0
        if sample.content_type is None:
            assert outcome.outputs == ()
            bodies.append(outcome.data.get("choices") or outcome.data["text"])
            continue
        (output,) = outcome.outputs
        path = Path(output.path or "")
        facts = probe(path)
        assert (facts.content_type, output.content_type) == (sample.content_type,) * 2
        assert facts.duration_s is not None and facts.duration_s * 1000 == pytest.approx(
            outcome.usage["duration_ms"], abs=80
        )
        bodies.append(path.read_bytes())
        path.unlink()
    assert bodies[0] == bodies[1]
    assert left_in(folder) == []


@each
async def test_each_names_the_field_that_is_wrong(runtime: LocalRuntime, folder: Path, model: str) -> None:
    sample = sample_of(model, folder)
    for fields, files, field in sample.bad:
        outcome = await submit(runtime, call_of(sample, folder, fields, files))
        assert isinstance(outcome, Failed), (fields, files)
        assert (outcome.kind, outcome.field) == (FailedKind.INVALID, field), outcome
    assert left_in(folder) == []


@each
async def test_each_ends_when_it_is_cancelled_or_its_process_dies(
    runtime: LocalRuntime, folder: Path, model: str
) -> None:
    sample = sample_of(model, folder)
    call = call_of(sample, folder, sample.slow[0], sample.slow[1](folder))
    running: list[asyncio.Task[Outcome]] = []
    running.append(asyncio.create_task(submit(runtime, call, lambda fraction: running[0].cancel())))
    with pytest.raises(asyncio.CancelledError):
        await running[0]
    assert left_in(folder) == []

    def kill(fraction: float) -> None:
        for pid in runtime.pool.pids:
            os.kill(pid, signal.SIGKILL)

    outcome = await submit(runtime, call, kill)
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.detail) == (FailedKind.UPSTREAM, "SIGKILL")
    assert left_in(folder) == []


@pytest.mark.parametrize("model", ["transcribe", "smollm2-135m"])
async def test_without_its_weights_a_model_says_how_to_have_them(tmp_path: Path, folder: Path, model: str) -> None:
    sample = next(one for one in soundbox.every(folder) if one.model == model)
    runtime = LocalRuntime(tmp_path / "scratch", Limits(), models_dir=tmp_path / "models")
    try:
        outcome = await submit(runtime, call_of(sample, folder, {}, {}))
    finally:
        await runtime.close()
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.field) == (FailedKind.GONE, None)
    assert f"run calotype models pull {sample.weights}" in outcome.message


@pytest.mark.parametrize("model", ["transcribe", "smollm2-135m"])
async def test_a_card_is_routable_as_soon_as_its_weights_are_here(tmp_path: Path, model: str) -> None:
    card = CATALOG.find(f"local/{model}")
    (route,) = card.routes
    available = Available({"local"}, tmp_path)
    (missing,) = route.lacks(available)
    assert not route.runs(available)
    entry = entries()[missing.removeprefix("weights:")]
    for file in entry.files:
        (tmp_path / entry.id).mkdir(exist_ok=True)
        with (tmp_path / entry.id / file.name).open("wb") as body:
            body.truncate(file.size_bytes)
    assert route.runs(available)


async def test_what_is_available_is_named_exactly(tmp_path: Path) -> None:
    available = Available({"local"}, tmp_path)
    assert "local" in available and "package:msgspec" in available
    for name in ("fal", "package:no_such_package", "weights:whisper-base", "weights:../..", "other:local", 7):
        assert name not in available


async def test_labels_and_bounds_of_cards_agree_with_the_models() -> None:
    modules = {"tts": tts, "music": music, "denoise": denoise, "transcribe": transcribe, "smollm2-135m": chat}
    for name, module in modules.items():
        assert MODELS[name].label == module.LABEL
        needs = CATALOG.find(f"local/{name}").routes[0].needs
        weights = getattr(module, "WEIGHTS", None)
        assert [need for need in needs if need.startswith("weights:")] == ([f"weights:{weights}"] if weights else [])
    speech = CATALOG.find("local/tts").schema.properties
    assert set(speech["voice"]["enum"]) == set(tts.PITCHES)
    assert speech["input"]["maxLength"] == tts.MAX_CHARS
    assert (speech["speed"]["minimum"], speech["speed"]["maximum"]) == (tts.MIN_SPEED, tts.MAX_SPEED)
    piece = CATALOG.find("local/music").schema.properties["seconds"]
    assert (piece["minimum"], piece["maximum"]) == (music.MIN_SECONDS, music.MAX_SECONDS)
    talk = CATALOG.find("local/smollm2-135m")
    assert talk.schema.properties["max_tokens"]["maximum"] == chat.MAX_TOKENS
    assert talk.schema.properties["messages"]["maxItems"] == chat.MAX_MESSAGES
    assert CATALOG.find("local/transcribe").schema.properties["response_format"]["enum"] == list(transcribe.FORMATS)
