"""Pipelines of the operator's own, run in worker processes by the engines that load them for real."""

import asyncio
import contextlib
import io
import os
import shutil
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from PIL import Image
from tiny_pipelines import for_diffusers, for_diffusers_xl, for_openvino

from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Succeeded
from calotype.media.strip import strip
from calotype.providers.base import Call
from calotype.providers.local.diffusion import find_pipelines, model_of
from calotype.providers.local.diffusion.loading import FORMATS
from calotype.providers.local.pool import Limits
from calotype.providers.local.runtime import LocalRuntime
from calotype.settings import LocalSettings

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATIENCE_S = 60.0
MAKERS = {"diffusers": for_diffusers, "openvino": for_openvino}
LARGE = Limits(memory_bytes=8 << 30, queue=4, written_only=True)


@pytest.fixture(scope="module")
def models_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a tiny pipeline for each engine that is installed here, `tiny-<engine>`."""
    folder = tmp_path_factory.mktemp("models")
    for name, make in MAKERS.items():
        with contextlib.suppress(pytest.skip.Exception):
            make(folder / f"tiny-{name}")
    with contextlib.suppress(pytest.skip.Exception):
        for_diffusers_xl(folder / "tiny-xl")
    return folder


@pytest.fixture(params=MAKERS)
def engine(request: pytest.FixtureRequest, models_dir: Path) -> str:
    """Return an engine that is installed here; the test is skipped for others."""
    name = str(request.param)
    if not (models_dir / f"tiny-{name}").exists():
        MAKERS[name](models_dir / f"tiny-{name}")
    return name


@pytest.fixture
def diffusers(models_dir: Path) -> str:
    """Return the tiny pipeline of diffusers."""
    if not (models_dir / "tiny-diffusers").exists():
        for_diffusers(models_dir / "tiny-diffusers")
    return "diffusers:tiny-diffusers"


def runtime_of(models_dir: Path, folder: Path, large: Limits = LARGE, **settings: Any) -> LocalRuntime:
    chosen = LocalSettings(**{"device": "cpu", "deadline_s": PATIENCE_S, **settings})
    models = {one.upstream: model_of(one, chosen) for one in find_pipelines(models_dir, {})}
    return LocalRuntime(folder / "scratch", Limits(), models=models, large=large)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def runtime(models_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[LocalRuntime]:
    """Return a runtime for all tests here: starting an engine takes seconds."""
    runtime = runtime_of(models_dir, tmp_path_factory.mktemp("runtime"))
    yield runtime
    await runtime.close()


def left_in(runtime: LocalRuntime) -> set[Path]:
    """Return the files of results; those of earlier tests lie there too."""
    return set(runtime._scratch_dir.iterdir())


def call(upstream: str, outputs: int = 1, **fields: Any) -> Call:
    asked = {"prompt": "a fox", "size": "64x96", "steps": 2, **fields}
    return Call("job", 1, "token", Operation.TEXT_TO_IMAGE, upstream, asked, outputs=outputs)


async def submit(runtime: LocalRuntime, asked: Call, on_progress: Any = None) -> Outcome:
    async def on_commit() -> None:
        return None

    return await runtime.submit(asked, on_commit, on_progress or (lambda fraction: None))


async def made(runtime: LocalRuntime, asked: Call) -> list[bytes]:
    outcome = await submit(runtime, asked)
    assert isinstance(outcome, Succeeded), outcome
    return [Path(output.path or "").read_bytes() for output in outcome.outputs]


async def failed(runtime: LocalRuntime, asked: Call) -> Failed:
    outcome = await submit(runtime, asked)
    assert isinstance(outcome, Failed)
    return outcome


async def test_a_pipeline_makes_pictures_of_the_asked_size_each_with_the_next_seed(
    runtime: LocalRuntime, engine: str
) -> None:
    shares: list[float] = []
    upstream = f"{engine}:tiny-{engine}"
    outcome = await submit(runtime, call(upstream, 2, seed=7, steps=6), shares.append)
    assert isinstance(outcome, Succeeded), outcome
    bodies = [Path(output.path or "").read_bytes() for output in outcome.outputs]
    assert [Image.open(io.BytesIO(body)).size for body in bodies] == [(64, 96)] * 2
    assert bodies[0] != bodies[1]
    assert outcome.data["seed"] == 7
    assert (outcome.data["engine"], outcome.data["is_ai_model"]) == (upstream, True)
    assert "weights of the operator's choice" in outcome.data["label"]
    assert shares == sorted(shares)
    assert any(0.05 < share < 0.5 for share in shares), "steps are told while they are taken"
    assert len(runtime.large_pool.pids) == 1
    assert not runtime.pool.pids, "the tools' processes have nothing to do with it"
    # the same process has the pipeline still, and the same input gives the same bytes
    (pid,) = runtime.large_pool.pids
    assert await made(runtime, call(upstream, seed=8, steps=6)) == bodies[1:]
    assert await made(runtime, call(upstream, seed=7, steps=6, prompt="a box")) != bodies[:1]
    assert await made(runtime, call(upstream, seed=7, steps=6, negative_prompt="red", guidance_scale=9)) != bodies[:1]
    assert runtime.large_pool.pids == {pid}


async def test_every_kind_of_file_says_that_an_ai_made_it_and_keeps_no_prompt(
    runtime: LocalRuntime, engine: str
) -> None:
    for output_format, content_type in FORMATS.items():
        asked = call(f"{engine}:tiny-{engine}", output_format=output_format, prompt="a secret fox")
        outcome = await submit(runtime, asked)
        assert isinstance(outcome, Succeeded)
        (output,) = outcome.outputs
        assert output.content_type == content_type
        body = Path(output.path or "").read_bytes()
        kept = strip(body, content_type).body
        assert isinstance(kept, bytes)
        assert b"trainedAlgorithmicMedia" in kept
        assert f"Calotype local/{engine}:tiny-{engine}".encode() in kept
        assert b"secret" not in body


async def test_another_family_in_a_variant_of_half_precision_runs_with_the_same_code(
    runtime: LocalRuntime, diffusers: str
) -> None:
    first = await made(runtime, call(diffusers))
    (body,) = await made(runtime, call("diffusers:tiny-xl", negative_prompt="red"))
    assert Image.open(io.BytesIO(body)).size == (64, 96)
    assert await made(runtime, call(diffusers)) == first, "each is loaded again when its turn comes"


async def test_without_a_size_the_pipeline_has_its_own(runtime: LocalRuntime, engine: str) -> None:
    (body,) = await made(runtime, call(f"{engine}:tiny-{engine}", size=None))
    assert Image.open(io.BytesIO(body)).size == (128, 128)


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"steps": 0}, "steps"),
        ({"steps": 151}, "steps"),
        ({"steps": "many"}, "steps"),
        ({"guidance_scale": -1}, "guidance_scale"),
        ({"guidance_scale": 51}, "guidance_scale"),
        ({"size": "60x96"}, "size"),
        ({"size": "68x96"}, "size"),
        ({"size": "4096x64"}, "size"),
        ({"negative_prompt": "x" * 8001}, "negative_prompt"),
        ({"output_format": "gif"}, "output_format"),
        ({"prompt": "  "}, "prompt"),
        ({"seed": -1}, "seed"),
        ({"outputs": 11}, "n"),
    ],
)
async def test_what_cannot_be_used_is_refused_by_field_before_anything_is_loaded(
    runtime: LocalRuntime, diffusers: str, fields: dict[str, Any], field: str
) -> None:
    outcome = await failed(runtime, call(diffusers, **fields))
    assert (outcome.kind, outcome.field) == (FailedKind.INVALID, field)


async def test_a_caller_cannot_choose_what_is_loaded(runtime: LocalRuntime, diffusers: str, tmp_path: Path) -> None:
    loading = {"name": "x", "folder": str(tmp_path), "root": str(tmp_path)}
    assert len(await made(runtime, call(diffusers, loading=loading, folder="/etc"))) == 1
    for name in (f"diffusers:{tmp_path}", "diffusers:../tiny-diffusers", "diffusers:"):
        assert (await failed(runtime, call(name))).kind is FailedKind.GONE


async def begun(runtime: LocalRuntime, upstream: str) -> asyncio.Task[Outcome]:
    """Start work that takes long, and wait until the first step is done."""
    stepping = asyncio.Event()

    def tell(share: float) -> None:
        if share > 0.05:
            stepping.set()

    work = asyncio.create_task(submit(runtime, call(upstream, steps=150, size="512x512"), tell))
    waiter = asyncio.create_task(stepping.wait())
    await asyncio.wait({work, waiter}, timeout=PATIENCE_S, return_when=asyncio.FIRST_COMPLETED)
    assert stepping.is_set(), work
    return work


async def test_cancelling_ends_the_process_in_the_middle_of_a_picture(runtime: LocalRuntime, engine: str) -> None:
    before = left_in(runtime)
    work = await begun(runtime, f"{engine}:tiny-{engine}")
    (pid,) = runtime.large_pool.pids
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert pid not in runtime.large_pool.pids
    assert left_in(runtime) == before


async def test_a_process_that_dies_costs_its_one_picture(runtime: LocalRuntime, engine: str) -> None:
    upstream = f"{engine}:tiny-{engine}"
    work = await begun(runtime, upstream)
    (pid,) = runtime.large_pool.pids
    os.kill(pid, signal.SIGSEGV)
    outcome = await work
    assert isinstance(outcome, Failed)
    assert (outcome.kind, outcome.detail) == (FailedKind.UPSTREAM, "SIGSEGV")
    assert len(await made(runtime, call(upstream))) == 1


async def test_a_picture_that_needs_too_much_memory_fails_alone(
    models_dir: Path, tmp_path: Path, diffusers: str
) -> None:
    runtime = runtime_of(models_dir, tmp_path, Limits(memory_bytes=540 << 20, written_only=True))
    try:
        outcome = await failed(runtime, call(diffusers, size="1024x1024", steps=1, guidance_scale=0))
        assert outcome.kind is FailedKind.UPSTREAM
        assert outcome.message == "The work needs more memory than it may use."
        assert len(await made(runtime, call(diffusers))) == 1
    finally:
        await runtime.close()


async def test_work_that_takes_too_long_is_stopped(models_dir: Path, tmp_path: Path, diffusers: str) -> None:
    runtime = runtime_of(models_dir, tmp_path, deadline_s=1.0)
    try:
        outcome = await failed(runtime, call(diffusers, steps=150, size="2048x2048"))
        assert (outcome.kind, outcome.message) == (FailedKind.UPSTREAM, "The work took too long.")
    finally:
        await runtime.close()


async def test_a_folder_that_changed_after_the_start_is_looked_at_again(
    models_dir: Path, tmp_path: Path, diffusers: str
) -> None:
    own = tmp_path / "models"
    shutil.copytree(models_dir / "tiny-diffusers", own / "tiny-diffusers")
    runtime = runtime_of(own, tmp_path)
    try:
        assert len(await made(runtime, call(diffusers))) == 1
        weights = own / "tiny-diffusers" / "unet" / "diffusion_pytorch_model.safetensors"
        weights.rename(weights.with_suffix(".bin"))
        outcome = await failed(runtime, call(diffusers))
        assert outcome.kind is FailedKind.GONE
        assert outcome.message.startswith(
            "The folder of local/diffusers:tiny-diffusers cannot be used: unet has its weights only"
        )
        weights.with_suffix(".bin").rename(weights)
        (own / "tiny-diffusers" / "unet" / "config.json").write_text("{}")
        (own / "tiny-diffusers" / "model_index.json").touch()
        outcome = await failed(runtime, call(diffusers))
        assert outcome.message.startswith("local/diffusers:tiny-diffusers could not be loaded (")
        shutil.rmtree(own / "tiny-diffusers")
        outcome = await failed(runtime, call(diffusers))
        assert outcome.message.endswith("cannot be used: the folder is not there.")
    finally:
        await runtime.close()


async def test_a_pipeline_saved_as_pickles_is_refused_and_its_pickles_are_never_opened(tmp_path: Path) -> None:
    folder = for_diffusers(tmp_path / "models" / "pickled", safe=False)
    (one,) = find_pipelines(tmp_path / "models", {})
    assert "only as a pickle" in str(one.problem)
    for path in folder.glob("*/*.bin"):
        path.write_bytes(b"cos\nsystem\n(S'touch " + str(tmp_path / "owned").encode() + b"'\ntR.")
    runtime = runtime_of(tmp_path / "models", tmp_path)
    try:
        outcome = await failed(runtime, call("diffusers:pickled"))
        assert outcome.kind is FailedKind.GONE
        assert "only safetensors are loaded" in outcome.message
    finally:
        await runtime.close()
    assert not (tmp_path / "owned").exists()


@pytest.mark.parametrize(("module", "name"), [("torch", "diffusers"), ("openvino_genai", "openvino")])
async def test_without_the_extra_the_outcome_says_how_to_have_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, models_dir: Path, diffusers: str, module: str, name: str
) -> None:
    (tmp_path / "lacking").mkdir()
    (tmp_path / "lacking" / f"{module}.py").write_text("raise ImportError('not installed')")
    own = tmp_path / "models"
    shutil.copytree(models_dir / "tiny-diffusers", own / "one")
    if name == "openvino":
        (own / "one" / "unet" / "openvino_model.xml").write_text("<net/>")
    monkeypatch.syspath_prepend(str(tmp_path / "lacking"))
    runtime = runtime_of(own, tmp_path)
    try:
        outcome = await failed(runtime, call(f"{name}:one"))
        assert outcome.kind is FailedKind.GONE
        assert outcome.message == f'This model needs {module}: pip install "calotype[{name}]".'
    finally:
        await runtime.close()
