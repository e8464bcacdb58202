"""A process that holds and settles on accounts it shares with others, and prints what it was told."""

import asyncio
import json
import random
import sys

from moves import Hold, Settle

from calotype.db import Database
from calotype.kernel.errors import Problem
from calotype.kernel.ids import OrgId


async def main(url: str, name: str, rounds: int, accounts: int) -> None:
    chance = random.Random(name)
    db = Database(url)
    db.start()
    told: dict[str, int] = {}

    async def job(n: int) -> None:
        ident, org = f"{name}-{n}", OrgId(f"o{chance.randrange(accounts)}")
        key = f"key-{chance.randrange(3)}"
        amount, captured = 12, chance.randrange(13)
        try:
            await db.submit(Hold(ident, org, amount, key))
        except Problem:
            told[ident] = -1
            return
        answers = await asyncio.gather(*(db.submit(Settle(ident, org, captured, key)) for _ in range(2)))
        assert sorted(answer.first for answer in answers) == [False, True]
        told[ident] = captured

    for start in range(0, rounds * 50, 50):
        await asyncio.gather(*(job(n) for n in range(start, start + 50)))
    await asyncio.to_thread(db.close)
    sys.stdout.write(json.dumps(told))


asyncio.run(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
