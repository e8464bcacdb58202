"""A request that may not leave is refused before one byte leaves: no connection is opened and no name resolved."""

import itertools
import time
from typing import Any

import httpx2
import pytest
from watching import MODELS, PROVIDERS, Watched

from upstream import Upstream

IMAGES = "/v1/images/generations"
VIDEOS = "/v1/videos/generations"
REGIONS = (None, "WORLD", "EU", "CH", "US", "ASIA")
CLASSES = ("paid", "test", "unlimited")


def ask(client: httpx2.Client, key: str, body: dict[str, Any], path: str = IMAGES, **headers: str) -> httpx2.Response:
    whole = {"prompt": "x", **body} if path == IMAGES else body
    return client.post(path, json=whole, headers={"authorization": f"Bearer {key}", **headers})


def allowed(provider: str, *, phi: bool, region: str | None, key_class: str, strict: bool) -> bool:
    """The policy once more, from the contract's words."""
    declared = PROVIDERS[provider]
    if key_class not in declared.get("key_classes", ("paid", "unlimited")):
        return False
    if phi and declared.get("phi", {}).get("expires", "") < "2021":
        return False
    if region in (None, "WORLD") or region in declared["regions"]:
        return True
    return declared["regions"] == ["*"] and not phi and not strict


@pytest.mark.parametrize("model", MODELS)
@pytest.mark.parametrize("org", ["plain", "strict", "swiss"])
def test_a_request_reaches_only_the_providers_it_may_reach(
    org: str, model: str, client: httpx2.Client, watched: Watched, upstream: Upstream
) -> None:
    for phi, region, key_class in itertools.product((False, True), REGIONS, CLASSES):
        headers = {"X-PHI": "true" if phi else "false", **({} if region is None else {"X-Region": region})}
        asked = region or ("CH" if org == "swiss" else None)
        may = [
            name for name in MODELS[model]
            if allowed(name, phi=phi, region=asked, key_class=key_class, strict=org == "strict")
        ]  # fmt: skip
        upstream.seen.clear()
        watched.mark()
        key = watched.keys[f"{org}/{key_class}"]
        answer = ask(client, key, {"model": model, "response_format": "b64_json"}, **headers)
        case = (org, model, headers, key_class, answer.text[:300])
        assert answer.headers["x-phi-tier"] == ("phi" if phi else "non_phi"), case
        if not may:
            assert answer.status_code in (403, 404), case
            assert answer.json()["error"]["code"] in ("phi_blocked", "no_route", "model_not_allowed"), case
            assert answer.headers["x-phi-attempts"] == "0" and answer.headers["x-phi-cost-micro"] == "0"
            assert watched.done == [] and upstream.seen == [], case
            continue
        assert answer.status_code == 200, case
        named = [name for name in may if asked not in (None, "WORLD") and asked in PROVIDERS[name]["regions"]]
        chosen = (named or may)[0]
        assert [seen.path for seen in upstream.seen] == [f"/{chosen}/images/generations"], case
        region_shown = asked or "WORLD"
        assert answer.headers["x-phi-routed"].endswith(f"/{region_shown}/{'phi' if phi else 'non_phi'}"), case
        assert answer.headers["x-phi-routed"].startswith(chosen)


def test_the_watch_sees_a_connection_and_a_name(client: httpx2.Client, watched: Watched, upstream: Upstream) -> None:
    """Prove the instrument: what is allowed does show up."""
    notes = [tuple(line) for line in _all_notes(watched)]
    watched.mark()
    key = watched.keys["plain/paid"]
    assert ask(client, key, {"model": "test/world"}).status_code == 200
    port = upstream.url.removesuffix("/v1").rpartition(":")[2]
    reached = [*notes, *watched.done]
    assert any(event == "socket.connect" and port in target for event, target in reached)
    still = {"model": "local/ken-burns", "image_url": "https://watched.invalid/still.png", "seconds": 1}
    assert ask(client, key, still, VIDEOS).status_code == 202
    _until(lambda: ("socket.getaddrinfo", "watched.invalid") in watched.done)


REFUSED: list[tuple[str, str, str, dict[str, Any], dict[str, str], int, str]] = [
    ("no key", "", IMAGES, {"model": "test/world"}, {}, 401, "invalid_api_key"),
    ("no funds", "poor/paid", IMAGES, {"model": "test/world"}, {}, 402, "insufficient_credits"),
    ("not on the key's list", "bound/paid", IMAGES, {"model": "test/world"}, {}, 403, "model_not_allowed"),
    ("key class", "plain/test", IMAGES, {"model": "test/world"}, {}, 403, "model_not_allowed"),
    ("unknown model", "plain/paid", IMAGES, {"model": "nothing"}, {}, 404, "model_not_found"),
    ("retired model", "plain/paid", IMAGES, {"model": "dall-e-3"}, {}, 410, "model_retired"),
    ("planned model", "plain/paid", IMAGES, {"model": "krea-2"}, {}, 501, "planned"),
    ("bad input", "plain/paid", IMAGES, {"model": "test/world", "nonsense": 1}, {}, 400, "invalid_input"),
    ("bad header", "plain/paid", IMAGES, {"model": "test/world"}, {"X-PHI": "maybe"}, 400, "invalid_input"),
    ("PHI by URL", "plain/paid", IMAGES, {"model": "test/eu"}, {"X-PHI": "true"}, 403, "phi_blocked"),
    ("PHI and a webhook", "plain/paid", IMAGES,
     {"model": "test/eu", "response_format": "b64_json", "webhook_url": "https://hook.invalid/x"},
     {"X-PHI": "true"}, 403, "phi_blocked"),
    ("PHI and an expired agreement", "plain/paid", IMAGES, {"model": "test/us", "response_format": "b64_json"},
     {"X-PHI": "true"}, 403, "phi_blocked"),
    ("PHI on this machine, not declared", "plain/paid", IMAGES, {"model": "local/sketch"}, {"X-PHI": "true"}, 403,
     "phi_blocked"),
    ("PHI and a file by name", "plain/paid", VIDEOS,
     {"model": "local/ken-burns", "image_url": "https://still.invalid/x.png"}, {"X-PHI": "true"}, 403, "phi_blocked"),
    ("region and a file by name", "strict/paid", VIDEOS,
     {"model": "local/ken-burns", "image_url": "https://still.invalid/x.png"}, {"X-Region": "EU"}, 404, "no_route"),
    ("private picture", "plain/paid", VIDEOS, {"model": "local/ken-burns", "image_url": "http://10.1.2.3/x.png"}, {},
     400, "invalid_input"),
    ("loopback by name", "plain/paid", VIDEOS, {"model": "local/ken-burns", "image_url": "http://a.localhost/x.png"},
     {}, 400, "invalid_input"),
    ("private webhook", "plain/paid", IMAGES, {"model": "test/world", "webhook_url": "http://192.168.1.1/"}, {}, 400,
     "invalid_input"),
    ("private webhook in a header", "plain/paid", IMAGES, {"model": "test/world"},
     {"X-Webhook-Url": "http://[fd00::1]/"}, 400, "invalid_input"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("who", "path", "body", "headers", "status", "code"), [row[1:] for row in REFUSED], ids=[row[0] for row in REFUSED]
)
def test_a_refused_request_opens_no_connection_and_resolves_no_name(
    who: str, path: str, body: dict[str, Any], headers: dict[str, str], status: int, code: str,
    client: httpx2.Client, watched: Watched, upstream: Upstream,
) -> None:  # fmt: skip
    watched.mark()
    answer = ask(client, watched.keys.get(who, "ct_live_nobody"), body, path, **headers)
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code), answer.text
    assert client.get("/readyz").status_code == 200
    quiet = [note for note in watched.done if "watched.invalid" not in note[1]]
    assert quiet == [] and upstream.seen == []


def test_a_phi_request_leaves_nothing_behind(client: httpx2.Client, watched: Watched, upstream: Upstream) -> None:
    words = "patient Ada Lovelace, ward seven"
    body = {"model": "test/eu", "prompt": words, "response_format": "b64_json", "user": "nurse-joy"}
    answer = ask(client, watched.keys["plain/paid"], body, **{"X-PHI": "true", "X-Region": "EU"})
    assert answer.status_code == 200 and answer.json()["data"][0]["b64_json"]
    assert upstream.seen[-1].json["prompt"] == words
    picture = answer.json()["data"][0]["b64_json"][:40].encode()
    for path in watched.data_dir.rglob("*"):
        if path.is_file():
            kept = path.read_bytes()
            assert b"Lovelace" not in kept and b"nurse-joy" not in kept and picture not in kept, path
    assert not [path for path in (watched.data_dir / "data" / "media").rglob("*eu*") if path.is_file()]


def test_a_failover_never_leaves_what_was_allowed(client: httpx2.Client, watched: Watched, upstream: Upstream) -> None:
    from upstream import error

    upstream.answers = [error(429, "rate_limit_exceeded")] * 30
    body = {"model": "test/many", "response_format": "b64_json"}
    answer = ask(client, watched.keys["plain/paid"], body, **{"X-PHI": "true"})
    assert answer.status_code == 503
    assert {seen.path for seen in upstream.seen} == {"/eu/images/generations"}


def _all_notes(watched: Watched) -> list[tuple[str, str]]:
    watched._seen = 0
    return watched.done


def _until(true: Any, within_s: float = 20.0) -> None:
    end = time.monotonic() + within_s
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)
