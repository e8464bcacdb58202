"""The emulated MiniMax by plain HTTP: status 200 with the real one inside, and three steps to a film."""

from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

from calotype.sandbox.minimax import MiniMax
from calotype.sandbox.serve import on_a_thread

KEY = {"authorization": "Bearer minimax-sandbox"}


@pytest.fixture(scope="module")
def _minimax() -> Iterator[MiniMax]:
    emulator = MiniMax()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture
def minimax(_minimax: MiniMax) -> MiniMax:
    _minimax.reset()
    return _minimax


def submit(minimax: MiniMax, headers: dict[str, str] | None = None, **fields: Any) -> dict[str, Any]:
    body = {"model": "MiniMax-Hailuo-2.3", "prompt": "a calm sea @seconds=1", **fields}
    answer = httpx2.post(f"{minimax.url}/v1/video_generation", json=body, headers=headers or KEY)
    assert answer.status_code == 200
    return answer.json()  # type: ignore[no-any-return]


def get(minimax: MiniMax, path: str, **query: str) -> dict[str, Any]:
    return httpx2.get(f"{minimax.url}/v1/{path}", params=query, headers=KEY).json()  # type: ignore[no-any-return]


def test_a_film_takes_three_steps(minimax: MiniMax) -> None:
    ident = submit(minimax)["task_id"]
    assert get(minimax, "query/video_generation", task_id=ident)["status"] == "Queueing"
    done = get(minimax, "query/video_generation", task_id=ident)
    assert (done["status"], done["base_resp"]["status_code"]) == ("Success", 0)
    url = get(minimax, "files/retrieve", file_id=done["file_id"])["file"]["download_url"]
    assert httpx2.get(url).content[4:8] == b"ftyp"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"model": "sora-2"}, 2013),
        ({"prompt": ""}, 2013),
        ({"duration": 10, "resolution": "1080P"}, 2013),
        ({"prompt": "x" * 2001}, 2013),
        ({"prompt": "@code=1026"}, 1026),
        ({"prompt": "", "first_frame_image": "https://example.com/a.png"}, 0),
    ],
)
def test_a_body_is_refused_inside_a_good_answer(minimax: MiniMax, fields: dict[str, Any], code: int) -> None:
    assert submit(minimax, **fields)["base_resp"]["status_code"] == code
    assert len(minimax.tasks) == (code == 0)


def test_keys_are_refused_and_unknown_tasks_are_invalid(minimax: MiniMax) -> None:
    for key, code in (("", 1004), ("unknown", 2049), ("empty", 1008)):
        said = submit(minimax, headers={"authorization": f"Bearer {key}"} if key else {"x": "y"})
        assert said["base_resp"]["status_code"] == code
    assert get(minimax, "query/video_generation", task_id="0")["base_resp"]["status_code"] == 2013


def test_the_environment_leads_here(minimax: MiniMax) -> None:
    assert minimax.environment() == {"MINIMAX_API_KEY": "minimax-sandbox", "MINIMAX_BASE_URL": minimax.url}
