"""Webhooks as fal sends them, verified as fal's documentation tells receivers to (`wire/fal.md §10`)."""

import base64
import hashlib
import http.server
import json
import queue
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from fal_caller import MODEL, Fal

from calotype.dialects.fal.hooks import HookKeys
from house_fixtures import settings_for
from running import House, running
from upstream import Upstream, error

KEYS = "/.well-known/jwks.json"


class Post:
    """What a receiver on loopback was sent, in order."""

    def __init__(self) -> None:
        self.got: queue.Queue[tuple[dict[str, str], bytes]] = queue.Queue()
        got = self.got

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["content-length"]))
                got.put(({name.lower(): value for name, value in self.headers.items()}, body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}/hook?a=1&b=2"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def next(self) -> tuple[dict[str, str], dict[str, Any], bytes]:
        headers, body = self.got.get(timeout=20)
        return headers, json.loads(body), body


@pytest.fixture(scope="module")
def open_house(_upstream: Upstream, cards_dir: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """Return a server that may call receivers on this machine."""
    folder: Path = tmp_path_factory.mktemp("open")
    settings = settings_for(_upstream, cards_dir=cards_dir, security={"allowed_private_hosts": ["127.0.0.1"]})
    with running(folder, **settings) as house:
        yield house


@pytest.fixture
def post() -> Iterator[Post]:
    post = Post()
    yield post
    post.server.shutdown()
    post.server.server_close()


@pytest.fixture
def caller(open_house: House, upstream: Upstream) -> Iterator[Fal]:
    with httpx2.Client(base_url=open_house.url, timeout=60) as client:
        yield Fal(client, open_house.account().key())


def verified(house: House, headers: dict[str, str], body: bytes, path: str = "/fal/rest" + KEYS) -> bool:
    """Check a signature against every published key, as receivers do."""
    names = ("x-fal-webhook-request-id", "x-fal-webhook-user-id", "x-fal-webhook-timestamp")
    signed = "\n".join([*(headers[name] for name in names), hashlib.sha256(body).hexdigest()]).encode()
    for key in httpx2.get(house.url + path).json()["keys"]:
        assert (key["kty"], key["crv"]) == ("OKP", "Ed25519") and key["kid"]
        public = Ed25519PublicKey.from_public_bytes(base64.urlsafe_b64decode(key["x"] + "="))
        try:
            public.verify(bytes.fromhex(headers["x-fal-webhook-signature"]), signed)
        except InvalidSignature:
            continue
        return True
    return False


@pytest.mark.parametrize("where", ["query", "body"])
def test_a_request_that_succeeded_is_announced_with_its_output(
    where: str, caller: Fal, open_house: House, post: Post
) -> None:
    if where == "query":
        ident = caller.submit(query="?fal_webhook=" + post.url.replace("&", "%26")).json()["request_id"]
    else:
        ident = caller.submit(json={"prompt": "a lighthouse", "fal_webhook": post.url}).json()["request_id"]
    headers, told, body = post.next()
    assert headers["content-type"] == "application/json"
    assert headers["x-fal-webhook-request-id"] == told["request_id"] == told["gateway_request_id"] == ident
    assert (told["status"], told["error"]) == ("OK", None)
    assert told["payload"]["prompt"] == "a lighthouse"
    url = told["payload"]["images"][0]["url"]
    assert httpx2.get(open_house.url + url[url.index("/v1/media/") :]).status_code == 200
    assert len(headers["x-fal-webhook-signature"]) == 128
    assert verified(open_house, headers, body)
    assert not verified(open_house, headers, body + b" ")
    assert not verified(open_house, headers | {"x-fal-webhook-timestamp": "1"}, body)


def test_a_request_that_failed_is_announced_with_the_body_of_its_result(
    caller: Fal, open_house: House, upstream: Upstream, post: Post
) -> None:
    upstream.answers[:] = [error(400, "moderation_blocked", kind="image_generation_user_error")]
    ident = caller.submit(query="?fal_webhook=" + post.url.replace("&", "%26")).json()["request_id"]
    headers, told, body = post.next()
    assert (told["request_id"], told["status"], told["error"]) == (ident, "ERROR", "Invalid status code: 422")
    assert told["payload"] == caller.result(ident).json()
    assert told["payload"]["detail"][0]["type"] == "content_policy_violation"
    assert verified(open_house, headers, body)


def test_the_keys_stand_where_fals_receivers_look(open_house: House) -> None:
    here = httpx2.get(open_house.url + "/fal/rest" + KEYS).json()
    for host in ("rest.fal.ai", "rest.alpha.fal.ai"):
        assert httpx2.get(open_house.url + KEYS, headers={"host": host}).json() == here


def test_a_rotated_secret_keeps_the_old_key_published_for_a_while() -> None:
    old, new = HookKeys([b"a" * 32]), HookKeys([b"b" * 32, b"a" * 32])
    assert old.jwks()["keys"][0] in new.jwks()["keys"]
    assert len(new.jwks()["keys"]) == 2
    assert old.headers("r", "u", 1, b"x") == old.headers("r", "u", 1, b"x") != new.headers("r", "u", 1, b"x")


def test_a_private_target_is_refused_before_anything_is_held(house: House, fal: Fal) -> None:
    answer = fal.submit(query="?fal_webhook=http://127.0.0.1:9/x")
    assert answer.status_code == 422 and answer.json()["detail"][0]["loc"] == ["query", "fal_webhook"]
    assert fal.submit(json={"prompt": "x", "fal_webhook": 5}).status_code == 422
    assert fal.submit(f"{MODEL}", query="?fal_webhook=").status_code == 200
