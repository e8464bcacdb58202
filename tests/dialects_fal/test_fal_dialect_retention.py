"""What stays of a request whose caller asked fal not to keep it (`X-Fal-Store-IO: 0`, `wire/fal.md §5.1, §5.4`)."""

import pytest
from fal_caller import Fal

from running import Account, House
from upstream import Upstream


def kept(house: House, ident: str) -> str | None:
    ((stored,),) = house.rows("SELECT input FROM job WHERE id = :id", id=ident)
    return None if stored is None else str(stored)


@pytest.mark.parametrize(
    ("headers", "stays"), [({}, True), ({"x-fal-store-io": "1"}, True), ({"x-fal-store-io": "0"}, False)]
)
def test_the_input_goes_with_the_end_where_the_caller_says_so(
    house: House, fal: Fal, account: Account, upstream: Upstream, headers: dict[str, str], stays: bool
) -> None:
    ident = fal.submit(headers=headers).json()["request_id"]
    fal.wait(ident)
    assert (kept(house, ident) is not None) is stays
    answer = fal.result(ident)
    assert answer.status_code == 200 and len(answer.json()["images"]) == 1, "the result can still be read"
    assert account.spent_micro > 0 and account.held_micro == 0


def test_a_request_that_is_taken_back_leaves_no_input_either(house: House, fal: Fal, gated: Upstream) -> None:
    idents = [fal.submit(headers={"x-fal-store-io": "0"}).json()["request_id"] for _ in range(2)]
    for ident in idents:
        fal.cancel(ident)
    gated.gate.set()
    for ident in idents:
        fal.wait(ident)
        assert kept(house, ident) is None
