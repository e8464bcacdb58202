"""`kill -9` at every named point: the server dies there, starts again on the same data, and everything adds up.

The table is that of the design: what a job comes to when its process dies at the point, and how many times its
upstream was asked for paid work.
"""

import pytest
from msgspec import Struct

from crash.house import House, until

pytestmark = pytest.mark.crash

IMAGES, VIDEOS = "/v1/images/generations", "/v1/videos/generations"


class Case(Struct, frozen=True):
    """A death and what comes of it: the end of the job (None: there is none), the paid requests, the work billed."""

    point: str
    end: str | None
    submits: int
    works: int
    model: str
    wish: str = ""

    @property
    def path(self) -> str:
        return VIDEOS if "film" in self.model else IMAGES


def cases(model: str, wish: str, *rows: tuple[str, str | None, int, int]) -> list[Case]:
    return [Case(point, end, submits, works, model, wish) for point, end, submits, works in rows]


LOST, DONE = "failed", "succeeded"

SYNC = cases(
    "test/picture",
    "@slowfile=0.3",
    ("accept.before_commit", None, 0, 0),
    ("accept.committed", LOST, 0, 0),  # the submission is written with the job: whether it was sent nobody knows
    ("submit.recorded", LOST, 0, 0),
    ("submit.sent", LOST, 1, 1),
    ("submit.answered", LOST, 1, 1),
    ("running.before_commit", LOST, 1, 1),  # the answer was about to be written down
    ("running.committed", DONE, 1, 1),
    ("store.partial", DONE, 1, 1),
    ("store.written", DONE, 1, 1),
    ("store.recorded", DONE, 1, 1),
    ("finish.before_commit", DONE, 1, 1),
    ("finish.committed", DONE, 1, 1),
    ("answer.ended", DONE, 1, 1),
)
SYNC_KEYED = cases(
    "test/picture-key",
    "@slowfile=0.3",
    ("accept.committed", DONE, 1, 1),
    ("submit.recorded", DONE, 1, 1),
    ("submit.sent", DONE, 2, 1),
    ("submit.answered", DONE, 2, 1),
    ("running.before_commit", DONE, 2, 1),
)
SYNC_BYTES = cases(
    "test/picture",
    "@b64=1",
    ("store.written", LOST, 1, 1),  # the picture was only in memory
    ("finish.before_commit", LOST, 1, 1),
    ("finish.committed", DONE, 1, 1),
)
QUEUED = cases(
    "test/film-none",
    "@work=0.1",
    ("accept.before_commit", None, 0, 0),
    ("accept.committed", DONE, 1, 1),
    ("run.claimed", DONE, 1, 1),
    ("submit.recorded", LOST, 0, 0),
    ("submit.sent", LOST, 1, 1),
    ("submit.answered", LOST, 1, 1),
    ("running.before_commit", LOST, 1, 1),
    ("running.committed", DONE, 1, 1),
    ("running.recorded", DONE, 1, 1),
    ("store.partial", DONE, 1, 1),
    ("store.written", DONE, 1, 1),
    ("store.recorded", DONE, 1, 1),
    ("finish.before_commit", DONE, 1, 1),
    ("finish.committed", DONE, 1, 1),
    ("answer.ended", DONE, 1, 1),
)
QUEUED_KEYED = cases(
    "test/film-key",
    "@work=0.1",
    ("submit.recorded", DONE, 1, 1),
    ("submit.sent", DONE, 2, 1),
    ("submit.answered", DONE, 2, 1),
    ("running.before_commit", DONE, 2, 1),
)
QUEUED_FOUND = cases(
    "test/film-lookup",
    "@work=0.1",
    ("submit.recorded", LOST, 0, 0),  # looked for during the grace, and not there
    ("submit.sent", DONE, 1, 1),
    ("submit.answered", DONE, 1, 1),
    ("running.before_commit", DONE, 1, 1),
)


def named(case: Case) -> str:
    return f"{case.model.removeprefix('test/')}-{case.point}{'-bytes' if 'b64' in case.wish else ''}"


@pytest.mark.parametrize("case", [*SYNC, *SYNC_KEYED, *SYNC_BYTES, *QUEUED, *QUEUED_KEYED, *QUEUED_FOUND], ids=named)
async def test_a_job_ends_once_whenever_its_process_dies(house: House, case: Case) -> None:
    keyed = "film" in case.model  # films are sent with an Idempotency-Key, pictures are known by their fingerprint
    delay = " @delay=0.8" if case.point == "submit.sent" else ""
    body = {"model": case.model, "prompt": f"{house.word} {case.wish}{delay} @first=1"}
    headers = {"Idempotency-Key": house.word} if keyed else {}
    first = await house.start(case.point)
    status, _ = await first.post(case.path, body, headers)
    await until(lambda: not first.alive, f"the server to die at {case.point}")
    assert status in ((0, 202) if case.path == VIDEOS else (0, 200))

    second = await house.start()
    assert await house.ended() == ([] if case.end is None else [case.end])
    assert len(house.emulator.submits_of(house.word)) == case.submits
    assert len(house.emulator.works_of(house.word)) == case.works
    assert len({submit.key for submit in house.emulator.submits_of(house.word)}) <= 1
    house.check()

    await _a_request_sent_again_belongs_to_its_job(house, second, case, body, headers)


async def _a_request_sent_again_belongs_to_its_job(house: House, server, case: Case, body, headers) -> None:
    """A key always joins; a fingerprint joins unless the job came to nothing, and then one new job is made."""
    works = len(house.emulator.works_of(house.word))
    known = [row[0] for row in house.jobs()]
    again = headers or {"x-stainless-retry-count": "1"}
    status, answer = await server.post(case.path, body, again)
    joins = case.end == DONE or (case.end is not None and bool(headers))
    if joins:
        assert answer["job"] == known[0]
        assert [row[0] for row in house.jobs()] == known
        assert len(house.emulator.works_of(house.word)) == works
    else:
        assert answer["job"] not in known
        assert (await house.ended())[-1] == DONE
        assert len(house.jobs()) == len(known) + 1
        assert len(house.emulator.works_of(house.word)) == works + 1
    if case.path == IMAGES:
        assert status == 200
        code, picture = await server.get(answer["body"]["data"][0]["url"])
        assert (code, picture[:4]) == (200, b"\x89PNG")
    house.check()


@pytest.mark.parametrize(
    ("point", "submits"), [("submit.answered", 1), ("finish.before_commit", 1), ("finish.committed", 1)]
)
async def test_a_phi_result_that_its_server_took_with_it_costs_nothing_and_is_made_again_when_asked(
    house: House, point: str, submits: int
) -> None:
    agreed = {
        "CALOTYPE_PROVIDERS__SYNC__PHI__REFERENCE": "tests", "CALOTYPE_PROVIDERS__SYNC__PHI__EXPIRES": "2999-01-01",
    }  # fmt: skip
    body = {"model": "test/picture", "prompt": f"{house.word} @b64=1", "response_format": "b64_json"}
    headers = {"X-PHI": "true", "Idempotency-Key": house.word}
    first = await house.start(point, env=agreed)
    assert await first.post(IMAGES, body, headers) == (0, None)
    await until(lambda: not first.alive, f"the server to die at {point}")

    second = await house.start(env=agreed)
    assert await house.ended() == [LOST]
    assert len(house.emulator.submits_of(house.word)) == submits
    house.check()

    told = {"X-PHI": "true", "Idempotency-Key": house.word if point == "finish.committed" else f"{house.word}-2"}
    status, answer = await second.post(IMAGES, body, told)
    assert (status, answer["body"]["data"][0]["b64_json"][:5]) == (200, "iVBOR")
    assert await house.ended() == [LOST, DONE]
    assert len(house.emulator.submits_of(house.word)) == submits + 1
    house.check()
