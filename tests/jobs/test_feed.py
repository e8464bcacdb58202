"""What waits for a listener who is slow: never more pieces than a bound, and of pictures only the newest."""

from calotype.jobs.feed import MAX_WAITING, Feed, Listener
from calotype.kernel.ids import new_job_id
from calotype.kernel.outcome import Delta

PROGRESS = [Delta("progress", {"fraction": n / 3000}) for n in range(3000)]
PREVIEWS = [Delta("preview", body=b"%d" % n, content_type="image/png") for n in range(3000)]


def listening() -> tuple[Feed, Listener]:
    feed, job_id = Feed(), new_job_id()
    return feed, feed.listen(job_id)


async def heard(listener: Listener) -> list[Delta]:
    listener.close()
    return [delta async for delta in listener]


async def test_previews_and_progress_in_turn_leave_the_newest_of_each() -> None:
    _, listener = listening()
    for progress, preview in zip(PROGRESS, PREVIEWS, strict=True):
        listener.put(progress)
        listener.put(preview)
    assert await heard(listener) == [PROGRESS[-1], PREVIEWS[-1]]


async def test_a_listener_who_keeps_up_gets_every_preview() -> None:
    _, listener = listening()
    pieces = aiter(listener)
    for progress, preview in zip(PROGRESS[:5], PREVIEWS[:5], strict=True):
        listener.put(progress)
        listener.put(preview)
        assert [await anext(pieces), await anext(pieces)] == [progress, preview]


async def test_progress_between_the_words_of_a_text_lets_no_more_than_the_bound_wait() -> None:
    _, listener = listening()
    for n in range(3 * MAX_WAITING):
        listener.put(Delta("chat", {"content": f"{n} "}))
        listener.put(PROGRESS[n % len(PROGRESS)])
    pieces = await heard(listener)
    assert len(pieces) <= MAX_WAITING + 1
    text = "".join(piece.data["content"] for piece in pieces if piece.kind == "chat")
    assert text.split() == [str(n) for n in range(3 * MAX_WAITING)]
