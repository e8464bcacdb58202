"""Claiming: fair between organisations, within the providers' caps, and fenced by the lease."""

from calotype.jobs.claim import Claim
from jobs.kit import Fake, card


def claim(h, limit=64, *, caps=None, after="", instance="one") -> Claim:
    now_ms = h.clock.now_ms()
    return Claim(instance=instance, now_ms=now_ms, lease_ms=1000, limit=limit, caps=caps or {}, after=after)


async def test_each_organisation_gets_two_picks_before_the_oldest_get_the_rest(home) -> None:
    async with home(Fake(), works=False) as h:
        other, key = await h.tenant("other")
        mine = [await h.send(f"{n}") for n in range(8)]
        theirs = [await h.send(f"{n}", org=other, key=key) for n in range(3)]
        claimed = await h.app.db.submit(claim(h, 6))
        assert {job.id for job in claimed.jobs} == {*mine[:4], *theirs[:2]}


async def test_priority_goes_before_age_within_an_organisation(home) -> None:
    async with home(Fake(), works=False) as h:
        await h.send("old")
        urgent = await h.send("urgent", priority=5)
        claimed = await h.app.db.submit(claim(h, 1))
        assert [job.id for job in claimed.jobs] == [urgent]


async def test_a_thousand_queued_jobs_of_one_tenant_do_not_keep_another_waiting(home) -> None:
    async with home(Fake(), works=False) as h:
        rich, rich_key = await h.tenant("rich", 100_000_000)
        quiet, quiet_key = await h.tenant("quiet")
        for n in range(1000):
            await h.send(f"{n}", org=rich, key=rich_key)
        for n in range(3):
            await h.send(f"{n}", org=quiet, key=quiet_key)
        after, served = "", []
        for _ in range(6):  # one slot becomes free at a time
            claimed = await h.app.db.submit(claim(h, 1, after=after))
            after = claimed.after
            served += [job.org_id for job in claimed.jobs]
        assert served.count(quiet.id) == 3


async def test_a_provider_never_has_more_started_jobs_than_its_cap(home) -> None:
    fakes = Fake("a"), Fake("b")
    async with home(*fakes, cards=card("m", "a") + card("k", "b"), works=False) as h:
        for n in range(5):
            await h.send(f"{n}")
        free = await h.send("free", model="k")
        claimed = await h.app.db.submit(claim(h, caps={"a": 2}))
        assert sorted(job.provider for job in claimed.jobs) == ["a", "a", "b"]
        assert free in {job.id for job in claimed.jobs}
        await h.app.db.write(lambda tx: [tx.execute(_started(job.id)) for job in claimed.jobs])
        assert (await h.app.db.submit(claim(h, caps={"a": 2}))).jobs == ()


async def test_a_claimed_job_is_due_again_only_when_its_lease_has_ended(home) -> None:
    async with home(Fake(), works=False) as h:
        job_id = await h.send()
        first = await h.app.db.submit(claim(h))
        assert (await h.app.db.submit(claim(h, instance="two"))).jobs == ()
        h.clock.ahead_ms += 1001
        second = await h.app.db.submit(claim(h, instance="two"))
        assert [job.id for job in second.jobs] == [job_id]
        assert second.jobs[0].lease_n == first.jobs[0].lease_n + 1


def _started(job_id):
    from calotype.db import Sql

    return Sql(f"UPDATE job SET state = 'running' WHERE id = '{job_id}'")


async def test_a_cap_holds_while_many_jobs_run(home) -> None:
    import asyncio

    now = {"busy": 0, "most": 0}

    async def work(call):
        now["busy"] += 1
        now["most"] = max(now["most"], now["busy"])
        await asyncio.sleep(0.02)
        now["busy"] -= 1
        from jobs.kit import DONE

        return DONE

    async with home(Fake(submit=work, max_in_progress=3)) as h:
        ids = [await h.send(f"{n}") for n in range(12)]
        for job_id in ids:
            assert (await h.ended(job_id)).state.value == "succeeded"
        assert now["most"] == 3
        await h.check()
