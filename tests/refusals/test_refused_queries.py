"""Lists and reports that are asked for what they cannot answer: the parameter is named, and what it takes."""

import base64
import json
from typing import Any

import pytest
from refusal_calls import Told, told
from refusal_house import Surface

NINES = "9" * 5000
OPENAI, JOBS, IMAGE, CONTENT = "/v1", "/api/v1", "/api/v1", "/v1/search"
PLATFORM = "/fal/api/v1"
MODEL = "endpoint_id=test/picture"
LIMITS = ("0", "-1", "x", "", "1e3", "1.5", "%C2%B2", "%00", NINES)
MOMENTS = ("yesterday", "2026-02-30", "2026-13-01", "0001-01-01", "9999-12-31T23:59:59-14:00", "", NINES)


def sealed(*values: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(values).encode()).decode().rstrip("=")


CURSORS = (
    "x",
    "%25%25%25",
    "%00",
    sealed(),
    sealed({}),
    sealed([]),
    sealed(None),
    sealed(1, 2, 3),
    sealed(True),
    NINES,
)
OPENAI_QUERIES = [
    *((f"/v1/videos?limit={text}", "limit") for text in (*LIMITS, "101")),
    *((f"/v1/files?limit={text}", "limit") for text in (*LIMITS, "10001")),
    ("/v1/videos?order=up", "order"), ("/v1/files?order=up", "order"), (f"/v1/files?purpose={'x' * 101}", "purpose"),
]  # fmt: skip
JOBS_QUERIES = [
    *((f"/api/v1/text-to-image/history?limit={text}", "limit") for text in (*LIMITS, "101")),
    *((f"/api/v1/sora2-character/list?limit={text}", "limit") for text in LIMITS),
    *((f"/api/v1/user/credits/history?limit={text}", "limit") for text in (*LIMITS, "501")),
    *((f"/api/v1/text-to-speech/history?cursor={text}", "cursor") for text in CURSORS),
]
IMAGE_QUERIES = [
    *((f"/api/v1/usage?{name}={text}", name) for name in ("from", "to") for text in MOMENTS if text not in ("", NINES)),
    ("/api/v1/usage?from=2026-01-02&to=2026-01-01", "from"), ("/api/v1/usage?from=2020-01-01&to=2026-01-01", "from"),
    ("/api/v1/usage?group_by=x", "group_by"), ("/api/v1/usage?group_by=%00", "group_by"),
]  # fmt: skip
CONTENT_QUERIES = [
    ("/v1/search?q=", "q"), (f"/v1/search?q={NINES}", "q"),
    *((f"/v1/search?q=x&limit={text}", "limit") for text in ("0", "-1", "x", "1.5", "26", NINES)),
]  # fmt: skip


@pytest.mark.parametrize(
    ("api", "queries", "expected"),
    [
        ("openai", OPENAI_QUERIES, (400, "invalid_input")), ("jobs", JOBS_QUERIES, (422, "value_error")),
        ("image", IMAGE_QUERIES, (400, "BAD_REQUEST")), ("content", CONTENT_QUERIES, (400, "invalid_input")),
    ],
)  # fmt: skip
def test_a_parameter_that_does_not_fit_is_named(
    api: str, queries: list[tuple[str, str]], expected: tuple[int, str], asked: Surface
) -> None:
    for path, field in queries:
        answer = asked.send("GET", path)
        assert told(api, answer) == Told(*expected, field), (path[:80], answer.text)


TOO_MANY = "&".join("a" for _ in range(30_000))
LARGE = [
    ("openai", "GET", "/v1/videos", Told(413, "payload_too_large", "query")),
    ("openai", "GET", "/v1/files", Told(413, "payload_too_large", "query")),
    ("jobs", "GET", "/api/v1/text-to-image/history", Told(413, "")),
    ("image", "GET", "/api/v1/usage", Told(413, "BAD_REQUEST", "query")),
    ("image", "GET", "/api/v1/video/status", Told(413, "BAD_REQUEST", "query")),
    ("content", "GET", "/v1/search", Told(413, "payload_too_large", "query")),
    ("fal", "POST", "/fal/queue/test/picture", Told(413, "payload_too_large")),
    ("fal", "GET", "/fal/run/test/picture", Told(413, "payload_too_large")),
    ("fal", "POST", "/fal/run/test/picture/stream", Told(413, "payload_too_large")),
    ("platform", "GET", f"{PLATFORM}/models", Told(413, "validation_error")),
]  # fmt: skip


@pytest.mark.parametrize(("api", "method", "path", "expected"), LARGE)
def test_a_query_of_very_many_parameters_is_not_read(
    api: str, method: str, path: str, expected: Told, asked: Surface
) -> None:
    body = {"prompt": "x"} if method == "POST" else None
    answer = asked.send(method, f"{path}?{TOO_MANY}", json=body)
    assert told(api, answer) == expected, answer.text


PAGED = (
    "/models?", "/models/usage?", f"/models/analytics?{MODEL}&", "/models/billing-events?",
    f"/models/requests/by-endpoint?{MODEL}&", f"/models/requests/by-endpoint?{MODEL}&sort_by=duration&",
    "/models/requests/search?", "/keys?",
)  # fmt: skip
SPANNED = ("/account/focus?source=estimate&", *(path for path in PAGED if path not in ("/models?", "/keys?")))
FRAMED = ("/models/usage?", f"/models/analytics?{MODEL}&")
NAMED = ("/models?", "/models/pricing?", *FRAMED, "/models/requests/by-endpoint?", "/models/requests/search?")
MANY = ",".join(f"a/{n}" for n in range(51))
REPEATED = "&".join(f"endpoint_id[]=a/{n}" for n in range(51))
PLATFORM_QUERIES: list[tuple[str, str]] = [
    *((f"{path}limit={text}", "limit") for path in PAGED for text in LIMITS),
    *((f"{path}cursor={text}", "cursor") for path in PAGED for text in CURSORS),
    *((f"{path}{name}={text}", name) for path in SPANNED for name in ("start", "end") for text in MOMENTS),
    *((f"{path}start=2026-02-02&end=2026-02-01", "start") for path in SPANNED),
    *((f"{path}start=2026-02-02&end=2026-02-02", "start") for path in SPANNED),
    *((f"{path}start=2001-01-01&end=2026-02-02", "start") for path in SPANNED),
    *((f"{path}timezone={zone}", "timezone") for path in FRAMED
      for zone in ("Middle/Earth", "../../etc/passwd", "Europe", "zone.tab", "UTC%00", "+01:00", "x" * 5000)),
    *((f"{path}timeframe={frame}", "timeframe") for path in FRAMED for frame in ("year", "%00", "DAY")),
    *((f"{path}bound_to_timeframe={text}", "bound_to_timeframe") for path in FRAMED for text in ("maybe", "1")),
    *((f"{path}start=2026-01-01&end=2026-06-01&timeframe=minute", "timeframe") for path in FRAMED),
    *((f"{path}{names}", "endpoint_id") for path in NAMED for names in (f"endpoint_id={MANY}", REPEATED)
      if MODEL not in path),
    *((f"{path}expand=everything", "expand") for path in (*PAGED[:-2], "/keys?", "/account/billing?")),
    *((f"{path}login_username=me", "login_username") for path in ("/models/usage?", "/models/billing-events?")),
    (f"/models/billing-events?request_id={MANY}", "request_id"), (f"/models/usage?api_key_id={MANY}", "api_key_id"),
    ("/models?status=new", "status"), (f"/models/requests/by-endpoint?{MODEL}&status=late", "status"),
    (f"/models/requests/by-endpoint?{MODEL}&sort_by=price", "sort_by"), ("/models/pricing", "endpoint_id"),
    ("/models/analytics", "endpoint_id"), ("/models/requests/by-endpoint", "endpoint_id"), ("/account/focus", "source"),
    ("/account/focus?source=guess", "source"), ("/storage/files/acl", "url"), ("/storage/files/acl?url=", "url"),
    *((f"/account/focus?source=estimate&{name}={text}", name) for name in ("billing_month", "charge_month")
      for text in ("2026-13", "2026-00", "last", "2026-1", "1969-12", "3000-01", "%C2%B2026-1")),
]  # fmt: skip


def test_the_platform_api_names_the_parameter_too(asked: Surface) -> None:
    unlike = []
    for path, field in PLATFORM_QUERIES:
        answer = asked.send("GET", PLATFORM + path)
        if answer.status_code != 400 or field not in answer.json()["error"]["message"]:
            unlike.append((path[:100], answer.text[:200]))
        else:
            assert told("platform", answer) == Told(400, "validation_error")
    assert unlike == []


def test_what_is_revoked_or_removed_once_may_be_so_again(asked: Surface) -> None:
    key_id = asked.account.keyed()[0]
    for _ in range(2):
        assert asked.send("DELETE", f"{PLATFORM}/keys/{key_id}").status_code == 204
    again = asked.send("DELETE", f"/api/v1/keys/{key_id}")
    assert told("image", again) == Told(404, "NOT_FOUND", "id")
    for path in ("/keys/no-such-key", "/models/requests/no-such-request/payloads"):
        assert told("platform", asked.send("DELETE", PLATFORM + path)) == Told(404, "not_found")
