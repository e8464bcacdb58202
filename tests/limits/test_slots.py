"""No name ever has more in progress than its cap."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from calotype.limits import Slots


@given(cap=st.integers(0, 3), moves=st.lists(st.tuples(st.booleans(), st.sampled_from("ab")), max_size=60))
def test_slots_count_like_a_counter_with_a_cap(cap: int, moves: list[tuple[bool, str]]) -> None:
    slots, model = Slots(cap), Counter[str]()
    for take, name in moves:
        if take:
            assert slots.try_acquire(name) is (model[name] < cap)
            model[name] = min(cap, model[name] + 1)
        elif model[name]:
            slots.release(name)
            model[name] -= 1
        else:
            with pytest.raises(ValueError, match="no slot"):
                slots.release(name)
        assert slots.taken(name) == model[name]
        assert slots.free(name) == cap - model[name]


def test_a_name_may_have_a_cap_of_its_own() -> None:
    slots = Slots(1)
    assert slots.try_acquire("wide", cap=2)
    assert slots.try_acquire("wide", cap=2)
    assert not slots.try_acquire("wide", cap=2)
    assert slots.free("wide", cap=3) == 1
