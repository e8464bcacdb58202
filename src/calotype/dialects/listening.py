"""How a dialect follows what goes on: with a turn now and then while nothing comes, until the caller is gone."""

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from typing import TypeVar

T = TypeVar("T")


async def heard(
    items: AsyncIterator[T], gone: "asyncio.Future[None]", pause_s: float
) -> AsyncGenerator[T | None, None]:
    """Yield each item as it comes, and None when none came for `pause_s`; stop when the caller has hung up."""
    coming = asyncio.ensure_future(anext(items))
    try:
        while True:
            done, _ = await asyncio.wait((coming, gone), timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            if coming in done:
                try:
                    item = coming.result()
                except StopAsyncIteration:
                    return
                yield item
                coming = asyncio.ensure_future(anext(items))
            elif gone in done:
                return
            else:
                yield None
    finally:
        coming.cancel()
        with contextlib.suppress(asyncio.CancelledError, StopAsyncIteration, Exception):
            await coming
        if (close := getattr(items, "aclose", None)) is not None:
            await close()
