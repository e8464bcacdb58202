"""An owner paused past its lease: another server takes its jobs over, and what it writes when it wakes is refused."""

import pytest

from crash.house import House, until

pytestmark = pytest.mark.crash

VIDEOS, IMAGES = "/v1/videos/generations", "/v1/images/generations"


@pytest.mark.parametrize(
    ("point", "model", "end"),
    [
        ("submit.recorded", "test/film-none", "failed"),
        ("submit.answered", "test/film-none", "failed"),
        ("submit.answered", "test/film-key", "succeeded"),
        ("submit.answered", "test/film-lookup", "succeeded"),
        pytest.param("running.before_commit", "test/film-none", "failed", marks=pytest.mark.full),
        ("store.written", "test/film-none", "succeeded"),
        ("finish.before_commit", "test/film-none", "succeeded"),
        ("submit.answered", "test/picture", "failed"),
    ],
)
async def test_what_a_paused_owner_writes_after_its_lease_is_refused(
    shared: House, point: str, model: str, end: str
) -> None:
    first = await shared.start(f"stop:{point}")
    body = {"model": model, "prompt": f"{shared.word} @work=0.1"}
    path = VIDEOS if "film" in model else IMAGES
    if path == VIDEOS:
        status, _ = await first.post(path, body)
        assert status == 202
    else:
        await first.post_and_leave(path, body)
    await until(lambda: first.stopped, f"the server to stop at {point}")

    second = await shared.start(data="other")
    assert await shared.ended() == [end]
    shared.check()
    settled = shared.read("SELECT lease_n, events, state, finished_at_ms FROM job")
    captures = shared.read("SELECT COUNT(*) FROM journal WHERE kind = 'capture'")

    first.go_on()
    await until(first.answers, "the paused server to answer again")
    # a job it accepts and ends now proves that whatever it still had to write was tried before
    status, answer = await first.post(IMAGES, {"model": "test/picture", "prompt": f"afterwards {shared.word[5:]}"})
    assert status == 200, answer
    assert shared.read("SELECT lease_n, events, state, finished_at_ms FROM job ORDER BY id LIMIT 1") == settled
    assert len(shared.emulator.works_of(shared.word)) <= 1, "the work was ordered twice"
    assert shared.read("SELECT COUNT(*) FROM journal WHERE kind = 'capture'")[0][0] == captures[0][0] + 1
    assert second.alive
    shared.check()


async def test_a_job_is_run_once_by_two_servers_that_both_look_for_it(shared: House) -> None:
    first = await shared.start()
    second = await shared.start(data="other")
    for n in range(12):
        server = (first, second)[n % 2]
        status, _ = await server.post(VIDEOS, {"model": "test/film-none", "prompt": f"{shared.word} {n} @work=0.1"})
        assert status == 202
    assert await shared.ended() == ["succeeded"] * 12
    assert len(shared.emulator.submits_of(shared.word)) == 12
    shared.check()


async def test_a_request_cut_off_by_a_death_is_joined_within_a_minute_without_saying_that_it_is_a_retry(
    shared: House,
) -> None:
    first = await shared.start("accept.committed")
    body = {"model": "test/film-none", "prompt": f"{shared.word} @work=0.1"}
    assert await first.post(VIDEOS, body) == (0, None)
    await until(lambda: not first.alive, "the server to die")
    second = await shared.start()
    status, answer = await second.post(VIDEOS, body)
    assert status == 202
    assert answer["job"] == shared.jobs()[0][0]
    assert await shared.ended() == ["succeeded"]
    shared.check()
