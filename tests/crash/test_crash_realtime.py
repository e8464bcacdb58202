"""`kill -9` while a frame of a realtime session is worked on: its money adds up, and it is never ordered twice.

The bytes of a frame are in memory only. So a frame whose process dies before its answer is known to have gone out is
refunded, also when it was charged a moment before.
"""

import contextlib

import msgspec
import pytest
from websockets.asyncio.client import connect
from websockets.exceptions import ConnectionClosed

from crash.house import House, Server, until

pytestmark = pytest.mark.crash

LOST = "failed"


@pytest.mark.parametrize(
    ("point", "end", "submits"),
    [
        ("accept.before_commit", None, 0), ("accept.committed", LOST, 0), ("submit.sent", LOST, 1),
        ("submit.answered", LOST, 1), ("store.recorded", LOST, 1), ("finish.before_commit", LOST, 1),
        ("finish.committed", LOST, 1), ("answer.ended", LOST, 1),
    ],
)  # fmt: skip
async def test_a_frame_ends_once_whenever_its_process_dies(
    house: House, point: str, end: str | None, submits: int
) -> None:
    prompt = f"{house.word} @b64=1{' @delay=0.8 @first=1' if point == 'submit.sent' else ''}"
    first = await house.start(point)
    with contextlib.suppress(ConnectionClosed, OSError):
        await frame(first, house.key, prompt)
    await until(lambda: not first.alive, f"the server to die at {point}")

    second = await house.start()
    assert await house.ended() == ([] if end is None else [end])
    assert len(house.emulator.submits_of(house.word)) == submits
    house.check()

    answer = await frame(second, house.key, prompt)
    assert answer["images"][0]["content"].startswith(b"\x89PNG")
    assert len(house.emulator.submits_of(house.word)) == submits + 1
    house.check()


async def frame(server: Server, key: str, prompt: str) -> dict[str, object]:
    """Send one frame and wait for its answer."""
    url = f"{server.url.replace('http', 'ws', 1)}/fal/run/test/picture/realtime"
    async with connect(url, additional_headers={"authorization": f"Key {key}"}) as socket:
        await socket.send(msgspec.msgpack.encode({"prompt": prompt}))
        while True:
            message = await socket.recv()
            if isinstance(message, bytes):
                return msgspec.msgpack.decode(message, type=dict[str, object])
