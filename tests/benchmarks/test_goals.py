"""Goals are judged on what a run measured, and on nothing else."""

from benchmarks.goals import GOALS, Medians, judge
from benchmarks.report import goals
from benchmarks.scenes import SCENES, STREAMS, WAITING
from benchmarks.targets import NAMES


def verdicts(medians: Medians) -> dict[str, bool]:
    return {verdict.goal.what: verdict.met for verdict in judge(medians)}


def test_each_goal_names_a_target_a_scene_and_a_peer_that_exist() -> None:
    scenes = {scene.name for scene in SCENES} | {WAITING, STREAMS}
    for goal in GOALS:
        places = [(goal.target, goal.scene), *(place for place in (goal.over, goal.minus) if place)]
        assert {target for target, _ in places} <= set(NAMES)
        assert {scene for _, scene in places} <= scenes


def test_a_ratio_is_judged_only_when_the_other_ran() -> None:
    alone: Medians = {"calotype": {"image32": {"rps": 2600.0, "bad": 0}}}
    assert verdicts(alone) == {
        "image, durable accept and settle": True,
        "errors and answers other than 2xx, every scene": True,
    }
    beside: Medians = {**alone, "litellm": {"image32": {"rps": 200.0}}}
    assert verdicts(beside)["the same, of LiteLLM"] is False


def test_added_latency_is_what_the_upstream_does_not_take() -> None:
    medians: Medians = {"calotype": {"image1": {"p50_ms": 2.03}}, "upstream": {"image1": {"p50_ms": 0.05}}}
    assert verdicts(medians)["added latency, p50, one connection"]


def test_one_error_anywhere_is_a_miss_and_is_shown() -> None:
    found = judge({"calotype-pg": {"image32": {"rps": 1.0, "bad": 1}}})
    assert [verdict.met for verdict in found] == [False]
    assert "MISSED" in goals(found)
