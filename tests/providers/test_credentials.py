"""Several credentials of one provider: they take turns, and one that is refused rests."""

from typing import Any

import pytest

from calotype.http import Upstream
from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Outcome, Pending, Succeeded
from calotype.kernel.steps import Steps
from calotype.providers.base import Call, Handle, Idempotency
from calotype.providers.credentials import FIRST_REST_S, LONGEST_REST_S, Credential, Ring, mark_of
from calotype.providers.driver import Driven
from calotype.settings import ProviderSettings

LOCKED = Failed(FailedKind.QUOTA, "The provider's account is out of credit.", status=402)
LIMITED = Failed(FailedKind.RETRY, "Slower.", status=429, retry_after_s=2.0)


class Adapter:
    def __init__(self, name: str, idempotency: Idempotency) -> None:
        self.name = name
        self.idempotency = idempotency


class Clock:
    now_s = 0.0

    def __call__(self) -> float:
        return self.now_s


def ring(count: int, idempotency: Idempotency = Idempotency.NONE) -> tuple[Ring, Clock]:
    clock = Clock()
    adapters: Any = [Adapter(f"k{n}", idempotency) for n in range(count)]
    return Ring(adapters, [f"m{n}" for n in range(count)], clock), clock


def call(job_id: str = "job-1", attempt: int = 1) -> Call:
    return Call(job_id, attempt, f"{job_id}-{attempt}", Operation.TEXT_TO_IMAGE, "model", {})


def chosen(from_ring: Ring, job_id: str = "job-1", attempt: int = 1) -> Credential:
    one = from_ring.choose(call(job_id, attempt))
    assert isinstance(one, Credential)
    return one


def test_credentials_take_turns() -> None:
    three, _ = ring(3)
    assert [chosen(three).mark for _ in range(6)] == ["m0", "m1", "m2"] * 2


@pytest.mark.parametrize("kind", [FailedKind.AUTH, FailedKind.QUOTA])
def test_a_refused_credential_rests_while_the_others_work(kind: FailedKind) -> None:
    two, clock = ring(2)
    two.learn(chosen(two), Failed(kind, "No."))
    assert {chosen(two).mark for _ in range(4)} == {"m1"}
    clock.now_s = FIRST_REST_S
    assert {chosen(two).mark for _ in range(4)} == {"m0", "m1"}


def test_each_refusal_doubles_the_rest_and_a_success_ends_it() -> None:
    one, clock = ring(1)
    rests = []
    for _ in range(8):
        credential = chosen(one)
        one.learn(credential, LOCKED)
        rests.append(credential.left_s)
        clock.now_s += credential.left_s
    assert rests[:3] == [FIRST_REST_S, 2 * FIRST_REST_S, 4 * FIRST_REST_S]
    assert rests[-1] == LONGEST_REST_S
    one.learn(chosen(one), Succeeded())
    one.learn(chosen(one), LOCKED)
    assert one.of({}).left_s == FIRST_REST_S


def test_while_all_rest_calls_are_refused_as_the_upstream_did_and_nothing_is_sent() -> None:
    one, _ = ring(1)
    one.learn(chosen(one), LOCKED)
    refusal = one.choose(call())
    assert isinstance(refusal, Failed)
    assert (refusal.kind, refusal.message, refusal.status) == (LOCKED.kind, LOCKED.message, 402)


def test_a_rate_limit_sends_calls_to_another_credential_and_a_lone_one_goes_on() -> None:
    two, _ = ring(2)
    two.learn(chosen(two), LIMITED)
    assert {chosen(two).mark for _ in range(3)} == {"m1"}
    alone, _ = ring(1)
    alone.learn(chosen(alone), LIMITED)
    assert chosen(alone).mark == "m0"


def test_other_failures_say_nothing_about_the_credential() -> None:
    one, _ = ring(1)
    for kind in (FailedKind.INVALID, FailedKind.MODERATED, FailedKind.UPSTREAM, FailedKind.GONE, FailedKind.UNKNOWN):
        one.learn(chosen(one), Failed(kind, "No."))
    assert chosen(one).mark == "m0"


@pytest.mark.parametrize("idempotency", [Idempotency.KEY, Idempotency.LOOKUP])
def test_an_attempt_that_can_be_found_again_always_goes_through_the_same_credential(idempotency: Idempotency) -> None:
    three, _ = ring(3, idempotency)
    for n in range(20):
        assert len({chosen(three, f"job-{n}").mark for _ in range(5)}) == 1
    assert len({chosen(three, f"job-{n}").mark for n in range(50)}) == 3
    resting = chosen(three, "job-1")
    three.learn(resting, LOCKED)
    refusal = three.choose(call("job-1"))
    assert isinstance(refusal, Failed)
    assert refusal.kind is FailedKind.RETRY
    assert {chosen(three, "job-1", attempt).mark for attempt in (2, 3)} == {"m0", "m1", "m2"} - {resting.mark}


def test_a_call_whose_credential_is_refused_is_worth_another_ones_turn_while_one_is_awake() -> None:
    two, _ = ring(2)
    assert not two.learn(chosen(two), Succeeded())
    assert not two.learn(chosen(two), LIMITED)
    assert two.learn(chosen(two), LOCKED) is False, "the other one rests"
    other, _ = ring(2)
    assert other.learn(chosen(other), LOCKED)
    assert not other.learn(chosen(other), LOCKED)


def test_a_job_is_polled_with_the_credential_it_was_submitted_with() -> None:
    three, _ = ring(3)
    credential = chosen(three)
    handle = three.marked(chosen(three), Pending({"id": "1"}).handle)
    assert handle == {"id": "1", "credential": "m1"}
    assert three.of(handle).mark == "m1"
    assert three.of({"id": "1", "credential": "gone"}).mark == credential.mark == "m0"
    assert three.marked(credential, handle) == handle


def test_a_lone_credential_is_remembered_too_for_others_may_be_put_before_it() -> None:
    alone, _ = ring(1)
    handle = alone.marked(chosen(alone), {"id": "1"})
    assert handle == {"id": "1", "credential": "m0"}
    adapters: Any = [Adapter(name, Idempotency.NONE) for name in ("new", "old")]
    assert Ring(adapters, ["new", "m0"]).of(handle).adapter.name == "old"


def test_a_removed_credential_leaves_the_attempts_of_the_others_where_they_were() -> None:
    jobs = [f"job-{n}" for n in range(60)]
    three, _ = ring(3, Idempotency.KEY)
    before = {job: chosen(three, job).mark for job in jobs}
    adapters: Any = [Adapter(name, Idempotency.KEY) for name in ("k2", "k0")]
    two = Ring(adapters, ["m2", "m0"])
    assert {before[job] for job in jobs} == {"m0", "m1", "m2"}
    assert all(chosen(two, job).mark == before[job] for job in jobs if before[job] != "m1")


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        (Failed(FailedKind.GONE, "Nobody knows it.", status=404), FailedKind.RETRY),
        (Failed(FailedKind.UPSTREAM, "Nobody knows it.", status=404), FailedKind.RETRY),
        (Failed(FailedKind.UPSTREAM, "It broke.", code="error"), FailedKind.UPSTREAM),
        (Failed(FailedKind.MODERATED, "No."), FailedKind.MODERATED),
    ],
)
async def test_a_job_is_not_given_up_because_its_credential_was_taken_out_of_the_settings(
    said: Failed, kind: FailedKind
) -> None:
    class Polled(Adapter):
        kind, media_inputs, schedule, output_hosts, callbacks = "x", None, None, frozenset[str](), False

        def poll(self, _: Handle) -> Steps[Outcome]:
            yield from ()
            return said

    adapters: Any = [Polled("left", Idempotency.NONE)]
    runtime = Driven(adapters, Upstream("x"), max_in_progress=1, marks=["left"])
    try:
        for mark, expected in (("taken-out", kind), ("left", said.kind)):
            found = await runtime.poll({"id": "1", "credential": mark})
            assert isinstance(found, Failed) and found.kind is expected
    finally:
        await runtime.close()


def test_a_mark_tells_nothing_of_the_key() -> None:
    assert mark_of("secret") != mark_of("other")
    assert "secret" not in mark_of("secret")


def test_settings_take_several_keys_and_drop_repetitions() -> None:
    settings = ProviderSettings.model_validate({"api_key": "a", "api_keys": ["b", "a", "c"]})
    assert [key.get_secret_value() for key in settings.credentials if key is not None] == ["a", "b", "c"]
    assert ProviderSettings().credentials == [None]
