"""Values that fal's clients never send: each is refused or ignored in fal's words, and none breaks a handler."""

import base64
import json
from pathlib import Path
from typing import Any

import httpx2
import pytest
from fal_caller import MODEL, Fal
from platform_caller import Platform

from house_fixtures import settings_for
from running import Account, House, running
from upstream import PICTURE, Upstream

INITIATE = "/fal/rest/storage/upload/initiate"


def sealed(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


@pytest.mark.parametrize("query", ["", "?prompt=x"])
def test_a_call_for_headers_alone_makes_nothing(query: str, fal: Fal, account: Account, upstream: Upstream) -> None:
    for path in (f"/fal/run/{MODEL}", f"/fal/run/{MODEL}/stream"):
        answer = fal.ask("HEAD", path + query, json={"prompt": "x"})
        assert (answer.status_code, answer.headers["allow"]) == (405, "GET, POST, PUT")
    account.untouched()
    assert not upstream.seen


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("DELETE", f"/fal/run/{MODEL}", "GET, POST, PUT"), ("GET", f"/fal/queue/{MODEL}", "POST"),
        ("POST", f"/fal/queue/{MODEL}/requests/x/cancel", "PUT"), ("PUT", f"/fal/queue/{MODEL}/requests/x", "GET"),
        ("DELETE", "/fal/api/v1/models", "GET"), ("PATCH", "/fal/api/v1/keys", "GET, POST"),
        ("POST", "/fal/api/v1/storage/settings", "GET, PUT"),
    ],
)  # fmt: skip
def test_another_method_is_told_which_there_are(method: str, path: str, allowed: str, fal: Fal) -> None:
    answer = fal.ask(method, path)
    assert (answer.status_code, answer.headers.get("allow")) == (405, allowed), answer.text


@pytest.mark.parametrize("value", [10**30, 2**64, -1, 0, True, 1.5, "60", None, [], {}])
def test_a_lifetime_that_is_none_is_ignored(value: Any, fal: Fal) -> None:
    wish = {"x-fal-object-lifecycle": json.dumps({"expiration_duration_seconds": value})}
    urls = fal.ask("POST", INITIATE, json={"file_name": "a.png"}, headers=wish)
    assert urls.status_code == 200, urls.text
    assert httpx2.put(urls.json()["upload_url"], content=PICTURE).status_code == 200
    assert httpx2.get(urls.json()["file_url"]).content == PICTURE


def test_the_longest_list_of_readers_fits_into_an_upload(fal: Fal) -> None:
    rules = [{"user": "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 60, "decision": "forbid"}] * 10
    wish = {"x-fal-object-lifecycle": json.dumps({"initial_acl": {"default": "forbid", "rules": rules}})}
    name = "\N{CJK UNIFIED IDEOGRAPH-4E2D}" * 100
    whole = fal.ask("POST", INITIATE, json={"file_name": name}, headers=wish).json()
    assert httpx2.put(whole["upload_url"], content=PICTURE).status_code == 200
    parts = fal.ask("POST", INITIATE + "-multipart", json={"file_name": name}, headers=wish).json()
    part = httpx2.put(parts["upload_url"] + "/1", content=PICTURE)
    assert part.status_code == 200
    assert httpx2.post(parts["upload_url"] + "/complete", json={"parts": [part.json()]}).status_code == 200
    assert [httpx2.get(one["file_url"]).status_code for one in (whole, parts)] == [403, 403]


@pytest.mark.parametrize(
    "tags", ["k=" + "v" * 201, "n" * 201 + "=v", "=v", "k", ",,", ",".join(f"k{n}=v" for n in range(30)), "\xff=\xfe"]
)
def test_tags_that_are_too_many_or_too_long_are_left_out(tags: str, fal: Fal, house: House) -> None:
    answer = fal.run(headers={"x-fal-tags": ("team=a," + tags).encode("latin-1")})
    assert answer.status_code == 200, answer.text
    ((kept,),) = house.rows("SELECT tags FROM job WHERE id = :id", id=answer.headers["x-fal-request-id"])
    assert json.loads(kept)["team"] == "a" and len(json.loads(kept)) <= 20


@pytest.mark.parametrize("url", ["ftp://example.com", "http://127.0.0.1/x", "http://[", "nonsense", "https://a b/"])
def test_a_webhook_that_is_none_is_refused_where_it_stands(url: str, fal: Fal, account: Account) -> None:
    answer = fal.submit(query="?" + str(httpx2.QueryParams(fal_webhook=url)))
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["query", "fal_webhook"], answer.text
    account.untouched()


def test_a_handler_that_breaks_is_answered_in_fals_words(
    fal: Fal, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: Any) -> None:
        raise RuntimeError("secret detail")

    monkeypatch.setattr(house.app.catalog, "find", broken)
    answer = fal.submit()
    assert (answer.status_code, answer.json()["error_type"]) == (500, "internal_error")
    assert isinstance(answer.json()["detail"], str) and "secret" not in answer.text
    assert answer.headers["x-fal-request-id"] and answer.headers["x-fal-retryable"] == "false"
    monkeypatch.setattr(house.app.catalog, "cards", broken)
    answer = fal.ask("GET", "/fal/api/v1/models")
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "server_error") and "secret" not in answer.text


UNPRINTABLE = [
    ("GET", f"/models/billing-events?cursor={sealed(1, chr(0))}"), ("GET", "/models/billing-events?request_id=%00"),
    ("GET", "/models/billing-events?api_key_id=a%00"), ("GET", "/models/usage?endpoint_id=%00x"),
    ("GET", "/models/usage?api_key_id=%00"), ("GET", f"/models/requests/search?cursor={sealed(1, 'a' + chr(0))}"),
    ("GET", "/models/requests/search?endpoint_id=%00"), ("GET", "/models/analytics?endpoint_id=%00"),
    ("GET", "/models/requests/by-endpoint?endpoint_id=%00&sort_by=duration"),
    ("GET", "/models/requests/by-endpoint?endpoint_id=x&request_id=%00"),
    ("GET", "/storage/files/acl?url=http://x/v1/media/%00/x"), ("GET", "/account/focus?source=%00"),
    ("GET", f"/models/requests/by-endpoint?endpoint_id=x&cursor={sealed(1, chr(0))}"),
]  # fmt: skip
NOWHERE = [
    ("DELETE", "/keys/a%00b"),
    ("DELETE", "/models/requests/a%00b/payloads"),
]  # fmt: skip


def test_no_character_is_too_odd_for_either_store(
    database_url: str, upstream: Upstream, cards_dir: Any, tmp_path: Path
) -> None:
    settings = settings_for(upstream, cards_dir=cards_dir, database_url=database_url)
    with running(tmp_path / "data", **settings) as house, httpx2.Client(base_url=house.url, timeout=60) as client:
        platform = Platform(client, house.account())
        for method, path in UNPRINTABLE:
            answer = platform.ask(method, path)
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "validation_error"), (
                path,
                answer.text,
            )
        for method, path in NOWHERE:
            assert platform.ask(method, path).status_code == 404, path
        for name in ("a\0b", "\x1b[31mred", "tab\t", "line\n"):
            answer = platform.ask("POST", "/keys", json={"alias": name})
            assert (answer.status_code, answer.json()["error"]["type"]) == (400, "validation_error"), answer.text
            auth = {"authorization": f"Bearer {platform.admin}"}
            answer = client.post("/api/v1/keys", json={"name": name}, headers=auth)
            assert (answer.status_code, answer.json()["error"]["details"]["field"]) == (400, "name"), answer.text
        acl = {"initial_acl": {"default": "allow", "rules": [{"user": "\0", "decision": "allow"}]}}
        assert platform.ask("PUT", "/storage/settings", json=acl).status_code == 200
        assert platform.fal.run(json={"prompt": "x\0y", "a\0b": 1}).status_code == 200
        for path in ("/v1/videos/%00", "/v1/files/%00", "/v1/files?after=%00", "/api/v1/media/status/%00",
                     "/v1/content/jobs/%00", "/fal/queue/x/requests/%00/status"):  # fmt: skip
            answer = client.get(path, headers={"authorization": f"Bearer {platform.admin}"})
            assert answer.status_code == 404, (path, answer.text)
