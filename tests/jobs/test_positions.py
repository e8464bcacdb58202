"""Where a request stands in its queue, also when the clock is put back."""

from calotype.jobs.positions import Positions
from jobs.kit import Fake


async def test_a_line_is_looked_at_again_when_the_clock_was_put_back(home) -> None:
    async with home(Fake(), works=False) as h:
        positions = Positions(h.app.db, h.clock)
        await h.send("first")
        assert await positions.length("m") == 1
        await h.send("second")
        h.clock.ahead_ms -= 3_600_000
        assert await positions.length("m") == 2
