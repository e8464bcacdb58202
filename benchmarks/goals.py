"""The figures we hold ourselves to, as data."""

from dataclasses import dataclass
from typing import Literal

Medians = dict[str, dict[str, dict[str, float]]]
"""Target → scene → metric → figure; the waiting scene is there as a scene of `calotype`."""


@dataclass(frozen=True)
class Goal:
    """A bound on one metric of one target in one scene.

    With `over`, the bound is on the ratio to (`over` = target, scene) in the same metric; with `minus` the other figure
    is taken off first. A goal whose other figure was not measured in the run is left out.
    """

    what: str
    target: str
    scene: str
    metric: str
    kind: Literal["at least", "at most"]
    bound: float
    unit: str = ""
    stretch: float | None = None
    over: tuple[str, str] | None = None
    minus: tuple[str, str] | None = None


GOALS = (
    Goal("image, durable accept and settle", "calotype", "image32", "rps", "at least", 2400, "req/s", 5000),
    Goal("the same, of LiteLLM", "calotype", "image32", "rps", "at least", 14, "times", over=("litellm", "image32")),
    Goal("the same, of Portkey", "calotype", "image32", "rps", "at least", 2.5, "times", over=("portkey", "image32")),
    Goal("image, downloaded and stored", "calotype-stored", "store32", "rps", "at least", 1500, "req/s", 3000),
    Goal("the same, of LiteLLM that stores nothing", "calotype-stored", "store32", "rps", "at least", 8, "times",
         over=("litellm", "image32")),
    Goal("added latency, p50, one connection", "calotype", "image1", "p50_ms", "at most", 2.0, "ms", 1.0,
         minus=("upstream", "image1")),
    Goal("1 MiB of base64, stored", "calotype-stored", "big4", "cpu_us", "at most", 2000, "µs CPU"),
    Goal("1 MiB of base64, passed on", "calotype", "big4", "cpu_us", "at most", 1100, "µs CPU"),
    Goal("400 held requests: cores", "calotype", "slow", "cores", "at most", 0.10, "cores"),
    Goal("400 held requests: memory", "calotype", "slow", "pss_mib", "at most", 100, "MiB"),
    Goal("status poll", "calotype", "poll", "rps", "at least", 5000, "req/s", 10_000),
    Goal("1,000 clients poll videos, p99", "calotype", "poll1000", "p99_ms", "at most", 500, "ms"),
    Goal("1,000 clients poll requests of fal's, p99", "calotype", "status1000", "p99_ms", "at most", 500, "ms"),
    Goal("2,000 open streams: change to event, p99", "calotype", "streams", "p99_ms", "at most", 200, "ms"),
    Goal("100,000 waiting jobs: memory", "calotype", "waiting", "pss_mib", "at most", 300, "MiB"),
    Goal("100,000 waiting jobs, nothing due", "calotype", "waiting", "idle_cores", "at most", 0.05, "cores"),
    Goal("1,000 polled again after SIGKILL", "calotype", "waiting", "thousand_s", "at most", 5.0, "s"),
)  # fmt: skip


@dataclass(frozen=True)
class Verdict:
    """A goal and what came out."""

    goal: Goal
    figure: float
    met: bool

    @property
    def stretched(self) -> bool:
        """Whether the figure is also within the stretch goal."""
        stretch = self.goal.stretch
        return stretch is not None and _within(self.goal, self.figure, stretch)


def judge(medians: Medians) -> list[Verdict]:
    """Hold the figures against the goals; what was not measured is left out."""
    verdicts = []
    for goal in GOALS:
        figure = _figure(medians, goal.target, goal.scene, goal.metric)
        for place, ratio in ((goal.over, True), (goal.minus, False)):
            if place is not None and figure is not None:
                other = _figure(medians, *place, goal.metric)
                figure = None if other is None else figure / max(other, 1e-9) if ratio else figure - other
        if figure is not None:
            verdicts.append(Verdict(goal, figure, _within(goal, figure, goal.bound)))
    errors = Goal("errors and answers other than 2xx, every scene", "calotype*", "every", "bad", "at most", 0)
    bad = [
        figures["bad"]
        for target, scenes in medians.items()
        if target.startswith("calotype")
        for figures in scenes.values()
        if "bad" in figures
    ]
    return [*verdicts, Verdict(errors, sum(bad), sum(bad) == 0)] if bad else verdicts


def _figure(medians: Medians, target: str, scene: str, metric: str) -> float | None:
    return medians.get(target, {}).get(scene, {}).get(metric)


def _within(goal: Goal, figure: float, bound: float) -> bool:
    return figure >= bound if goal.kind == "at least" else figure <= bound
