"""Who may read files, URLs for one reader, what holds for coming files (`wire/fal.md §5.1, §7`, `products.md E4`)."""

import json
from typing import Any

import httpx2
import pytest
from platform_caller import Platform

from calotype.media.acl import Acl, Rule
from running import House
from upstream import PICTURE, Upstream

FILE = "/storage/files"
LIFECYCLE = "X-Fal-Object-Lifecycle-Preference"


def uploaded(platform: Platform, **headers: str) -> str:
    answer = platform.fal.ask("POST", "/fal/cdn/files/upload", content=PICTURE, headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["access_url"])


def made(platform: Platform, **headers: str) -> str:
    answer = platform.fal.run(headers=headers)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["images"][0]["url"])


def read(url: str, key: str | None = None) -> int:
    return httpx2.get(url, headers={"authorization": f"Key {key}"} if key else {}).status_code


@pytest.mark.parametrize("kind", [uploaded, made])
def test_a_list_of_readers_holds_for_urls_that_were_answered_before(
    platform: Platform, other: Platform, kind: Any
) -> None:
    url = kind(platform)
    assert platform.get(f"{FILE}/acl", key="plain", url=url) == {"default": "allow", "rules": []}
    assert (read(url), read(url, other.plain)) == (200, 200)
    wanted = {"default": "forbid", "rules": [{"user": other.account.org.name, "decision": "allow"}]}
    answer = platform.ask("PUT", f"{FILE}/acl", key="plain", params={"url": url}, json=wanted)
    assert (answer.status_code, answer.json()) == (200, wanted)
    assert platform.get(f"{FILE}/acl", url=url) == wanted
    assert (read(url), read(url, "no-key"), read(url, other.plain), read(url, platform.plain)) == (403, 403, 200, 200)
    hidden = {"default": "hide", "rules": [{"user": other.account.org.id, "decision": "forbid"}]}
    platform.ask("PUT", f"{FILE}/acl", params={"url": url}, json=hidden)
    assert (read(url), read(url, other.plain), read(url, platform.plain)) == (404, 403, 200)
    platform.ask("PUT", f"{FILE}/acl", params={"url": url}, json={"default": "allow"})
    assert read(url) == 200


@pytest.mark.parametrize("kind", [uploaded, made])
def test_a_signed_url_opens_what_its_owner_shut(platform: Platform, kind: Any) -> None:
    url = kind(platform)
    platform.ask("PUT", f"{FILE}/acl", params={"url": url}, json={"default": "hide"})
    signed = platform.ask("POST", f"{FILE}/sign", params={"url": url}, json={"expiration_seconds": 60})
    assert signed.status_code == 200
    assert (read(url), read(signed.json()["signed_url"])) == (404, 200)


@pytest.mark.parametrize("kind", [uploaded, made])
def test_another_tenants_file_does_not_exist(platform: Platform, other: Platform, kind: Any) -> None:
    url = kind(platform)
    for method, path, body in (
        ("GET", "acl", None), ("PUT", "acl", {"default": "hide"}), ("POST", "sign", {"expiration_seconds": 60})
    ):  # fmt: skip
        answer = other.ask(method, f"{FILE}/{path}", params={"url": url}, json=body)
        assert answer.status_code == 404 and answer.json()["error"]["type"] == "not_found"
    assert read(url) == 200
    elsewhere = platform.ask("GET", f"{FILE}/acl", params={"url": "https://example.org/v1/media/x/y.png"})
    assert elsewhere.status_code == 404


def test_the_service_of_uploads_answers_for_files_too(platform: Platform, other: Platform) -> None:
    url = uploaded(platform)
    path = "/fal/rest/storage/files"
    shut = platform.fal.ask("PUT", f"{path}/acl", params={"url": url}, json={"default": "hide", "rules": []})
    assert (shut.status_code, read(url)) == (200, 404)
    signed = platform.fal.ask("POST", f"{path}/sign", params={"url": url}, json={"expiration_seconds": 60})
    assert read(signed.json()["signed_url"]) == 200
    refused = other.fal.ask("GET", f"{path}/acl", params={"url": url})
    assert refused.status_code == 404 and isinstance(refused.json()["detail"], str)


@pytest.mark.parametrize("seconds", [0, 604_801, "60"])
def test_a_signed_url_lives_a_week_at_most(platform: Platform, seconds: Any) -> None:
    params = {"url": uploaded(platform)}
    answer = platform.ask("POST", f"{FILE}/sign", params=params, json={"expiration_seconds": seconds})
    assert answer.status_code == 400


@pytest.mark.parametrize("kind", [uploaded, made])
def test_a_request_says_who_reads_its_files_and_how_long_they_stay(platform: Platform, house: House, kind: Any) -> None:
    wish = {"expiration_duration_seconds": 600, "initial_acl": {"default": "forbid", "rules": []}}
    url = kind(platform, **{LIFECYCLE: json.dumps(wish)})
    assert (read(url), read(url, platform.plain)) == (403, 200)
    table = "upload" if kind is uploaded else "artifact"
    ((lives_ms,),) = house.rows(
        f"SELECT expires_at_ms - created_at_ms FROM {table} WHERE org_id = :org", org=platform.account.org.id
    )
    assert 598_000 <= lives_ms <= 600_000


@pytest.mark.parametrize("kind", [uploaded, made])
def test_what_an_organisation_sets_holds_where_a_request_says_nothing_else(platform: Platform, kind: Any) -> None:
    setting = {"expiration_duration_seconds": 3600, "initial_acl": {"default": "hide", "rules": []}}
    assert platform.ask("PUT", "/storage/settings", key="plain", json=setting).json() == setting
    assert platform.get("/storage/settings") == setting
    assert read(kind(platform)) == 404
    assert read(kind(platform, **{LIFECYCLE: '{"initial_acl": {"default": "allow"}}'})) == 200
    free = {"expiration_duration_seconds": None, "initial_acl": {"default": "allow", "rules": []}}
    assert platform.ask("PUT", "/storage/settings", json=free).json() == free
    assert read(kind(platform)) == 200


def test_a_file_that_is_shut_cannot_be_another_tenants_input(platform: Platform, other: Platform) -> None:
    url = made(platform)
    shut = {"image_url": url}
    platform.ask("PUT", f"{FILE}/acl", params={"url": url}, json={"default": "forbid"})
    refused = other.fal.run("local/upscale", json=shut)
    assert refused.status_code == 422, refused.text
    assert platform.fal.run("local/upscale", json=shut).status_code == 200


def test_a_lifecycle_that_cannot_be_read_is_ignored(platform: Platform) -> None:
    for text in ("{", "[]", '{"initial_acl": {"default": "nobody"}}', '{"expiration_duration_seconds": -1}'):
        assert read(made(platform, **{LIFECYCLE: text})) == 200


def test_fals_tags_and_our_own_go_with_the_request(platform: Platform, house: House, upstream: Upstream) -> None:
    headers = {"X-Fal-Tags": "team=a, project=42, nonsense", "X-Calotype-Tags": "team=b"}
    ident = platform.made(headers=headers)
    ((tags,),) = house.rows("SELECT tags FROM job WHERE id = :id", id=ident)
    assert json.loads(tags) == {"team": "b", "project": "42"}


def test_the_first_rule_that_names_a_reader_decides() -> None:
    acl = Acl("hide", (Rule("a", "allow"), Rule("a", "forbid"), Rule("b", "forbid")))
    assert [acl.decide(names) for names in (("a",), ("x", "b"), ("c",), ())] == ["allow", "forbid", "hide", "hide"]
