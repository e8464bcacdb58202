"""The queue in front of the writing threads, at its end."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import pytest

from calotype.kernel.errors import Code, Problem
from calotype.media.lane import Lane
from calotype.media.store import Ready


def lane() -> Lane:
    return Lane(lambda batch: [prepare() for prepare in batch], 1, "test-lane", 8)


def file(number: int) -> Callable[[], Ready]:
    return cast("Callable[[], Ready]", partial(int, number))


async def test_what_was_submitted_before_the_end_is_still_written() -> None:
    one = lane()
    writing: list[asyncio.Task[Any]] = [asyncio.create_task(one.submit(file(n))) for n in range(20)]
    await asyncio.sleep(0)
    await one.close()
    assert await asyncio.gather(*writing) == [*range(20)]


async def test_what_comes_after_the_end_is_refused_and_waits_for_nobody() -> None:
    one = lane()
    await one.close()
    with pytest.raises(Problem) as refused:
        await asyncio.wait_for(one.submit(file(1)), 5)
    assert refused.value.code is Code.UNAVAILABLE
