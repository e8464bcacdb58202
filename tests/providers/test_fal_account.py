"""What fal says about an account (`wire/fal.md §11`), with recorded answers."""

from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from calotype.kernel.steps import HttpResponse
from calotype.providers.base import Check
from calotype.providers.fal import Fal
from calotype.settings import ProviderSettings


def answer(body: Any, status: int = 200) -> HttpResponse:
    return HttpResponse(status, {}, msgspec.json.encode(body))


def asked(base_url: str | None, *answers: HttpResponse) -> tuple[list[str], Check]:
    steps = Fal("fal", ProviderSettings(api_key=SecretStr("a:b"), base_url=base_url)).check()
    urls = [next(steps).url]  # type: ignore[union-attr]
    for one in answers:
        try:
            urls.append(steps.send(one).url)  # type: ignore[union-attr]
        except StopIteration as end:
            return urls, end.value
    raise AssertionError("the conversation goes on")


def test_an_administrators_key_sees_the_balance() -> None:
    body = {"username": "me", "credits": {"current_balance": 24.5, "currency": "USD"}}
    urls, check = asked(None, answer(body))
    assert urls == ["https://api.fal.ai/v1/account/billing?expand=credits"]
    assert check == Check(True, "ok", "24.50 USD")


@pytest.mark.parametrize(
    ("status", "check"),
    [
        (200, Check(True, "ok", note="only an administrator's key sees the balance")),
        (401, Check(True, "refused")),
        (503, Check(True, "unknown", note="HTTP 503")),
    ],
)
def test_another_key_is_tried_on_the_price_list(status: int, check: Check) -> None:
    urls, found = asked("http://127.0.0.1:1/queue", answer({"error": {}}, 403), answer({}, status))
    assert urls[1] == "http://127.0.0.1:1/platform/v1/models/pricing?endpoint_id=fal-ai/flux/dev"
    assert found == check


def test_a_locked_account_is_named() -> None:
    detail = {"detail": "User is locked. Reason: Exhausted balance."}
    assert asked(None, answer(detail, 403))[1].note == "the account is locked or out of credit"
