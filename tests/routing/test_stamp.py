"""The `x-phi-*` headers in the words of the product they come from."""

from calotype.kernel.generation import DataClass, Region
from calotype.routing import Stamp
from calotype.routing.stamp import routed


def test_a_charged_answer_says_how_it_was_routed() -> None:
    row = routed("krea-2", "fal", Region.WORLD, DataClass.GENERAL)
    assert Stamp(DataClass.GENERAL, row, attempts=1, cost_micro=33_000, verified=True).headers() == {
        "x-phi-routed": "fal-krea-2/WORLD/non_phi",
        "x-phi-tier": "non_phi",
        "x-phi-attempts": "1",
        "x-phi-cost-micro": "33000",
        "x-phi-usage": "verified",
    }


def test_a_refusal_says_that_nothing_was_tried_or_charged() -> None:
    assert Stamp(DataClass.PHI).headers() == {"x-phi-tier": "phi", "x-phi-attempts": "0", "x-phi-cost-micro": "0"}


def test_a_model_named_after_its_provider_is_not_named_twice() -> None:
    assert routed("local/sketch", "local", Region.CH, DataClass.PHI) == "local-sketch/CH/phi"
