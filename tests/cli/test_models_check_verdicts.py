"""How a run is judged: each promise of a card that is not kept is a failure that says which."""

from typing import Any

import pytest
from msgspec.structs import replace

from calotype.catalog import Catalog, quote
from calotype.cli.checking.cases import SAMPLES, Case, cases_of, catalog_for, hosted, input_for
from calotype.cli.checking.verdicts import judged, looked_at
from calotype.jobs.types import FrozenRoute, JobPlan, JobRow, JobView, Result
from calotype.kernel.generation import KeyClass, Operation
from calotype.kernel.job import JobState
from calotype.kernel.outcome import Delta
from calotype.media.artifacts import Artifact

CATALOG = Catalog.load()
PRICING = CATALOG.pricing
PICTURE = Artifact(0, "k", True, "image/png", "0.png", 0, size_bytes=9)


def case_of(model: str, provider: str = "fal") -> Case:
    return next(case for case in cases_of([CATALOG.find(model)]) if case.route.provider == provider)


def ended(case: Case, *artifacts: Artifact, **changes: Any) -> JobView:
    """Return a job of the case that went as it should, but for what is changed."""
    made = quote(case.only, case.route, case.only.check(case.fields).input, PRICING)
    plan = JobPlan((FrozenRoute(case.route.provider, case.route.upstream),), made, output=case.only.output)
    row = JobRow(**dict.fromkeys(JobRow.__struct_fields__))
    usual = {
        "id": "j", "state": JobState.SUCCEEDED, "operation": case.operation, "model": case.only.id, "plan": plan,
        "provider": case.route.provider, "route": 0, "attempt": 1, "result": Result(), "quote_micro": made.hold_micro,
        "charged_micro": made.hold_micro,
    }  # fmt: skip
    for name, value in (usual | changes).items():
        setattr(row, name, value)
    return JobView(row, artifacts)


def why(case: Case, view: JobView, *pieces: Delta) -> str:
    return judged(case, view, PRICING, seconds=0.1, pieces=pieces).why


def test_what_is_as_promised_is_in_order() -> None:
    case = case_of("krea-2")
    found = judged(case, ended(case, PICTURE), PRICING, seconds=0.1)
    assert (found.state, found.why, found.card, found.charged_micro) == ("ok", "", "krea-2", 33_000)


@pytest.mark.parametrize(
    ("artifacts", "changes", "said"),
    [
        ((), {}, "0 files came instead of 1"),
        ((PICTURE, replace(PICTURE, n=1)), {}, "2 files came instead of 1"),
        ((replace(PICTURE, content_type="text/html"),), {}, "a file is text/html, no image"),
        ((replace(PICTURE, stored=False),), {}, "a file was not stored"),
        ((PICTURE,), {"charged_micro": 1}, "0.000001 USD was charged, but 0.033 USD is due"),
        ((PICTURE,), {"quote_micro": 32_999}, "0.032999 USD was held, but the quote is 0.033 USD"),
        ((PICTURE,), {"attempt": 2}, "it took 2 attempts"),
        ((), {"state": JobState.FAILED, "error": {"code": "upstream_failed", "message": "It broke."}},
         "upstream_failed: It broke."),
    ],
)  # fmt: skip
def test_what_is_not_is_said(artifacts: tuple[Artifact, ...], changes: dict[str, Any], said: str) -> None:
    case = case_of("krea-2")
    assert said in why(case, ended(case, *artifacts, **changes))


def test_an_answer_must_have_its_words_and_those_that_were_shown() -> None:
    case = case_of("glm-5.2", "together")
    result = Result({"choices": [{"message": {"content": "Hello"}}]}, {"input_tokens": 0, "output_tokens": 0})
    view = ended(case, result=result, charged_micro=0)
    assert why(case, view) == ""
    assert why(case, view, Delta("chat", {"content": "Hel"}), Delta("chat", {"content": "lo"})) == ""
    assert why(case, view, Delta("chat", {"content": "Hel"})) == "what was shown as it came is not the answer"
    assert "the answer has no choices" in why(case, ended(case, result=Result({"text": "Hello"})))


def test_each_route_and_operation_is_run_by_itself_and_prices_of_the_operator_hold() -> None:
    wan = CATALOG.find("wan")
    cases = cases_of([wan])
    assert len({case.only.id for case in cases}) == len(cases)
    assert {(case.route.provider, case.operation.value) for case in cases} == {
        (provider, operation) for provider in ("comfyui", "fal") for operation in ("text-to-video", "image-to-video")
    }
    assert {case.key_class for case in cases if case.route.provider == "comfyui"} == {KeyClass.TEST}
    dear = Catalog(CATALOG.cards(everything=True), replace(PRICING, overrides={"wan": 7}))
    assert all(catalog_for(dear, cases).pricing.overrides[case.only.id] == 7 for case in cases)


def test_an_operation_gets_the_files_it_is_about_and_no_others() -> None:
    wan, kontext = CATALOG.find("wan"), CATALOG.find("flux-kontext")
    assert "image_url" not in input_for(wan, Operation.TEXT_TO_VIDEO)
    assert input_for(wan, Operation.IMAGE_TO_VIDEO)["image_url"] == f"{SAMPLES}picture.png"
    assert "image" in input_for(kontext, Operation.IMAGE_TO_IMAGE)
    assert "image" not in input_for(kontext, Operation.TEXT_TO_IMAGE)
    assert hosted({"a": [f"{SAMPLES}x.png"], "b": 1}, "http://h") == {"a": ["http://h/x.png"], "b": 1}


def test_files_that_are_elsewhere_are_not_asked_for() -> None:
    card = replace(CATALOG.find("wan"), example={"prompt": "x", "image_url": "https://pictures.example.org/a.webp"})
    assert input_for(card, Operation.IMAGE_TO_VIDEO)["image_url"] == f"{SAMPLES}picture.png"


def test_work_of_this_machine_is_kept_short() -> None:
    sketch = CATALOG.find("local/sketch-video")
    fields = input_for(sketch, Operation.TEXT_TO_VIDEO, brief=True)
    assert sketch.check(fields).input["seconds"] == 1


def test_a_card_without_a_route_is_a_failure() -> None:
    card = replace(CATALOG.find("krea-2"), routes=())
    assert looked_at(card, PRICING).why == "it has no route"
