"""Several requests at once: those that cost money are recorded first, and each is answered for itself."""

from collections.abc import Generator
from typing import Any

import pytest

from calotype.http import Upstream
from calotype.kernel.steps import HttpRequest, HttpResponse, MaybeSent, NotSent, Parallel, Step
from calotype.providers.driver import drive


class Scripted(Upstream):
    """An upstream that answers by the path of the URL."""

    def __init__(self) -> None:
        super().__init__("scripted")
        self.seen: list[str] = []

    async def perform(self, request: HttpRequest) -> HttpResponse:
        word = request.url.rpartition("/")[2]
        self.seen.append(word)
        if word == "down":
            raise NotSent("not sent")
        if word == "lost":
            raise MaybeSent("no answer")
        return HttpResponse(200, body=word.encode())


def conversation(*words: str, commits: bool = False, each: bool = False) -> Generator[Step, Any, Any]:
    requests = tuple(HttpRequest("POST", f"http://x/{word}", commits=commits) for word in words)
    answers = yield Parallel(requests, each=each)
    return answers


async def test_each_is_answered_for_itself_and_the_submission_is_recorded_before_the_first_leaves() -> None:
    upstream = Scripted()
    recorded: list[list[str]] = []

    async def on_commit() -> None:
        recorded.append(list(upstream.seen))

    talk = conversation("a", "down", "lost", commits=True, each=True)
    first, down, lost = await drive(talk, upstream, on_commit)
    assert recorded == [[]]
    assert (first.body, type(down), type(lost)) == (b"a", NotSent, MaybeSent)


async def test_without_each_the_first_failure_is_thrown_and_none_may_commit() -> None:
    with pytest.raises(MaybeSent):
        await drive(conversation("a", "lost"), Scripted())
    with pytest.raises(RuntimeError, match="each"):
        await drive(conversation("a", commits=True), Scripted())
