"""Which answers may be used again: those that can still be read, in a bounded memory."""

import asyncio
from typing import Any

import pytest

from calotype.catalog.prices import Quote
from calotype.dialects.effort import Effort
from calotype.dialects.kept import KeptAnswers, name_of
from calotype.jobs.types import JobPlan, JobRow, JobView, Result
from calotype.kernel.clock import ManualClock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Context, DataClass, KeyClass, Operation, Principal, Region
from calotype.kernel.ids import JobId, KeyId, OrgId
from calotype.kernel.job import JobState
from calotype.media.artifacts import Artifact

ORG = OrgId("org")
NOW_MS = 1_000_000
LATER_MS = NOW_MS + 3_600_000


class Shelf:
    """Where views are read again."""

    def __init__(self, *views: JobView) -> None:
        self.views = {view.id: view for view in views}

    async def get(self, job_id: JobId, org_id: OrgId) -> JobView:
        assert org_id == ORG
        if job_id not in self.views:
            raise Problem(Code.JOB_NOT_FOUND, "There is no such job.")
        return self.views[job_id]


def view_of(name: str = "one", *, output: str = "text", inline: bool = True, **changes: Any) -> JobView:
    files = changes.pop("files", ())
    facts: dict[str, Any] = dict.fromkeys(JobRow.__struct_fields__)
    quote = Quote("m", "request", 9, 1, 1, 0, ())
    plan = JobPlan((), quote, output=output, wants={"inline": True} if inline else {})
    facts |= {"id": JobId(name), "org_id": ORG, "state": JobState.SUCCEEDED, "operation": Operation.CHAT, "plan": plan}
    facts |= {"result": Result(), "quote_micro": 9, "charged_micro": 7, "region": Region.WORLD}
    return JobView(JobRow(**{**facts, **changes}), files)


def file(*, stored: bool = True, expires_at_ms: int = LATER_MS) -> Artifact:
    return Artifact(0, "key" if stored else "", stored, "image/png", "0.png", expires_at_ms)


def kept(view: JobView) -> JobView | None:
    answers = KeptAnswers(Shelf(view), ManualClock(NOW_MS))  # type: ignore[arg-type]  # only `get` is asked for
    answers.keep("name", view, 60)
    return asyncio.run(answers.find("name", ORG))


@pytest.mark.parametrize(
    ("view", "there"),
    [
        (view_of(), True), (view_of(result=None), False), (view_of(result=Result(forgotten=True)), False),
        (view_of(state=JobState.FAILED), False), (view_of(output="image"), False),
        (view_of(output="image", files=(file(),)), True),
        (view_of(output="image", files=(file(stored=False),)), False),
        (view_of(output="image", inline=False, files=(file(stored=False),)), True),
        (view_of(output="image", inline=False, files=(file(stored=False, expires_at_ms=NOW_MS),)), False),
    ],
)  # fmt: skip
def test_what_cannot_be_read_again_is_not_used_again(view: JobView, there: bool) -> None:
    assert (kept(view) is not None) is there


def test_an_answer_from_before_costs_nothing_and_its_job_stays_as_it_was() -> None:
    view = view_of()
    again = kept(view)
    assert again is not None and (again.job.quote_micro, again.job.charged_micro) == (0, 0)
    assert (view.job.quote_micro, view.job.charged_micro) == (9, 7)


def test_time_and_number_are_bounded() -> None:
    clock, views = ManualClock(NOW_MS), [view_of(name) for name in ("one", "two", "three")]
    answers = KeptAnswers(Shelf(*views), clock, most=2)  # type: ignore[arg-type]  # only `get` is asked for
    for view in views:
        answers.keep(view.id, view, 60)
    found = [asyncio.run(answers.find(view.id, ORG)) for view in views]
    assert [one is not None for one in found] == [False, True, True]
    clock.advance(60_000)
    assert asyncio.run(answers.find("two", ORG)) is None


def test_names_differ_where_the_answer_may() -> None:
    principal = Principal(ORG, KeyId("key"), KeyClass.PAID)
    context, wish = Context(principal, "openai", fingerprint="body"), Effort(cache_ttl_s=9)
    names = {
        name_of(context, wish), name_of(context, Effort(cache_ttl_s=9, fallback=("other",))),
        name_of(Context(principal, "openai", fingerprint="body", region=Region.EU), wish),
        name_of(Context(principal, "openai", fingerprint="another"), wish),
    }  # fmt: skip
    assert len(names) == 4 and None not in names
    assert name_of(context, Effort()) is None
    assert name_of(Context(principal, "openai", fingerprint="body", data_class=DataClass.PHI), wish) is None
