"""The answer of a request that is not to be kept can be read for an hour, and then it is gone (`wire/fal.md §5.4`)."""

import httpx2
from platform_caller import Platform, rewrite

from calotype.jobs.forget import forget_due
from running import House

NOT_KEPT = {"x-fal-store-io": "0"}
HOUR_MS = 3_600_000


def swept(house: House) -> int:
    """Run the sweep as the server does every few minutes."""
    return int(house.ask(forget_due(house.app.db, house.app.clock)))


def test_the_answer_goes_an_hour_after_the_end_and_only_where_the_caller_said_so(
    house: House, platform: Platform
) -> None:
    kept, gone = platform.made(json={"prompt": "kept"}), platform.made(json={"prompt": "gone"}, headers=NOT_KEPT)
    ((ended_ms, forget_ms),) = house.rows("SELECT finished_at_ms, forget_at_ms FROM job WHERE id = :id", id=gone)
    assert forget_ms - ended_ms == HOUR_MS
    assert house.rows("SELECT forget_at_ms FROM job WHERE id = :id", id=kept) == [(None,)]
    swept(house)
    url = platform.fal.result(gone).json()["images"][0]["url"]
    rewrite(house, "UPDATE job SET forget_at_ms = 1 WHERE id = :id", id=gone)
    assert swept(house) == 1 and swept(house) == 0
    answer = platform.fal.result(gone)
    assert answer.status_code == 410 and "not kept" in answer.json()["detail"]
    assert platform.fal.status(gone).json()["status"] == "COMPLETED"
    assert platform.fal.result(kept).status_code == 200
    ((data,),) = house.rows("SELECT COALESCE(input, '') || result FROM job WHERE id = :id", id=gone)
    assert data == '{"forgotten":true}'
    assert httpx2.get(url).status_code == 200, "files stay as long as the lifecycle says"
    assert platform.account.spent_micro == 80_000


def test_a_webhook_that_is_late_says_that_there_is_nothing_left(house: House, platform: Platform) -> None:
    from calotype.dialects.fal.hooks import announcement

    ident = platform.made(headers=NOT_KEPT)
    rewrite(house, "UPDATE job SET forget_at_ms = 1 WHERE id = :id", id=ident)
    swept(house)
    view = house.ask(house.app.engine.get(ident, platform.account.org.id))
    told = announcement(view, lambda _: "")
    assert told["status"] == "OK" and told["payload"] is None and "not kept" in told["payload_error"]
