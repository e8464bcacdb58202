"""Keys, usage, models, health and the headers that tell how a key stands (`wire/products.md D1`)."""

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import msgspec
import pytest
from image_caller import Caller

from calotype.dialects.image import shapes
from calotype.dialects.image.offers import MAKERS
from calotype.kernel.generation import KeyClass, Scope
from calotype.ledger.verify import verify
from running import Account, House, running

KEYS = "/api/v1/keys"
SKETCH: dict[str, Any] = {"model": "local/sketch", "width": 256, "height": 256}


@pytest.fixture
def admin(caller: Caller, account: Account) -> Caller:
    return Caller(caller.client, account.key(scopes=[Scope.API, Scope.ADMIN]))


def test_a_key_is_made_listed_changed_switched_off_and_deleted(admin: Caller) -> None:
    answer = admin.post(KEYS, {"name": "ci", "rateLimit": 30})
    assert answer.status_code == 201
    made = msgspec.json.decode(answer.content, type=shapes.ImageNewKeyAnswer).data
    worker = Caller(admin.client, made.key)
    assert worker.generate(**SKETCH).headers["x-ratelimit-limit"] == "30"
    assert worker.get(KEYS).status_code == 403
    listed = msgspec.json.decode(admin.get(KEYS).content, type=shapes.ImageKeys).data.keys
    assert [one.name for one in listed] == ["test", "test", "ci"]
    assert made.key not in admin.get(KEYS).text
    path = f"{KEYS}/{made.keyId}"
    changed = admin.request("PATCH", path, {"name": "nightly", "rateLimit": 90, "enabled": False})
    shown = msgspec.json.decode(changed.content, type=shapes.ImageKeyAnswer).data
    assert (shown.name, shown.rateLimit, shown.enabled, shown.scopes) == ("nightly", 90, False, ["API"])
    assert worker.generate(**SKETCH).json()["error"]["code"] == "INVALID_API_KEY"
    admin.request("PATCH", path, {"enabled": True})
    assert worker.generate(**SKETCH).headers["x-ratelimit-limit"] == "90"
    assert msgspec.json.decode(admin.get(path).content, type=shapes.ImageKeyAnswer).data.enabled
    gone = admin.request("DELETE", path)
    assert (gone.status_code, gone.content) == (204, b"")
    assert worker.generate(**SKETCH).status_code == 401
    for method in ("GET", "PATCH", "DELETE"):
        assert admin.request(method, path, {} if method == "PATCH" else None).status_code == 404


def test_a_key_that_is_made_may_do_no_more_than_its_maker(caller: Caller, account: Account, house: House) -> None:
    maker = account.key(scopes=[Scope.API, Scope.ADMIN], models=["local/*"], spend_cap_micro=5_000, max_in_progress=3)
    made = Caller(caller.client, maker).post(KEYS, {"name": "child"}).json()["data"]
    (record,) = [one for one in house.ask(house.app.accounts.list_keys(account.org.id)) if one.id == made["keyId"]]
    assert (record.models, record.spend_cap_micro, record.max_in_progress) == (("local/*",), 5_000, 3)
    assert record.scopes == {Scope.API} and record.key_class is KeyClass.PAID


def test_keys_share_the_budget_of_the_key_that_made_them(caller: Caller, account: Account, house: House) -> None:
    maker = Caller(caller.client, account.key(scopes=[Scope.API, Scope.ADMIN], spend_cap_micro=50_000))
    first, second = (Caller(caller.client, maker.post(KEYS, {"name": name}).json()["data"]["key"]) for name in "ab")
    picture = {"model": "flux-1.1-pro", "width": 512, "height": 512}
    assert first.generate(**picture).status_code == 200
    for one in (second, first, maker):
        error = one.generate(**picture).json()["error"]
        assert (error["code"], error["details"]["code"]) == ("FORBIDDEN", "spend_cap_reached")
        assert "leaves 0.01 USD" in error["message"], error
    assert (account.spent_micro, account.held_micro) == (40_000, 0)
    assert [one.name for one in _groups(maker, "key")] == [_id_of(first)]
    assert house.ask(house.app.db.read(verify)).differences == ()


def test_keys_share_what_their_maker_may_have_in_progress(caller: Caller, account: Account) -> None:
    maker = Caller(caller.client, account.key(scopes=[Scope.API, Scope.ADMIN], max_in_progress=1))
    first, second = (Caller(caller.client, maker.post(KEYS, {"name": name}).json()["data"]["key"]) for name in "ab")
    film = {"prompt": "@polls=100000", "model": "wan-2.6"}
    begun = first.post("/api/v1/video/generate", film).json()["data"]["operation_id"]
    assert second.generate(**SKETCH).json()["error"]["code"] == "RATE_LIMIT_EXCEEDED"
    account.house.ask(account.house.app.engine.cancel(begun.removeprefix("operations/"), account.org.id))


def test_nobody_gives_away_a_higher_rate_than_its_own(caller: Caller, account: Account) -> None:
    maker = Caller(caller.client, account.key(scopes=[Scope.API, Scope.ADMIN], requests_per_minute=120))
    made = maker.post(KEYS, {"name": "a"}).json()["data"]["keyId"]
    assert maker.get(f"{KEYS}/{made}").json()["data"]["rateLimit"] == 120
    for answer in (
        maker.post(KEYS, {"name": "b", "rateLimit": 121}), maker.request("PATCH", f"{KEYS}/{made}", {"rateLimit": 121})
    ):  # fmt: skip
        assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, "rateLimit")


def _groups(who: Caller, by: str) -> list[shapes.ImageSpent]:
    answer = who.get(f"/api/v1/usage?group_by={by}")
    return msgspec.json.decode(answer.content, type=shapes.ImageUsageAnswer).data.groups


def _id_of(who: Caller) -> str:
    return who.key.split("_")[2]


@pytest.mark.parametrize(
    ("method", "body", "code", "field"),
    [
        ("POST", {}, "MISSING_REQUIRED_FIELD", "name"), ("POST", {"name": ""}, "BAD_REQUEST", "name"),
        ("POST", {"name": 5}, "BAD_REQUEST", "name"), ("POST", {"name": "x" * 101}, "BAD_REQUEST", "name"),
        ("POST", {"name": "x", "rateLimit": 0}, "BAD_REQUEST", "rateLimit"),
        ("POST", {"name": "x", "rateLimit": "60"}, "BAD_REQUEST", "rateLimit"),
        ("POST", {"name": "x", "scopes": ["ADMIN"]}, "BAD_REQUEST", None),
        ("PATCH", {"enabled": "no"}, "BAD_REQUEST", "enabled"), ("PATCH", {"name": " "}, "BAD_REQUEST", "name"),
    ],
)  # fmt: skip
def test_wrong_keys_are_refused_by_name(
    method: str, body: dict[str, Any], code: str, field: str | None, admin: Caller
) -> None:
    path = KEYS if method == "POST" else f"{KEYS}/{admin.post(KEYS, {'name': 'a'}).json()['data']['keyId']}"
    answer = admin.request(method, path, body)
    error = answer.json()["error"]
    assert (answer.status_code, error["code"], error["details"].get("field")) == (400, code, field)


def test_another_organisation_s_key_is_not_found(admin: Caller, house: House) -> None:
    stranger, _ = house.account().keyed()
    for method in ("GET", "PATCH", "DELETE"):
        answer = admin.request(method, f"{KEYS}/{stranger}", {"enabled": False} if method == "PATCH" else None)
        assert answer.status_code == 404
    assert stranger not in admin.get(KEYS).text


def test_usage_adds_up_and_a_key_sees_its_own_only(caller: Caller, admin: Caller, account: Account) -> None:
    caller.generate(model="flux-1.1-pro", width=512, height=512)
    caller.generate(model="flux-kontext", prompt="@moderated")
    admin.post(
        "/api/v1/image/generate", {"prompt": "x", "model": "imagen-4-fast"}, x_calotype_customer="anna",
        x_calotype_tags="team=red,project=42",
    )  # fmt: skip

    def usage(who: Caller, query: str = "") -> shapes.ImageUsage:
        answer = who.get("/api/v1/usage" + query)
        assert answer.status_code == 200, answer.text
        return msgspec.json.decode(answer.content, type=shapes.ImageUsageAnswer).data

    own = usage(caller)
    assert (own.requests, own.succeeded, own.failed, own.cost_micro) == (2, 1, 1, 40_000)
    whole = usage(admin)
    assert whole.cost_micro == account.spent_micro == 60_000 and whole.cost_usd == 0.06
    assert {one.name: one.cost_micro for one in whole.groups} == {
        "flux-1.1-pro": 40_000, "flux-kontext": 0, "imagen-4-fast": 20_000,
    }  # fmt: skip
    assert {one.name: one.requests for one in usage(admin, "?group_by=customer").groups} == {"": 2, "anna": 1}
    assert {one.name: one.requests for one in usage(admin, "?group_by=tag:team").groups} == {"": 2, "red": 1}
    today = time.strftime("%Y-%m-%d", time.gmtime())
    assert [one.name for one in usage(admin, "?group_by=day").groups] == [today]
    assert usage(admin, "?from=2020-01-01&to=2020-02-01").requests == 0
    assert usage(admin, f"?from={today}T00:00:00Z").requests == 3
    epoch = usage(admin, "?to=1970-01-01")
    assert (epoch.since, epoch.until, epoch.requests) == ("1970-01-01T00:00:00Z", "1970-01-01T00:00:00Z", 0)


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("?from=yesterday", "from"),
        ("?from=2020-01-01", "from"),
        ("?to=5", "to"),
        ("?to=0001-01-05", "to"),
        ("?to=9999-12-31T23:59:59-14:00", "to"),
        ("?from=1970-01-01", "from"),
        ("?group_by=tag", "group_by"),
        ("?group_by=colour", "group_by"),
        ("?group_by=model:x", "group_by"),
    ],
)
def test_a_stretch_of_time_that_is_none_is_refused(query: str, field: str, caller: Caller) -> None:
    answer = caller.get("/api/v1/usage" + query)
    assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, field)


def test_the_shared_test_key_shows_no_usage(caller: Caller, account: Account) -> None:
    assert Caller(caller.client, account.key(KeyClass.TEST)).get("/api/v1/usage").status_code == 403


def test_models_tell_what_they_take_and_cost(caller: Caller) -> None:
    answer = caller.get("/api/v1/image/models")
    found = {one.id: one for one in msgspec.json.decode(answer.content, type=shapes.ImageModels).data.models}
    assert found.keys() >= MAKERS.keys()
    imagen, kontext, sketch = found["imagen-4"], found["flux-kontext"], found["local/sketch"]
    assert (imagen.call, imagen.provider, imagen.available) == ("generate", "google", True)
    assert imagen.parameters == ["aspect_ratio", "image_size", "num_images"]
    assert [(one.unit, one.usd) for one in imagen.prices] == [("image", 0.04)]
    assert (kontext.call, kontext.parameters) == ("edit", ["seed"])
    assert "width" in sketch.parameters and "image_size" not in sketch.parameters
    assert found["kling-3-pro-i2v"].call == "video"


def test_health_needs_no_key(caller: Caller) -> None:
    answer = caller.client.get("/api/health")
    assert answer.status_code == 200 and answer.headers["x-ratelimit-limit"] == "120"
    assert msgspec.json.decode(answer.content, type=shapes.ImageHealth).data["status"] == "ok"


def test_every_answer_tells_how_the_key_stands(caller: Caller, account: Account) -> None:
    slow = Caller(caller.client, account.key(requests_per_minute=12))
    first, second, third = (slow.generate(**SKETCH) for _ in range(3))
    assert [one.headers["x-ratelimit-limit"] for one in (first, second, third)] == ["12"] * 3
    assert [one.headers["x-ratelimit-remaining"] for one in (first, second, third)] == ["1", "0", "0"]
    reset = int(third.headers["x-ratelimit-reset"])
    assert 0 < reset - time.time() <= 12
    error = third.json()["error"]
    assert (third.status_code, error["code"]) == (429, "RATE_LIMIT_EXCEEDED")
    assert int(third.headers["retry-after"]) == error["details"]["retryAfter"] > 0
    assert account.jobs == 2


@pytest.fixture
def narrow(tmp_path: Path) -> Iterator[House]:
    with running(tmp_path, limits={"requests_per_minute": 6}) as house:
        yield house


def test_polls_are_never_refused_for_their_number(narrow: House) -> None:
    account = narrow.account()
    with httpx2.Client(base_url=narrow.url, timeout=60) as client:
        caller = Caller(client, account.key())
        body = {"prompt": "waves", "model": "local/sketch-video"}
        poll = caller.post("/api/v1/video/generate", body).json()["data"]["poll_url"]
        assert caller.generate(**SKETCH).status_code == 429
        for _ in range(20):
            answer = caller.get(poll)
            assert answer.status_code == 200 and answer.headers["x-ratelimit-remaining"] == "0"
