"""`kill -9` with a worker of one's own: every job goes on where it was, and none is done twice."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from calotype.sandbox.comfyui import ComfyUI
from calotype.sandbox.serve import on_a_thread
from crash.conftest import postgres_house
from crash.house import until
from crash.worker_house import WorkerHouse, WorkerNursery

pytestmark = pytest.mark.crash

PICTURE = ("/v1/images/generations", {"model": "w/picture", "size": "256x256"})
FILM = ("/v1/videos/generations", {"model": "w/film", "size": "256x256", "seconds": 1})
POINTS = (
    "submit.recorded",
    "submit.sent",
    "submit.answered",
    "running.recorded",
    "store.written",
    "finish.before_commit",
)


@pytest.fixture(scope="module")
def worker() -> Iterator[ComfyUI]:
    worker = ComfyUI("one")
    with on_a_thread(worker):
        yield worker


@pytest.fixture(scope="module")
def worker_nursery() -> Iterator[WorkerNursery]:
    nursery = WorkerNursery()
    yield nursery
    nursery.close()


@pytest.fixture
def house(
    store: str, tmp_path: Path, request: pytest.FixtureRequest, worker: ComfyUI, worker_nursery: WorkerNursery
) -> Iterator[WorkerHouse]:
    """Return an installation on either store."""
    with contextlib.ExitStack() as stack:
        if store == "postgresql":
            plain = stack.enter_context(postgres_house(request, tmp_path))
            url, key = plain.url, plain.key
        else:
            model, key = request.getfixturevalue("sqlite_model")
            shutil.copy(model, tmp_path / "calotype.db")
            url = f"sqlite:///{tmp_path / 'calotype.db'}"
        yield stack.enter_context(contextlib.closing(WorkerHouse(url, tmp_path, key, worker_nursery, worker)))


def rests(house: WorkerHouse) -> None:
    """Check what holds at rest: every success is paid once, and no place is held."""
    house.check()
    assert house.read("SELECT token FROM worker_run WHERE state = 'open'") == []


@pytest.mark.parametrize("point", POINTS)
async def test_a_picture_is_drawn_once_whenever_the_server_dies(house: WorkerHouse, point: str) -> None:
    path, body = PICTURE
    slowly = " @latency=0.6 @times=1" if point == "submit.sent" else ""
    body = {**body, "prompt": f"{house.word}{slowly}"}
    first = await house.serve(point)
    status, _ = await first.post(path, body, {"Idempotency-Key": house.word})
    assert status == 0
    await until(lambda: not first.alive, f"the server to die at {point}")
    await house.serve()
    assert await house.ended() == ["succeeded"]
    (submit,) = house.submits_of(house.word)
    assert len(house.saved_for(submit["prompt_id"])) == 1
    rests(house)


@pytest.mark.parametrize("point", ["run.claimed", "running.recorded"])
async def test_a_film_goes_on_while_the_server_is_dead(house: WorkerHouse, point: str) -> None:
    path, body = FILM
    first = await house.serve(point)
    status, _ = await first.post(path, {**body, "prompt": f"{house.word} @work=1"})
    assert status in (0, 202)
    await until(lambda: not first.alive, f"the server to die at {point}")
    await house.serve()
    assert await house.ended() == ["succeeded"]
    assert len(house.submits_of(house.word)) == 1
    rests(house)


async def test_a_job_is_lost_with_its_worker_while_the_server_is_dead_and_done_again(house: WorkerHouse) -> None:
    path, body = FILM
    first = await house.serve("running.recorded")
    await first.post(path, {**body, "prompt": f"{house.word} @work=3"})
    await until(lambda: not first.alive, "the server to die")
    order = {"do": ["restart"]}
    httpx2.post(f"{house.worker.url}/__control__", json=order).raise_for_status()
    await house.serve()
    assert await house.ended() == ["succeeded"]
    assert len(house.submits_of(house.word)) == 2
    assert house.read("SELECT state FROM submission ORDER BY attempt") == [("failed",), ("done",)]
    rests(house)


@pytest.fixture
def shared_house(
    tmp_path: Path, request: pytest.FixtureRequest, worker: ComfyUI, worker_nursery: WorkerNursery
) -> Iterator[WorkerHouse]:
    """Return an installation on PostgreSQL whose servers share a media folder."""
    (tmp_path / "media").mkdir()
    for name in ("data", "other"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "media").symlink_to(tmp_path / "media")
    with (
        postgres_house(request, tmp_path) as plain,
        contextlib.closing(WorkerHouse(plain.url, tmp_path, plain.key, worker_nursery, worker)) as one,
    ):
        yield one


async def test_two_servers_together_keep_to_a_workers_places(shared_house: WorkerHouse, worker: ComfyUI) -> None:
    path, body = FILM
    servers = [await shared_house.serve(), await shared_house.serve(data="other")]
    for n in range(8):
        prompt = f"{shared_house.word} {n} @work=0.3"
        assert (await servers[n % 2].post(path, {**body, "prompt": prompt}))[0] == 202
    depths: set[int] = set()

    def over() -> bool:
        depths.add(len(worker.life.queue) + (worker.life.running is not None))
        return all(row[1] in ("succeeded", "failed", "canceled") for row in shared_house.jobs())

    await until(over, "every job to end")
    assert [row[1] for row in shared_house.jobs()] == ["succeeded"] * 8
    assert len(shared_house.submits_of(shared_house.word)) == 8
    assert max(depths) == 2
    rests(shared_house)
