"""A locked account is not hammered, and beside a second one its provider goes on: the same of every provider."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from rank_and_file import Ranks, line_of, ranks

from calotype.providers import azure, bfl, credentials, fal, google, kie, minimax, openrouter
from calotype.providers.base import PollSchedule
from calotype.providers.kie_rate import Turnstile
from calotype.providers.registry import KINDS
from soak.lineup import LINES
from soak.soak_house import SECRETS

QUICK = PollSchedule(first_s=0.03, factor=1.1, max_s=0.1)
POLLED = (azure.Azure, bfl.Bfl, fal.Fal, google.Google, kie.Kie, minimax.MiniMax, openrouter.OpenRouter)
LOCKED = {
    "fal": "locked:of-the-locked", "openai": "sk-empty-of-the-locked", "openai-keyed": "sk-empty-of-the-keyed",
    "openrouter": "sk-or-empty-of-the-locked", "google": "unknown-of-the-locked", "bfl": "empty-of-the-locked",
    "kie": "empty-of-the-locked", "minimax": "empty-of-the-locked", "mistral": "empty-of-the-locked",
    "azure-eu": "empty-of-the-locked",
}  # fmt: skip
"""A key of each provider that is refused: an account without credit, or none at all."""
LINE = {
    "fal": "fal-picture", "openai": "openai-picture", "openai-keyed": "openai-keyed",
    "openrouter": "openrouter-picture", "google": "google-picture", "bfl": "bfl", "kie": "kie-picture",
    "minimax": "minimax-film", "mistral": "mistral-speech", "azure-eu": "azure-speech",
}  # fmt: skip
JOBS, AT_ONCE = 12, 4


@pytest.fixture(scope="module")
def _quick() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        for adapter in POLLED:
            patch.setattr(adapter, "schedule", QUICK)
        patch.setattr(kie.Kie, "slow_schedule", QUICK)
        patch.setattr(kie, "Turnstile", lambda: Turnstile(most=1_000_000))
        patch.setattr(credentials, "FIRST_REST_S", 60.0)
        yield


@pytest.fixture(scope="module")
def two(_quick: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Return a server whose providers have two keys each, the first of which is refused."""
    changes: dict[str, Any] = {
        name.replace("-", "_"): {"api_key": key, "api_keys": [SECRETS[name]]} for name, key in LOCKED.items()
    }
    with ranks(tmp_path_factory.mktemp("two"), **changes) as found:
        yield found


@pytest.fixture(scope="module")
def lone(_quick: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ranks]:
    """Return a server whose providers have one key each, which is refused."""
    changes: dict[str, Any] = {name.replace("-", "_"): {"api_key": key} for name, key in LOCKED.items()}
    with ranks(tmp_path_factory.mktemp("lone"), **changes) as found:
        yield found


def shown(found: Ranks, key: str) -> int:
    """Return how many paid requests came with this key."""
    return sum(any(key in value for value in submit.headers.values()) for submit in found.submits())


def test_every_kind_of_provider_with_keys_is_put_to_the_test() -> None:
    ways = {line.ways[0].provider: line.ways[0].kind for line in LINES}
    assert {ways[name] for name in LOCKED} == set(KINDS)


@pytest.mark.parametrize("name", LOCKED)
def test_beside_a_locked_account_every_job_goes_through_the_other(two: Ranks, name: str) -> None:
    two.renew()
    line = line_of(LINE[name])
    jobs = [two.send(line)]
    two.ended(jobs[0])
    with ThreadPoolExecutor(AT_ONCE) as pool:
        jobs += list(pool.map(lambda _: two.send(line), range(JOBS - 1)))
    assert [two.ended(job) for job in jobs] == ["succeeded"] * JOBS
    refused = shown(two, LOCKED[name].partition(":")[2] or LOCKED[name])
    assert refused == 1 or (line.keyed and 1 <= refused <= AT_ONCE)  # a keyed call's account is chosen by its token
    assert shown(two, SECRETS[name].partition(":")[2] or SECRETS[name]) == JOBS
    two.charged(line, JOBS)


@pytest.mark.parametrize("name", LOCKED)
def test_a_locked_account_is_asked_once_and_then_left_alone(lone: Ranks, name: str) -> None:
    lone.renew()
    line = line_of(LINE[name])
    jobs = [lone.send(line)]
    lone.ended(jobs[0])
    jobs += [lone.send(line) for _ in range(JOBS - 1)]
    assert [lone.ended(job) for job in jobs] == ["failed"] * JOBS
    assert len(lone.submits()) == 1
    lone.charged(line, 0)
    errors = {lone.one("SELECT error FROM job WHERE id = :id", id=job) for job in jobs}
    assert all("unavailable" in error for error in errors), errors
