"""A start timeout is never over before its time, or it would be told as the caller's own cancelling."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest

from calotype.dialects.fal import starts
from calotype.kernel.job import JobState


async def test_a_timer_that_rings_early_is_set_again(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    canceled: list[int] = []
    now_ms = 1000

    async def early(seconds: float) -> None:
        nonlocal now_ms
        slept.append(seconds)
        now_ms += max(1, int(seconds * 1000) - 7)

    async def get(*_: Any) -> Any:
        return view

    async def cancel(*_: Any) -> Any:
        canceled.append(now_ms)
        return SimpleNamespace(view=view)

    job = SimpleNamespace(plan=SimpleNamespace(wants={"start_timeout_s": 0.2}), created_at_ms=1000, org_id="o")
    view: Any = SimpleNamespace(id="j", job=job, state=JobState.QUEUED)
    engine = SimpleNamespace(get=get, cancel=cancel)
    desk: Any = SimpleNamespace(engine=engine, timers=set(), now_ms=lambda: now_ms)
    monkeypatch.setattr(starts, "asyncio", SimpleNamespace(sleep=early, create_task=asyncio.create_task))
    starts.watch_start(desk, view)
    await asyncio.gather(*desk.timers)
    assert len(slept) > 1 and canceled == [1200]
