"""fal's webhooks: only a fresh one that fal signed counts; the emulator signs with another implementation."""

from typing import Any

import msgspec
import pytest

from calotype.kernel.clock import ManualClock
from calotype.kernel.steps import HttpRequest, HttpResponse
from calotype.providers.fal import Fal
from calotype.providers.fal_callbacks import keys_of
from calotype.sandbox.fal_webhooks import Webhooks
from calotype.settings import ProviderSettings

ID = "019d9e0b-0000-7000-8000-000000000000"
BODY = b'{"request_id":"019d9e0b","status":"OK"}'


class Heard:
    """An adapter and what it asked for while it heard webhooks."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.fal = Fal("fal", ProviderSettings(), self.clock)
        self.webhooks = Webhooks()
        self.fetched: list[str] = []

    def headers(self, body: bytes = BODY, age_s: int = 0, webhooks: Webhooks | None = None) -> dict[str, str]:
        at_s = self.clock.now_ms() // 1000 - age_s
        made = (webhooks or self.webhooks).headers(ID, body, at_s)
        return {name.lower(): value for name, value in made.items()}

    def hear(
        self, headers: dict[str, str], body: bytes = BODY, jwks: Any = None, status: int = 200, about: str = ID
    ) -> bool:
        steps = self.fal.callback(headers, body, about)
        try:
            step = next(steps)
            for _ in range(2):
                assert isinstance(step, HttpRequest) and "Authorization" not in step.headers
                self.fetched.append(step.url)
                keys = msgspec.json.encode(self.webhooks.jwks() if jwks is None else jwks)
                step = steps.send(HttpResponse(status, {}, keys))
        except StopIteration as end:
            result: bool = end.value
            return result
        raise AssertionError("the conversation goes on")


@pytest.fixture
def heard() -> Heard:
    return Heard()


def test_a_signed_webhook_names_its_request_and_the_keys_are_kept(heard: Heard) -> None:
    assert heard.hear(heard.headers())
    assert heard.hear(heard.headers())
    assert not heard.hear(heard.headers(), about="another")
    assert heard.fetched == ["https://rest.fal.ai/.well-known/jwks.json"]


@pytest.mark.parametrize("age_s", [301, -301])
def test_an_old_or_future_one_is_refused_without_asking_anybody(heard: Heard, age_s: int) -> None:
    assert not heard.hear(heard.headers(age_s=age_s))
    assert heard.fetched == []
    assert heard.hear(heard.headers(age_s=300 if age_s > 0 else -300))


@pytest.mark.parametrize(
    ("name", "value"),
    [("signature", "0" * 127), ("signature", "G" * 128), ("timestamp", "soon"), ("request-id", "a/b"), ("user-id", "")],
)
def test_a_malformed_one_is_refused_without_asking_anybody(heard: Heard, name: str, value: str) -> None:
    assert not heard.hear(heard.headers() | {f"x-fal-webhook-{name}": value})
    assert heard.fetched == []


def test_what_was_changed_on_the_way_is_refused(heard: Heard) -> None:
    headers = heard.headers()
    assert not heard.hear(headers, BODY + b" ")
    assert not heard.hear(headers | {"x-fal-webhook-request-id": "another"})
    assert not heard.hear(headers | {"x-fal-webhook-user-id": "another"})
    assert not heard.hear(heard.headers(webhooks=Webhooks()))
    assert heard.hear(headers)
    assert len(heard.fetched) == 2, "a forged webhook makes us ask once a minute at most"


def test_new_keys_are_fetched_when_the_old_ones_do_not_fit_and_after_a_day(heard: Heard) -> None:
    assert heard.hear(heard.headers())
    heard.webhooks = Webhooks()
    assert not heard.hear(heard.headers())
    heard.clock.advance(60_000)
    assert heard.hear(heard.headers())
    heard.clock.advance(86_400_000)
    assert heard.hear(heard.headers(), status=500), "old keys are better than none"
    assert len(heard.fetched) == 4, "without an answer the other place is asked too"


def test_a_key_set_is_read_with_care() -> None:
    good = Webhooks().jwks()["keys"][0]
    bad = [None, {}, {**good, "kty": "RSA"}, {**good, "x": "AA"}, {**good, "x": 7}, {**good, "x": "é"}]
    assert len(keys_of({"keys": [*bad, good]})) == 1
    assert keys_of([]) == keys_of({"keys": "x"}) == keys_of(None) == ()
