"""Every address that fal's clients know is somebody's here, whichever way it is reached (`wire/fal.md §2-7, §11`)."""

import httpx2
import pytest
from fal_caller import MODEL, Fal

from running import House

REQUEST = f"/{MODEL}/requests/01a1f9fb-51fa-704e-b50f-57f37d5c9d4e"
ROUTES: list[tuple[str, str, str, int]] = [
    ("POST", "queue.fal.run", f"/{MODEL}", 422),
    ("POST", "queue.falrun.com", f"/{MODEL}", 422),
    ("GET", "queue.fal.run", f"{REQUEST}/status", 404),
    ("GET", "queue.fal.run", f"{REQUEST}/status?logs=1", 404),
    ("GET", "queue.fal.run", f"{REQUEST}/status/stream", 404),
    ("GET", "queue.fal.run", REQUEST, 404),
    ("GET", "queue.fal.run", f"{REQUEST}/response", 404),
    ("PUT", "queue.fal.run", f"{REQUEST}/cancel", 404),
    ("GET", "queue.fal.run", f"/{MODEL}/turbo{REQUEST.removeprefix(f'/{MODEL}')}/status", 404),
    ("GET", "queue.fal.run", f"/workflows{REQUEST}/status", 404),
    ("GET", "queue.fal.run", f"/requests{REQUEST.partition('/requests')[2]}", 404),
    ("POST", "fal.run", f"/{MODEL}", 422),
    ("GET", "fal.run", f"/{MODEL}", 422),
    ("POST", "falrun.com", f"/{MODEL}", 422),
    ("POST", "fal.run", f"/{MODEL}/stream", 422),
    ("POST", "rest.fal.ai", "/tokens", 400),
    ("POST", "rest.alpha.fal.ai", "/tokens", 400),
    ("POST", "rest.fal.ai", "/tokens/realtime", 400),
    ("GET", "rest.fal.ai", "/.well-known/jwks.json", 200),
    ("GET", "rest.alpha.fal.ai", "/.well-known/jwks.json", 200),
    ("POST", "rest.fal.ai", "/storage/upload/initiate?storage_type=fal-cdn-v3", 200),
    ("POST", "rest.alpha.fal.ai", "/storage/upload/initiate?storage_type=gcs", 200),
    ("POST", "rest.fal.ai", "/storage/upload/initiate-multipart?storage_type=fal-cdn-v3", 200),
    ("POST", "rest.fal.ai", "/storage/auth/token?storage_type=fal-cdn-v3", 200),
    ("POST", "v3.fal.media", "/files/upload", 422),
    ("POST", "v3b.fal.media", "/files/upload/multipart", 200),
    ("PUT", "v3.fal.media", "/upload/ticket", 404),
    ("PUT", "v3.fal.media", "/files/a/b.png/multipart/ticket/1", 404),
    ("POST", "v3.fal.media", "/files/a/b.png/multipart/ticket/complete", 404),
    ("GET", "fal.media", "/files/a/b.png", 404),
    ("GET", "api.fal.ai", "/v1/models", 200),
    ("GET", "api.fal.ai", "/v1/models/pricing", 400),
    ("POST", "api.fal.ai", "/v1/models/pricing/estimate", 400),
    ("GET", "api.fal.ai", "/v1/models/usage", 403),
    ("GET", "api.fal.ai", "/v1/models/analytics", 400),
    ("GET", "api.fal.ai", "/v1/models/billing-events", 403),
    ("GET", "api.fal.ai", "/v1/models/requests/by-endpoint", 400),
    ("GET", "api.fal.ai", "/v1/models/requests/search", 200),
    ("DELETE", "api.fal.ai", "/v1/models/requests/x/payloads", 403),
    ("GET", "api.fal.ai", "/v1/account/billing", 403),
    ("GET", "api.fal.ai", "/v1/account/focus", 403),
    ("GET", "api.fal.ai", "/v1/account/model-access-controls", 200),
    ("GET", "api.fal.ai", "/v1/keys", 403),
    ("POST", "api.fal.ai", "/v1/keys", 403),
    ("DELETE", "api.fal.ai", "/v1/keys/x", 403),
    ("POST", "api.fal.ai", "/v1/storage/files/sign", 400),
    ("GET", "api.fal.ai", "/v1/storage/files/acl", 400),
    ("PUT", "api.fal.ai", "/v1/storage/files/acl", 400),
    ("GET", "api.fal.ai", "/v1/storage/settings", 200),
    ("PUT", "api.fal.ai", "/v1/storage/settings", 400),
    ("GET", "api.fal.ai", "/v1/meta", 200),
    ("GET", "fal.ai", f"/api/openapi/queue/openapi.json?endpoint_id={MODEL}", 200),
    *(("GET", "api.fal.ai", f"/v1/{path}", 501) for path in (
        "organization/teams", "organization/usage", "organization/billing-events", "organization/focus", "workflows",
        "workflows/me/mine", "assets", "assets/collections", "serverless/apps", "serverless/usage",
        "serverless/metrics", "compute/instances",
    )),
    ("GET", "api.fal.ai", "/v1/models/requests/search?query=sunset", 501),
]  # fmt: skip
PREFIXES = {
    "queue": "queue.", "run": "fal.run falrun.com", "rest": "rest.", "cdn": "fal.media", "api": "api.fal.ai",
}  # fmt: skip


def below(host: str) -> str | None:
    """Return the prefix under which a host's addresses stand here too."""
    for name, words in PREFIXES.items():
        if any(host == word or (word in host and name not in ("run",)) for word in words.split()):
            return f"/fal/{name}"
    return None


@pytest.mark.parametrize(("method", "host", "path", "status"), ROUTES)
def test_an_address_is_answered_under_fals_name_below_our_prefix_and_through_the_proxy_path(
    method: str, host: str, path: str, status: int, fal: Fal, house: House
) -> None:
    bare, question, query = path.partition("?")
    ways: list[tuple[str, dict[str, str]]] = [
        (path, {"host": host}), (f"{bare}/{question}{query}", {"host": f"{host}:443"}),
        ("/api/fal/proxy", {"x-fal-target-url": f"https://{host}{path}"}),
    ]  # fmt: skip
    if (prefix := below(host)) is not None:
        ways.append((prefix + path, {}))
    for url, headers in ways:
        answer: httpx2.Response = fal.ask(method, url, headers=headers)
        assert answer.status_code == status, (url, headers, answer.text)
        assert "not found" not in answer.text or "Path /" not in answer.text, (url, answer.text)
        assert answer.headers["x-fal-request-id"]
