"""This machine as a provider: calls in, outcomes out."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from calotype.catalog import Catalog
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Succeeded
from calotype.kernel.steps import FileRef
from calotype.providers.base import Call, Idempotency, MediaInputs, Runtime
from calotype.providers.local.arguments import seed_of
from calotype.providers.local.models import MODELS, LocalModel
from calotype.providers.local.pool import Limits
from calotype.providers.local.runtime import LocalRuntime

PATIENCE_S = 20.0


def chore(name: str, **changes: Any) -> LocalModel:
    fields: dict[str, Any] = {
        "operation": Operation.TEXT_TO_IMAGE,
        "label": "a test",
        "content_type": "image/png",
        "extension": "png",
        "deadline_s": PATIENCE_S,
    }
    return LocalModel(f"chores:{name}", **{**fields, **changes})


CHORES = {
    "echo": chore("echo", fields=("prompt", "seconds"), size="512x512", seeded=True),
    "hang": chore("hang"),
    "half": chore("half", fields=("prompt",), seeded=True),
    "late": chore("hang", deadline_s=0.05),
    "leave": chore("leave"),
    "gobble": chore("gobble"),
    "refuse": chore("refuse"),
    "break": chore("break_down"),
    "fill": chore("fill_up"),
}


@pytest.fixture
async def runtime(tmp_path: Path) -> AsyncIterator[LocalRuntime]:
    runtime = LocalRuntime(tmp_path / "scratch", Limits(processes=1, queue=1), models=CHORES)
    yield runtime
    await runtime.close()


async def nothing() -> None:
    return None


def call(model: str, operation: Operation = Operation.TEXT_TO_IMAGE, **changes: Any) -> Call:
    fields = changes.pop("input", {"prompt": "a fox"})
    return Call("job", 1, "token", operation, model, fields, **changes)


async def submit(runtime: Runtime, call_: Call, on_progress: Any = None) -> Outcome:
    return await runtime.submit(call_, nothing, on_progress or (lambda fraction: None))


async def failed(runtime: Runtime, call_: Call) -> Failed:
    outcome = await submit(runtime, call_)
    assert isinstance(outcome, Failed)
    return outcome


def left_in(runtime: LocalRuntime, tmp_path: Path) -> list[str]:
    return sorted(path.name for path in (tmp_path / "scratch").iterdir())


async def test_a_call_ends_with_files_facts_and_warnings(runtime: LocalRuntime) -> None:
    outcome = await submit(runtime, call("echo", input={"prompt": "a fox", "seed": 7, "n": 2}, outputs=2))
    assert isinstance(outcome, Succeeded)
    texts = [Path(output.path or "").read_text() for output in outcome.outputs]
    assert texts == [f"[('height', 512), ('prompt', 'a fox'), ('seed', {s}), ('width', 512)]" for s in (7, 8)]
    assert [(o.content_type, o.width, o.height) for o in outcome.outputs] == [("image/png", 512, 512)] * 2
    assert outcome.data == {"engine": "echo", "is_ai_model": False, "label": "a test", "seed": 7}
    assert outcome.warnings == ("echoed",)
    assert all(Path(output.path or "").stat().st_mode & 0o077 == 0 for output in outcome.outputs)


async def test_without_a_seed_the_prompt_decides_so_that_a_rerun_is_the_same(runtime: LocalRuntime) -> None:
    first, second = await submit(runtime, call("echo")), await submit(runtime, call("echo"))
    assert isinstance(first, Succeeded)
    assert isinstance(second, Succeeded)
    assert first.data == second.data
    assert first.outputs[0].path != second.outputs[0].path
    assert seed_of({"prompt": "a fox"}) != seed_of({"prompt": "a box"})


async def test_seconds_are_measured_units(runtime: LocalRuntime) -> None:
    outcome = await submit(runtime, call("echo", input={"prompt": "a fox", "seconds": 4}, outputs=2))
    assert isinstance(outcome, Succeeded)
    assert outcome.usage == {"duration_ms": 8000}


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"size": "huge"}, "size"),
        ({"size": "128x512"}, "size"),
        ({"size": "256x1024"}, "size"),
        ({"aspect_ratio": "2:7"}, "aspect_ratio"),
        ({"seed": -1}, "seed"),
        ({"seed": "one"}, "seed"),
    ],
)
async def test_a_value_that_cannot_be_used_is_refused_by_field_before_any_process_starts(
    runtime: LocalRuntime, fields: dict[str, Any], field: str
) -> None:
    outcome = await failed(runtime, call("echo", input={"prompt": "a fox", **fields}))
    assert (outcome.kind, outcome.field) == (FailedKind.INVALID, field)
    assert not runtime.pool.pids


async def test_unknown_models_are_gone(runtime: LocalRuntime) -> None:
    assert (await failed(runtime, call("flux"))).kind is FailedKind.GONE
    assert (await failed(runtime, call("echo", Operation.CHAT))).kind is FailedKind.GONE


@pytest.mark.parametrize(
    ("model", "kind", "detail"),
    [
        ("leave", FailedKind.UPSTREAM, "exit status 7"),
        ("late", FailedKind.UPSTREAM, "stopped after 0 s"),
        ("gobble", FailedKind.UPSTREAM, "MemoryError"),
        ("refuse", FailedKind.INVALID, None),
    ],
)
async def test_each_end_has_its_kind_and_leaves_no_file(
    runtime: LocalRuntime, tmp_path: Path, model: str, kind: FailedKind, detail: str | None
) -> None:
    outcome = await failed(runtime, call(model))
    assert (outcome.kind, outcome.detail) == (kind, detail)
    assert left_in(runtime, tmp_path) == []
    assert isinstance(await submit(runtime, call("echo")), Succeeded)


async def test_an_error_never_shows_what_it_was_about(runtime: LocalRuntime) -> None:
    outcome = await failed(runtime, call("break"))
    assert outcome.kind is FailedKind.UPSTREAM
    assert "secret" not in f"{outcome.message} {outcome.detail}"


async def test_a_full_disk_is_told_as_what_it_is(runtime: LocalRuntime) -> None:
    assert (await failed(runtime, call("fill"))).message == "This server's disk has no room for the result."


async def test_a_full_queue_is_a_retry_and_records_no_submission(runtime: LocalRuntime) -> None:
    begun = asyncio.Event()
    running = asyncio.create_task(submit(runtime, call("hang"), lambda fraction: begun.set()))
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    waiting = asyncio.create_task(submit(runtime, call("echo")))
    async with asyncio.timeout(PATIENCE_S):
        while not runtime.pool.busy:
            await asyncio.sleep(0)

    async def on_commit() -> None:
        raise AssertionError("nothing was started")

    outcome = await runtime.submit(call("echo"), on_commit, lambda fraction: None)
    assert isinstance(outcome, Failed)
    assert outcome.kind is FailedKind.RETRY
    assert outcome.retry_after_s is not None
    running.cancel()
    assert isinstance(await waiting, Succeeded)


async def test_cancelling_a_submit_ends_the_process_and_removes_what_it_wrote(
    runtime: LocalRuntime, tmp_path: Path
) -> None:
    begun = asyncio.Event()
    running = asyncio.create_task(submit(runtime, call("half", outputs=2), lambda fraction: begun.set()))
    await asyncio.wait_for(begun.wait(), PATIENCE_S)
    (pid,) = runtime.pool.pids
    assert len(left_in(runtime, tmp_path)) == 1
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert pid not in runtime.pool.pids
    assert left_in(runtime, tmp_path) == []


async def test_a_job_that_is_no_longer_ours_starts_nothing(runtime: LocalRuntime) -> None:
    async def on_commit() -> None:
        raise PermissionError("fenced")

    with pytest.raises(PermissionError):
        await runtime.submit(call("echo"), on_commit, lambda fraction: None)
    assert not runtime.pool.pids


async def test_what_nobody_took_is_swept_after_an_hour(tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    for name, age_s in (("local-old-0.png", 4000), ("local-new-0.png", 10), ("other", 4000)):
        (scratch / name).write_bytes(b"x")
        os.utime(scratch / name, (time.time() - age_s,) * 2)
    runtime = LocalRuntime(scratch, Limits(), models=CHORES)
    try:
        await submit(runtime, call("refuse"))
        assert left_in(runtime, tmp_path) == ["local-new-0.png", "other"]
    finally:
        await runtime.close()


async def test_a_still_becomes_a_film(tmp_path: Path) -> None:
    picture = tmp_path / "in.png"
    Image.new("RGB", (320, 200), "teal").save(picture)
    runtime = LocalRuntime(tmp_path / "scratch", Limits())
    told: list[float] = []
    moving = call(
        "ken-burns",
        Operation.IMAGE_TO_VIDEO,
        input={"seconds": 1, "fps": 24, "motion": "pan-left", "aspect_ratio": "16:9"},
        files={"image_url": (FileRef(picture, "image/png"),)},
    )
    try:
        outcome = await submit(runtime, moving, told.append)
        assert isinstance(outcome, Succeeded)
        (clip,) = outcome.outputs
        assert Path(clip.path or "").read_bytes()[4:8] == b"ftyp"
        assert (clip.content_type, clip.width, clip.height, clip.duration_s) == ("video/mp4", 1280, 720, 1)
        assert told == sorted(told)
        assert told[-1] == 1.0
        refused = await failed(runtime, call("ken-burns", Operation.IMAGE_TO_VIDEO, input={}))
        assert (refused.kind, refused.field) == (FailedKind.INVALID, "image_url")
        picture.write_bytes(b"broken")
        refused = await failed(runtime, moving)
        assert (refused.kind, refused.field) == (FailedKind.INVALID, "image_url")
    finally:
        await runtime.close()


async def test_a_prompt_becomes_a_picture(tmp_path: Path) -> None:
    runtime = LocalRuntime(tmp_path / "scratch", Limits())
    try:
        outcome = await submit(runtime, call("sketch", input={"prompt": "a fox in the snow", "size": "256x256"}))
        assert isinstance(outcome, Succeeded)
        with Image.open(outcome.outputs[0].path or "") as picture:
            assert picture.size == (256, 256)
    finally:
        await runtime.close()


def test_what_it_declares() -> None:
    runtime: Runtime = LocalRuntime(Path("scratch"), Limits(processes=2, queue=3))
    assert (runtime.idempotency, runtime.media_inputs) == (Idempotency.KEY, MediaInputs.FILE)
    assert (runtime.name, runtime.kind, runtime.cancellable, runtime.max_in_progress) == ("local", "local", True, 5)


def test_bounds_agree_with_the_engine() -> None:
    from calotype.providers.local.sketch import picture

    for name in ("sketch", "sketch-video"):
        assert MODELS[name].sides == (picture.SMALLEST, picture.LARGEST)
        assert MODELS[name].max_ratio == picture.WIDEST_RATIO


def test_every_local_card_has_its_function_with_the_same_label_and_operation() -> None:
    cards = [(card, route) for card in Catalog.load().cards() for route in card.routes if route.kind == "local"]
    assert {route.upstream for _, route in cards} <= MODELS.keys()
    for card, route in cards:
        model = MODELS[route.upstream]
        assert (card.label, card.operations) == (model.label, (model.operation,))
        assert {route.fields.get(name, name) for name in card.media_fields} == set(model.media)
