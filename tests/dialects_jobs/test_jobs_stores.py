"""The reads of this dialect on both stores: credits and their history, histories of services, the tools' line."""

from decimal import Decimal
from pathlib import Path

import pytest
from jobs_kit import SHORT_FILM, Emulated, JobsUser, serving


@pytest.mark.usefixtures("store")
def test_the_reads_say_the_same_on_every_store(
    _emulated: Emulated, upstreams: Emulated, database_url: str, tmp_path: Path
) -> None:
    for house in serving(_emulated, tmp_path, database_url=database_url):
        user = JobsUser(house.account(micro=3_000_000))
        done = user.made("/text-to-image/generate", prompt="a cat")
        user.ended("/text-to-image/status", done)
        failed = user.made("/veo31-video/create", prompt="waves @moderated")
        user.ended("/veo31-video/status", failed)
        late = user.made("/seedream/create", prompt="a cat @polls=1000000")
        user.begun(late)
        free = user.made("/media/extract-last-frame", video_url=SHORT_FILM)
        user.ended("/media/status", free)
        lines = user.decimal("/user/credits/history")["transactions"]
        assert [(one["type"], one["amount"], one["balance_after"], one["job_id"]) for one in lines] == [
            ("refund", 15, 99, failed), ("debit", 15, 84, failed), ("debit", 1, 99, done), ("topup", 100, 100, None),
        ]  # fmt: skip
        assert [user.decimal("/user/credits/history", limit=n)["transactions"] for n in (1, 2)] == [
            lines[:1], lines[:2],
        ]  # fmt: skip
        assert user.balance == Decimal(99)
        upstreams.finish()
        user.ended("/seedream/status", late)
        assert user.balance == Decimal("97.5")
        assert [one["job_id"] for one in user.get("/text-to-image/history").json()["items"]] == [done]
        assert user.get("/media/queue/stats").json() == {"queued": 0, "running": 0}
