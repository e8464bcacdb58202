"""What a webhook of the OpenAI dialect says of jobs that have no object to poll, and of those that failed."""

from typing import Any

import pytest
from postroom import QUOTE

from calotype.dialects.openai.hooks import renderer
from calotype.dialects.openai.videos import video_object
from calotype.jobs.types import FrozenRoute, JobPlan, JobRow, JobView, Result
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass, Operation, Region
from calotype.kernel.ids import JobId, KeyId, OrgId
from calotype.kernel.job import JobState
from calotype.media.artifacts import Artifact

JOB_ID = "01900000-0000-7000-8000-000000000001"


def url_of(artifact: Artifact) -> str:
    return f"https://house.test/{artifact.name}"


render = renderer(lambda: url_of)


def view(operation: Operation, state: JobState, **more: Any) -> JobView:
    plan = JobPlan((FrozenRoute("local", "x"),), QUOTE, warnings=("seed is not used",), label="preview")
    artifacts = more.pop("artifacts", ())
    row = JobRow(
        JobId(JOB_ID), OrgId("org-a"), KeyId("key-1"), state, "openai", operation, "test/picture", DataClass.GENERAL,
        Region.WORLD, 0, plan, {"prompt": "a lake"}, "local", 0, 1, None, more.pop("result", None),
        more.pop("error", None), 100, False, None, 1, 0, 0, "https://example.com/hook", None, None, 0, 0,
        1_800_000_000_000, 1_800_000_001_000, 1_800_000_002_500,
    )  # fmt: skip
    return JobView(row, artifacts)


def picture(n: int) -> Artifact:
    return Artifact(n, f"k{n}", stored=True, content_type="image/png", name=f"{n}.png", expires_at_ms=0)


def test_a_picture_job_tells_its_urls_in_order_with_revised_prompts() -> None:
    shown = render(
        view(
            Operation.TEXT_TO_IMAGE, JobState.SUCCEEDED, artifacts=(picture(0), picture(1)),
            result=Result(texts=(None, "a calm lake")),
        )
    )  # fmt: skip
    assert shown == {
        "id": JOB_ID, "object": "image.generation", "model": "test/picture", "status": "completed",
        "created": 1_800_000_002,
        "data": [
            {"url": "https://house.test/0.png", "content_type": "image/png"},
            {"url": "https://house.test/1.png", "content_type": "image/png", "revised_prompt": "a calm lake"},
        ],
        "error": None, "label": "preview", "warnings": ("seed is not used",),
    }  # fmt: skip


@pytest.mark.parametrize(
    ("state", "code", "told"),
    [
        (JobState.FAILED, Code.UPSTREAM_FAILED, "upstream_failed"), (JobState.CANCELED, Code.CANCELED, "canceled"),
        (JobState.FAILED, Code.MODERATED, "moderation_blocked"),
    ],
)  # fmt: skip
def test_a_picture_job_that_failed_tells_why_and_has_no_data(state: JobState, code: Code, told: str) -> None:
    problem = Problem(code, "It did not work.", field="prompt")
    shown = render(view(Operation.TEXT_TO_IMAGE, state, error=problem.as_dict()))
    assert (shown["status"], shown["data"]) == ("failed", [])
    assert shown["error"] == {"code": told, "message": "It did not work.", "param": "prompt"}


@pytest.mark.parametrize("operation", [Operation.TEXT_TO_VIDEO, Operation.TALKING_AVATAR, Operation.LIP_SYNC])
def test_a_video_job_is_the_object_a_poll_answers(operation: Operation) -> None:
    ended = view(operation, JobState.SUCCEEDED, artifacts=(picture(0),))
    assert render(ended) == video_object(ended, url_of)


def test_other_operations_name_themselves() -> None:
    assert render(view(Operation.TEXT_TO_SPEECH, JobState.SUCCEEDED))["object"] == "text-to-speech.generation"
