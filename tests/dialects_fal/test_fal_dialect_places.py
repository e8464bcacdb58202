"""Hosts, prefixes, the proxy path and the tunnel: four ways to the same handlers (`wire/fal.md §2, §12`)."""

import socket
import ssl
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
from fal_caller import MODEL, Fal
from fal_tls import Secure

from calotype.dialects.fal.authority import Authority, NoAuthorityError
from calotype.dialects.fal.endpoints import endpoint_id, polled_as, request_path
from calotype.dialects.fal.places import HOSTS
from calotype.dialects.fal.tunnel import leads_to_fal

PROXY = "/api/fal/proxy"
BODY = {"prompt": "a lighthouse"}


def at(fal: Fal, host: str, path: str, method: str = "POST", **given: Any) -> httpx2.Response:
    return fal.ask(method, path, headers={"host": host}, **given)


def test_a_fal_host_name_alone_says_which_service_is_meant(fal: Fal) -> None:
    answer = at(fal, "queue.fal.run", f"/{MODEL}", json=BODY)
    urls = answer.json()
    assert urls["status_url"] == f"https://queue.fal.run/{MODEL}/requests/{urls['request_id']}/status"
    backup = at(fal, "queue.falrun.com:443", f"/{MODEL}", json=BODY).json()
    assert backup["response_url"].startswith("https://queue.falrun.com/"), "an answer keeps the client's own origin"
    direct = at(fal, "fal.run", f"/{MODEL}", json=BODY)
    url = direct.json()["images"][0]["url"]
    assert url.startswith("https://v3.fal.media/v1/media/")
    assert at(fal, "v3.fal.media", url.removeprefix("https://v3.fal.media"), "GET").content[:4] == b"\x89PNG"
    for rest in ("rest.fal.ai", "rest.alpha.fal.ai"):
        token = at(fal, rest, "/storage/auth/token?storage_type=fal-cdn-v3", json={}).json()
        assert token["base_url"] == "https://v3.fal.media"
        urls = at(fal, rest, "/storage/upload/initiate", json={"file_name": "a"}).json()
        assert urls["upload_url"].startswith("https://v3.fal.media/upload/")
    assert "models" in at(fal, "api.fal.ai", "/v1/models", "GET").json()
    for host in ("fal.ai", "ws.fal.run"):
        assert at(fal, host, "/v1/models", "GET").status_code == 404


def test_a_path_under_a_fal_host_is_never_one_of_our_own(fal: Fal) -> None:
    for path in ("/healthz", "/v1/models", "/api/v1/models", "/metrics"):
        answer = at(fal, "queue.fal.run", path, "GET")
        assert answer.status_code == 405 and "detail" in answer.json()
        assert answer.headers["x-fal-request-id"]


@pytest.mark.parametrize("path", [PROXY, PROXY + "/"])
def test_the_proxy_path_reads_the_target_and_never_fetches_it(path: str, fal: Fal) -> None:
    def through(target: str, method: str = "POST", **given: Any) -> httpx2.Response:
        return fal.ask(method, path, headers={"x-fal-target-url": target}, **given)

    ident = through(f"https://queue.fal.run/{MODEL}?fal_webhook=", json=BODY).json()["request_id"]
    fal.wait(ident)
    status = through(f"https://queue.fal.run/test/picture/requests/{ident}/status?logs=1", "GET")
    assert status.json()["status"] == "COMPLETED" and status.json()["logs"], "the query is the target's"
    assert through(f"https://fal.run/{MODEL}", json=BODY).json()["images"]
    assert through("https://rest.alpha.fal.ai/storage/upload/initiate", json={}).json()["upload_url"]


@pytest.mark.parametrize(
    "target", [
        None, "", "https://example.com/x", "http://fal.run/x", "https://fal.run.example.com/x", "https://u@fal.run/x",
        "https://fal.run:8443/x", "ftp://fal.run/x", "fal.run/x", "https://[fal.run/x", "https://fal.run:port/x",
    ],
)  # fmt: skip
def test_a_target_that_is_not_fals_is_an_invalid_request(target: str | None, fal: Fal) -> None:
    headers = {} if target is None else {"x-fal-target-url": target}
    answer = fal.ask("POST", PROXY, headers=headers, json=BODY)
    assert (answer.status_code, answer.json()["detail"]) == (400, "Invalid request")


def test_browsers_may_send_and_read_what_fals_client_uses(http: httpx2.Client) -> None:
    wanted = "authorization,content-type,x-fal-target-url,x-fal-queue-priority,x-fal-object-lifecycle-preference"
    origin = {"origin": "https://app.example.com"}
    allowed = http.options(
        PROXY, headers=origin | {"access-control-request-method": "PUT", "access-control-request-headers": wanted}
    )
    assert allowed.status_code == 204 and allowed.headers["access-control-allow-headers"] == wanted
    assert {"GET", "POST", "PUT"} <= set(allowed.headers["access-control-allow-methods"].split(", "))
    exposed = http.post(PROXY, headers=origin).headers["access-control-expose-headers"]
    for name in ("x-fal-request-id", "x-fal-error-type", "x-fal-request-timeout-type", "x-fal-billable-units"):
        assert name in exposed


def test_endpoint_ids_and_paths_are_read_as_every_client_writes_them() -> None:
    assert endpoint_id("/fal-ai/flux/dev") == "fal-ai/flux/dev"
    assert endpoint_id("/110602490-lora") == "110602490/lora"
    assert polled_as("fal-ai/flux/dev/image-to-image") == "fal-ai/flux"
    assert polled_as("workflows/me/flow/fast") == "workflows/me/flow"
    assert polled_as("comfy/me/flow") == "comfy/me/flow" and polled_as("wan") == "wan"
    for path, tail in (("/a/b/requests/X", ""), ("/requests/x/status", "status"), ("/a/requests/x/cancel", "cancel"),
                       ("/a/b/c/d/requests/x/status/stream", "status/stream")):  # fmt: skip
        found = request_path(path)
        assert found is not None and (found.id, found.tail) == ("x", tail)
    assert request_path("/a/b/requests") is None and request_path("/a/b/requests/x/other") is None


@pytest.fixture
def dialled(secure: Secure) -> Iterator[Any]:
    opened: list[socket.socket] = []

    def dial(request: bytes) -> bytes:
        host, _, port = secure.proxy.removeprefix("http://").partition(":")
        link = socket.create_connection((host, int(port)), timeout=10)
        opened.append(link)
        link.sendall(request)
        return link.recv(1000)

    yield dial
    for link in opened:
        link.close()


@pytest.mark.parametrize(
    ("request_line", "status"), [
        (b"CONNECT example.com:443 HTTP/1.1", b"403"), (b"CONNECT fal.run:80 HTTP/1.1", b"403"),
        (b"CONNECT 127.0.0.1:443 HTTP/1.1", b"403"), (b"GET http://fal.run/ HTTP/1.1", b"405"),
        (b"nonsense", b"405"), (b"CONNECT " + b"x" * 9000, b"431"),
    ],
)  # fmt: skip
def test_the_tunnel_is_never_an_open_proxy(request_line: bytes, status: bytes, dialled: Any) -> None:
    end = b"" if status == b"431" else b"\r\n\r\n"
    assert dialled(request_line + end).startswith(b"HTTP/1.1 " + status)


def test_only_fals_names_on_the_port_of_https_are_led_anywhere() -> None:
    assert all(leads_to_fal(f"{name}:443") for name in HOSTS) and leads_to_fal("QUEUE.fal.run:443")
    assert not any(leads_to_fal(name) for name in ("fal.run", "fal.run:8443", "evil.fal.run:443", ":443", ""))


def test_who_does_not_trust_the_authority_gets_no_further_than_the_handshake(secure: Secure) -> None:
    client = httpx2.Client(proxy=secure.proxy, trust_env=False)
    with pytest.raises(httpx2.ConnectError):
        client.get("https://queue.fal.run/")
    trusting = ssl.create_default_context(cafile=str(secure.bundle))
    with httpx2.Client(proxy=secure.proxy, trust_env=False, verify=trusting) as client:
        answer = client.post("https://queue.fal.run/test/picture", json={})
        assert answer.status_code == 401


def test_the_authority_is_made_once_and_its_keys_are_private(tmp_path: Any) -> None:
    authority = Authority(tmp_path / "ca")
    with pytest.raises(NoAuthorityError):
        authority.leaf()
    with pytest.raises(NoAuthorityError):
        authority.bundle()
    assert authority.make()
    first = authority.certificate.read_bytes()
    assert not authority.make() and authority.certificate.read_bytes() == first
    _, private = authority.leaf()
    assert {path.stat().st_mode & 0o077 for path in (private, tmp_path / "ca" / "ca.key")} == {0}
    assert authority.bundle().endswith(first.decode()) and authority.bundle().count("BEGIN") > 1


def test_the_authority_cannot_vouch_for_anybody_else(tmp_path: Any) -> None:
    authority = Authority(tmp_path / "ca")
    authority.make()
    chain, private = authority.leaf(["example.com"])
    server, client = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER), ssl.create_default_context(cafile=authority.certificate)
    server.load_cert_chain(chain, private)
    inside, outside = ssl.MemoryBIO(), ssl.MemoryBIO()
    left = client.wrap_bio(inside, outside, server_hostname="example.com")
    right = server.wrap_bio(outside, inside, server_side=True)
    with pytest.raises(ssl.SSLCertVerificationError, match="permitted subtree"):
        for _ in range(10):
            for side in (left, right):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
