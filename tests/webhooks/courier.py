"""A process that delivers the outbox of a database until it is told to stop or dies at a point named to it."""

import asyncio
import os
import signal
import sys

from postroom import Postroom

from calotype.db import Database
from calotype.kernel import points
from calotype.kernel.clock import SystemClock


def die_at(name: str) -> None:
    def listen(point: str) -> None:
        if point == name:
            os.kill(os.getpid(), signal.SIGKILL)

    points.on_point = listen


async def main(url: str, point: str) -> None:
    if point:
        die_at(point)
    db = Database(url)
    db.start()
    deliverer = Postroom(db, SystemClock()).deliverer()
    await deliverer.start(alone=False)
    await asyncio.to_thread(sys.stdin.read)
    await deliverer.stop()
    await asyncio.to_thread(db.close)


asyncio.run(main(*sys.argv[1:]))
