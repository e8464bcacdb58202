"""Receivers on loopback and a postroom on the store of the test."""

from collections.abc import AsyncIterator

import pytest
from postroom import Postroom
from receiver import NewReceiver, Receiver

from calotype.db import Database
from calotype.kernel.clock import ManualClock


@pytest.fixture
async def new_receiver() -> AsyncIterator[NewReceiver]:
    made: list[Receiver] = []

    async def new() -> Receiver:
        made.append(await Receiver().start())
        return made[-1]

    yield new
    for one in made:
        await one.stop()


@pytest.fixture
async def receiver(new_receiver: NewReceiver) -> Receiver:
    return await new_receiver()


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
async def postroom(db: Database, clock: ManualClock) -> AsyncIterator[Postroom]:
    made = Postroom(db, clock)
    yield made
    await made.close()
