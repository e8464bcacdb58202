"""`kill -9` while media goes to S3: started again, it is stored once under the same name, and charged once."""

import asyncio
import hashlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from calotype.media.remote import RemoteStore
from crash.conftest import emulator, furnish, nursery  # noqa: F401  (fixtures)
from crash.house import HERE, House, Server, until
from faults.invariants import broken_rules
from media.s3 import S3

pytestmark = pytest.mark.crash

IMAGES = "/v1/images/generations"
QUEUED = """
[[cards]]
id = "test/queued"
title = "Queued picture"
operation = "text-to-image"
output = "image"
input = { required = ["prompt"], properties = { prompt = { type = "string" } } }
example = { prompt = "a fern" }
routes = [{ provider = "polled-none", upstream = "p", cost = { unit = "request", micro = 10_000 }, cost_source = "tests" }]
"""  # noqa: E501


class S3House(House):
    """An installation whose files are in S3."""

    files: RemoteStore
    env: dict[str, str]

    async def begin(self, point: str = "") -> Server:
        return await self.start(point, env=self.env)

    async def check_all(self) -> None:
        """Check money, jobs, and that S3 holds what the rows say, byte for byte, and nothing else."""
        self.check()
        await self.check_stored()

    async def check_stored(self) -> None:
        rows = self.read("SELECT key, sha256, size_bytes FROM artifact")
        for key, digest, size in rows:
            body = await self.files.open(key)
            assert (hashlib.sha256(body).hexdigest(), len(body)) == (digest, size)
        assert {one.key async for page in self.files.scan() for one in page} == {row[0] for row in rows}

    def _check_files(self) -> None:
        """Leave that to `check_stored`."""


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    path = tmp_path_factory.mktemp("model") / "calotype.db"
    return path, asyncio.run(furnish(f"sqlite:///{path}"))


@pytest.fixture
def house(s3: S3, bucket: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[S3House]:
    path, key = request.getfixturevalue("model")
    shutil.copy(path, tmp_path / "calotype.db")
    nursery, emulator = (request.getfixturevalue(name) for name in ("nursery", "emulator"))  # noqa: F811
    house = S3House(f"sqlite:///{tmp_path / 'calotype.db'}", tmp_path, key, nursery, emulator)
    cards = shutil.copytree(HERE / "cards", tmp_path / "cards")
    (cards / "queued.toml").write_text(QUEUED)
    house.files = s3.store(bucket, tmp_path / "looking")
    house.env = s3.env(bucket) | {"CALOTYPE_CARDS_DIR": str(cards)}
    yield house
    house.close()


POINTS = ("store.partial", "store.written", "finish.before_commit", "finish.committed")
CASES = [
    (card, wish, point) for card, wish in (("picture", "@slowfile=0.3"), ("queued", "@work=0.1")) for point in POINTS
]


@pytest.mark.parametrize(("card", "wish", "point"), CASES)
async def test_a_result_is_stored_once_whenever_the_process_dies(house, card, wish, point):
    body = {"model": f"test/{card}", "prompt": f"{house.word} {wish} @first=1"}
    headers = {"Idempotency-Key": house.word}
    first = await house.begin(point)
    await first.post(IMAGES, body, headers)
    await until(lambda: not first.alive, f"the server to die at {point}")
    found = [one.key async for page in house.files.scan() for one in page]
    assert len(found) == (0 if point == "store.partial" else 1)

    second = await house.begin()
    assert await house.ended() == ["succeeded"]
    assert len(house.emulator.works_of(house.word)) == 1
    await house.check_all()
    assert found in ([], [row[0] for row in house.read("SELECT key FROM artifact")])

    _, again = await second.post(IMAGES, body, headers)
    assert again["job"] == house.jobs()[0][0]
    status, picture = await second.get(again["body"]["data"][0]["url"])
    assert (status, picture[:4]) == (200, b"\x89PNG")
    await house.check_all()


@pytest.mark.parametrize("point", POINTS)
async def test_what_this_machine_draws_is_stored_once_whenever_the_process_dies(house, point):
    """A local call that is done again gives the same bytes under the same name."""
    body = {"model": "local/sketch", "prompt": house.word, "size": "256x256"}
    first = await house.begin(point)
    await first.post(IMAGES, body, {"Idempotency-Key": house.word})
    await until(lambda: not first.alive, f"the server to die at {point}")
    second = await house.begin()
    assert await house.ended() == ["succeeded"]
    _, again = await second.post(IMAGES, body, {"Idempotency-Key": house.word})
    assert again["job"] == house.jobs()[0][0]
    assert len(house.read("SELECT key FROM artifact")) == 1
    assert broken_rules(house.tx()) == []
    await house.check_stored()
