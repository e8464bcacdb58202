"""Calls without a good key, with a key of too little, and for what is another tenant's."""

import re
import time
from typing import Any

import pytest
from refusal_calls import PNG, Told, told
from refusal_house import Surface

from calotype.dialects.endpoints import Endpoint
from calotype.kernel.generation import Scope
from calotype.openapi import ENDPOINTS

UUID = "01a1f9fb-51fa-704e-b50f-57f37d5c9d4e"
MODEL = "/fal/run/test/picture"
UNDOCUMENTED: tuple[tuple[str, str], ...] = (
    ("GET", MODEL), ("PUT", MODEL), ("POST", "/fal/rest/tokens/"), ("POST", "/fal/rest/tokens/realtime"),
    ("POST", "/fal/rest/storage/auth/token"), ("POST", "/fal/rest/storage/upload/initiate-multipart"),
    ("POST", "/fal/cdn/files/upload"), ("POST", "/fal/cdn/files/upload/multipart"),
    ("GET", "/fal/rest/storage/files/acl"), ("PUT", "/fal/rest/storage/files/acl"),
    ("POST", "/fal/rest/storage/files/sign"), ("GET", f"/fal/queue/test/picture/requests/{UUID}/response"),
    ("POST", "/v1/responses"), ("POST", "/v1/moderations"), ("POST", "/api/v1/images/generations"),
)  # fmt: skip
OPEN = ("/v1/content/jobs/", "/v1/search", "/catalog", "/v1/media/")
"""What is found by anybody, or by an address that is its own permission."""
REFUSED = {
    "openai": Told(401, "invalid_api_key"), "jobs": Told(401, ""), "image": Told(401, "INVALID_API_KEY"),
    "content": Told(401, "invalid_api_key"), "fal": Told(401, "unauthorized"),
    "platform": Told(401, "authorization_error"),
}  # fmt: skip


def api_of(path: str) -> str:
    if path.startswith("/fal/api/"):
        return "platform"
    if path.startswith("/fal/"):
        return "fal"
    if path.startswith(("/v1/content/", "/v1/search", "/catalog")):
        return "content"
    if path.startswith("/v1/") or path == "/api/v1/images/generations":
        return "openai"
    image = ("/api/v1/image/", "/api/v1/video/", "/api/v1/keys", "/api/v1/usage", "/api/health")
    return "image" if path.startswith(image) else "jobs"


def concrete(one: Endpoint) -> str:
    return re.sub(r"\{[^}]+\}", UUID, one.path.replace("{model}", "test/picture"))


def closed() -> list[tuple[str, str]]:
    listed = [(one.method, concrete(one)) for one in ENDPOINTS if not one.public]
    return [*(pair for pair in listed if not pair[1].startswith(OPEN)), *UNDOCUMENTED]


@pytest.fixture(scope="module")
def bad_keys(_surface: Surface) -> dict[str, str]:
    """Return headers that hold no key that is good."""
    house, account = _surface.house, _surface.account
    good = account.key()
    revoked_id, revoked = account.keyed()
    house.ask(house.app.accounts.revoke(revoked_id))
    expired = account.key(expires_at_ms=int(time.time() * 1000) - 1)
    wrong = good[:-1] + ("0" if good[-1] != "0" else "1")
    _, _, ident, secret = good.split("_")
    return {
        "Bearer": "", "a wrong secret": f"Bearer {wrong}", "an unknown key": f"Bearer ct_live_{'0' * 16}_{'0' * 48}",
        "revoked": f"Bearer {revoked}", "expired": f"Bearer {expired}", "another scheme": f"Basic {good}",
        "another class": f"Bearer {good.replace('live', 'test')}", "half": f"Key {ident}:",
        "turned": f"Key {secret}:{ident}", "long": "Bearer " + "x" * 5000, "odd": "Bearer \xff\xfe",
    }  # fmt: skip


@pytest.mark.parametrize(("method", "path"), closed())
def test_no_call_is_answered_without_a_good_key(
    method: str, path: str, bad_keys: dict[str, str], asked: Surface
) -> None:
    api = api_of(path)
    answer = asked.http.request(method, path)
    assert told(api, answer) == (Told(401, "UNAUTHORIZED") if api == "image" else REFUSED[api]), answer.text
    bodies = set()
    for why, text in bad_keys.items():
        answer = asked.http.request(method, path, headers={b"authorization": text.encode("latin-1")})
        assert told(api, answer) == REFUSED[api], (why, answer.text)
        bodies.add(re.sub("[0-9a-f-]{36}", "", answer.text))
    assert len(bodies) == 1, "every key that is no good gets the same answer"


ADMIN = [
    (one.method, concrete(one))
    for one in ENDPOINTS
    if one.path.startswith(
        ("/api/v1/keys", "/fal/api/v1/keys", "/fal/api/v1/account/billing", "/fal/api/v1/account/fo")
    )
    or one.path in ("/fal/api/v1/models/usage", "/fal/api/v1/models/billing-events")
    or one.path.endswith("/payloads")
]


@pytest.mark.parametrize(("method", "path"), ADMIN)
def test_what_is_for_administrators_needs_their_scope(method: str, path: str, asked: Surface) -> None:
    plain = asked.account.key(scopes=(Scope.API,))
    answer = asked.http.request(method, path, headers={"authorization": f"Key {plain}"})
    api = api_of(path)
    expected = Told(403, "FORBIDDEN") if api == "image" else Told(403, "authorization_error")
    found = told(api, answer)
    assert (found.status, found.code) == (expected.status, expected.code), answer.text


@pytest.fixture(scope="module")
def theirs(_surface: Surface) -> dict[str, str]:
    """Return the ids of what another organisation has, of each kind there is."""
    other = _surface.house.account()
    key_id, key = other.keyed()
    auth = {"authorization": f"Key {key}"}
    http = _surface.http

    def done(method: str, path: str, **given: Any) -> Any:
        answer = http.request(method, path, headers=auth, **given)
        assert answer.status_code < 300, answer.text
        return answer.json()

    sketch = {"prompt": "x", "image_size": "square"}
    request = done("POST", "/fal/queue/local/sketch", json=sketch)["request_id"]
    output = http.post("/fal/run/local/sketch", json=sketch, headers=auth)
    finished = output.headers["x-fal-request-id"]
    film = done("POST", "/v1/videos", json={"model": "local/sketch-video", "prompt": "x", "seconds": 1})["id"]
    still = done("POST", "/api/v1/media/extract-last-frame", json={"video_url": "https://example.com/a.mp4"})["job_id"]
    return {
        "request": request, "finished": finished, "film": film, "job": still, "key": key_id,
        "file": done("POST", "/v1/files", files={"file": ("a.png", PNG)}, data={"purpose": "user_data"})["id"],
        "output": output.json()["images"][0]["url"],
        "upload": done("POST", "/fal/cdn/files/upload", content=PNG)["access_url"],
    }  # fmt: skip


FOREIGN: list[tuple[str, str]] = [
    ("GET", "/v1/videos/{film}"), ("DELETE", "/v1/videos/{film}"), ("GET", "/v1/videos/{film}/content"),
    ("POST", "/v1/videos/{film}/remix"), ("GET", "/v1/files/{file}"), ("GET", "/v1/files/{file}/content"),
    ("DELETE", "/v1/files/{file}"),
    ("GET", "/api/v1/media/status/{job}"), ("GET", "/api/v1/text-to-image/status/{job}"),
    ("POST", "/api/v1/veo31-video/cancel/{job}"), ("GET", "/api/v1/video/status?operation_id={film}"),
    ("GET", "/api/v1/video/status?operation_id=operations/{request}"),
    ("GET", "/api/v1/keys/{key}"), ("PATCH", "/api/v1/keys/{key}"), ("DELETE", "/api/v1/keys/{key}"),
    ("GET", "/v1/content/jobs/{job}"), ("GET", "/v1/content/jobs/{job}/result"),
    ("GET", "/fal/queue/local/sketch/requests/{request}/status"),
    ("GET", "/fal/queue/local/sketch/requests/{request}/status/stream"),
    ("GET", "/fal/queue/local/sketch/requests/{request}"),
    ("GET", "/fal/queue/local/sketch/requests/{finished}/response"),
    ("PUT", "/fal/queue/local/sketch/requests/{request}/cancel"),
    ("DELETE", "/fal/api/v1/models/requests/{finished}/payloads"),
    ("DELETE", "/fal/api/v1/keys/{key}"),
    ("GET", "/fal/api/v1/storage/files/acl?url={output}"), ("GET", "/fal/api/v1/storage/files/acl?url={upload}"),
    ("PUT", "/fal/api/v1/storage/files/acl?url={upload}"), ("POST", "/fal/api/v1/storage/files/sign?url={output}"),
    ("POST", "/fal/rest/storage/files/sign?url={upload}"),
]  # fmt: skip
BODIES = {
    "remix": {"prompt": "x"},
    "sign": {"expiration_seconds": 60},
    "acl": {"default": "hide"},
    "keys": {"name": "x"},
}


@pytest.mark.parametrize(("method", "path"), FOREIGN)
def test_what_is_another_tenants_does_not_exist(method: str, path: str, theirs: dict[str, str], asked: Surface) -> None:
    body = next((one for word, one in BODIES.items() if word in path and method in ("POST", "PUT", "PATCH")), None)
    answers = []
    for ids in (
        theirs,
        dict.fromkeys(theirs, UUID) | {"output": "http://x/v1/media/a/b", "upload": "http://x/files/a/b"},
    ):
        answer = asked.send(method, path.format(**ids), json=body)
        answers.append(answer)
        if path.endswith("/cancel") and path.startswith("/fal/"):
            assert (answer.status_code, answer.json()["status"]) == (404, "NOT_FOUND")
            continue
        found = told(api_of(path), answer)
        assert found.status == 404 and found.code.lower() in ("", "not_found", "job_not_found"), answer.text
    assert re.sub("[0-9a-f-]{36}", "", answers[0].text) == re.sub("[0-9a-f-]{36}", "", answers[1].text)


def test_lists_and_reports_hold_nothing_of_another_tenant(theirs: dict[str, str], asked: Surface) -> None:
    empty = (
        "/fal/api/v1/models/requests/search", "/fal/api/v1/models/requests/by-endpoint?endpoint_id=local/sketch",
        f"/fal/api/v1/models/requests/by-endpoint?endpoint_id=local/sketch&request_id={theirs['finished']}",
        f"/fal/api/v1/models/billing-events?request_id={theirs['finished']}", "/fal/api/v1/models/billing-events",
        f"/fal/api/v1/models/billing-events?api_key_id={theirs['key']}", "/fal/api/v1/models/usage?expand=summary",
        f"/fal/api/v1/models/usage?api_key_id={theirs['key']}&expand=summary", "/v1/videos", "/v1/files",
        "/fal/api/v1/models/analytics?endpoint_id=local/sketch&expand=summary,request_count",
        "/api/v1/text-to-image/history", "/api/v1/sora2-character/list",
    )  # fmt: skip
    for path in empty:
        body = asked.send("GET", path).json()
        lists = [value for value in body.values() if isinstance(value, list)]
        assert lists and not any(lists), (path, body)
    keys = asked.send("GET", "/fal/api/v1/keys?limit=100").text + asked.send("GET", "/api/v1/keys").text
    assert theirs["key"] not in keys
