"""KIE's callbacks: only one about this task, signed by the account's key where there is one, is believed (§5.5)."""

from typing import Any

import msgspec
import pytest
from pydantic import SecretStr

from calotype.kernel.clock import ManualClock
from calotype.providers.kie import Kie
from calotype.sandbox.kie_callbacks import signed
from calotype.settings import ProviderSettings

TASK = "task_1"
SECRET = "the account's webhook key"
NOW_S = ManualClock().now_ms() // 1000
JOB = {"code": 200, "msg": "success", "data": {"taskId": TASK, "state": "success"}}
SONG = {"code": 200, "msg": "ok", "data": {"callbackType": "first", "task_id": TASK, "data": []}}


def believed(headers: dict[str, str], body: Any, *, secret: str | None = SECRET, task: str = TASK) -> bool:
    settings = ProviderSettings(api_key=SecretStr("k"), webhook_secret=SecretStr(secret) if secret else None)
    raw = body if isinstance(body, bytes) else msgspec.json.encode(body)
    lower = {name.lower(): value for name, value in headers.items()}
    with pytest.raises(StopIteration) as end:
        next(Kie("kie", settings, ManualClock()).callback(lower, raw, task))
    assert isinstance(end.value.value, bool)
    return end.value.value


@pytest.mark.parametrize("body", [JOB, SONG, {"taskId": TASK}])
def test_a_signed_callback_about_the_task_is_believed(body: dict[str, Any]) -> None:
    assert believed(signed(TASK, SECRET, NOW_S), body)


def test_a_signature_in_hex_proves_as_much() -> None:
    import base64

    headers = signed(TASK, SECRET, NOW_S)
    headers["X-Webhook-Signature"] = base64.b64decode(headers["X-Webhook-Signature"]).hex()
    assert believed(headers, JOB)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        signed(TASK, "", NOW_S),
        signed(TASK, "another key", NOW_S),
        signed("task_2", SECRET, NOW_S),
        signed(TASK, SECRET, NOW_S - 301),
        signed(TASK, SECRET, NOW_S + 301),
        {**signed(TASK, SECRET, NOW_S), "X-Webhook-Timestamp": str(NOW_S - 1)},
        {**signed(TASK, SECRET, NOW_S), "X-Webhook-Timestamp": "now"},
        {**signed(TASK, SECRET, NOW_S), "X-Webhook-Signature": "é"},
    ],
)
def test_a_forged_old_or_unsigned_one_is_not(headers: dict[str, str]) -> None:
    assert not believed(headers, JOB)


@pytest.mark.parametrize("body", [b"", b"<html>", [], {"data": {}}, {"data": {"taskId": "task_2"}}, {"data": TASK}])
def test_one_about_something_else_is_not(body: Any) -> None:
    assert not believed(signed(TASK, SECRET, NOW_S), body)
    assert not believed({}, body, secret=None)


def test_without_a_key_in_the_account_naming_the_task_is_enough_for_a_hint() -> None:
    assert believed({}, JOB, secret=None)
    assert not believed({}, JOB, secret=None, task="task_2")
