"""Uploads, rule by rule (`wire/fal.md §7`)."""

import json
import re
from datetime import datetime
from typing import Any

import httpx2
import pytest
from fal_caller import MODEL, Fal

from running import House
from upstream import PICTURE

TOKEN = "/fal/rest/storage/auth/token/?storage_type=fal-cdn-v3"
INITIATE = "/fal/rest/storage/upload/initiate"
STILL = {"duration": 1, "size": "256x256"}


@pytest.fixture
def initiated(fal: Fal) -> Any:
    def begin(name: str = "a.png", path: str = INITIATE, **headers: str) -> dict[str, str]:
        answer = fal.ask(
            "POST", f"{path}?storage_type=fal-cdn-v3", json={"file_name": name, "content_type": "image/png"},
            headers=headers,
        )  # fmt: skip
        assert answer.status_code == 200, answer.text
        assert set(answer.json()) == {"file_url", "upload_url"}
        return answer.json()

    return begin


def test_an_initiated_upload_is_put_without_a_key_and_read_without_one(initiated: Any, fal: Fal) -> None:
    urls = initiated("bild ü.png")
    put = httpx2.put(urls["upload_url"], content=PICTURE, headers={"content-type": "image/png"})
    assert put.status_code == 200
    got = httpx2.get(urls["file_url"])
    assert (got.status_code, got.content, got.headers["content-type"]) == (200, PICTURE, "image/png")
    assert httpx2.head(urls["file_url"]).headers["content-length"] == str(len(PICTURE))
    part = httpx2.get(urls["file_url"], headers={"range": "bytes=0-3"})
    assert (part.status_code, part.content) == (206, PICTURE[:4])
    again = httpx2.put(urls["upload_url"], content=b"other", headers={"authorization": "Key whatever"})
    assert again.status_code == 200 and httpx2.get(urls["file_url"]).content == PICTURE, "a file stays as it is"
    used = fal.run("local/ken-burns", json={"image_url": urls["file_url"], **STILL})
    assert used.status_code == 200, used.text


def test_a_file_of_another_tenant_whose_url_is_known_is_an_input_too(initiated: Any, fal_of: Any) -> None:
    urls = initiated()
    httpx2.put(urls["upload_url"], content=PICTURE)
    answer = fal_of().run("local/ken-burns", json={"image_url": urls["file_url"], **STILL})
    assert answer.status_code == 200, answer.text


def test_a_file_that_was_never_sent_fails_the_request_that_uses_it(initiated: Any, fal: Fal) -> None:
    urls = initiated()
    assert httpx2.get(urls["file_url"]).status_code == 404
    answer = fal.run("local/ken-burns", json={"image_url": urls["file_url"], **STILL})
    assert answer.status_code == 422
    assert answer.json()["detail"][0]["type"] == "file_download_error"


def test_permissions_cannot_be_made_up_or_used_for_something_else(initiated: Any, house: House) -> None:
    urls = initiated()
    base = house.url + "/fal/cdn"
    ticket = urls["upload_url"].rpartition("/")[2]
    token = re.search("/files/([^/]+)/", urls["file_url"])[1]  # type: ignore[index]
    assert httpx2.put(f"{base}/upload/{token}", content=b"x").status_code == 404, "who may read may not write"
    assert httpx2.get(f"{base}/files/{ticket}/a.png").status_code == 404
    flipped = ("B" if ticket[20] == "A" else "A").join((ticket[:20], ticket[21:]))
    assert httpx2.put(f"{base}/upload/{flipped}", content=b"x").status_code == 404
    assert httpx2.put(f"{base}/upload/{ticket}/1", content=b"x").status_code == 404
    for path in ("/files/upload", "/files/upload/multipart"):
        assert httpx2.post(base + path, content=b"x").status_code == 401
        bad = httpx2.post(base + path, content=b"x", headers={"authorization": f"Bearer {ticket}"})
        assert bad.status_code == 401
    assert httpx2.post(house.url + INITIATE, json={}).status_code == 401


def test_the_upload_service_takes_a_token_with_its_offset_and_the_file_whole(fal: Fal, house: House) -> None:
    answer = fal.ask("POST", TOKEN, json={})
    body = answer.json()
    assert answer.status_code == 200 and body["token_type"] == "Bearer"
    assert body["base_url"] == house.url + "/fal/cdn"
    assert datetime.fromisoformat(body["expires_at"]).tzinfo is not None and not body["expires_at"].endswith("Z")
    sent = httpx2.post(
        body["base_url"] + "/files/upload", content=b"a small file",
        headers={"authorization": f"Bearer {body['token']}", "x-fal-file-name": "../../etc/small.txt"},
    )  # fmt: skip
    assert sent.status_code == 200
    url = sent.json()["access_url"]
    assert url.endswith("/small.txt") and httpx2.get(url).content == b"a small file"
    keyed = httpx2.post(house.url + "/fal/cdn/files/upload", content=b"x", headers=fal.auth)
    assert keyed.status_code == 200, "a key opens it too"


@pytest.mark.parametrize("client", ["python", "javascript"])
def test_parts_come_in_any_order_and_are_put_together_by_number(
    client: str, initiated: Any, fal: Fal, house: House
) -> None:
    if client == "python":
        base = house.url + "/fal/cdn"
        begun = httpx2.post(base + "/files/upload/multipart", headers=fal.auth | {"x-fal-file-name": "big.bin"}).json()
        file_url, parts = begun["access_url"], f"{begun['access_url']}/multipart/{begun['uploadId']}"
    else:
        urls = initiated("big.bin", INITIATE + "-multipart")
        file_url, parts = urls["file_url"], urls["upload_url"]
    pieces = {3: b"three", 1: b"one" * 1000, 2: b"two"}
    listed = []
    for number, piece in pieces.items():
        httpx2.put(f"{parts}/{number}", content=b"a first try that was not heard of")
        answer = httpx2.put(f"{parts}/{number}", content=piece)
        assert answer.status_code == 200 and answer.headers["etag"] == answer.json()["etag"]
        assert answer.json()["partNumber"] == number
        listed.append(answer.json())
    wrong = httpx2.post(f"{parts}/complete", json={"parts": [{"partNumber": 1, "etag": '"nonsense"'}]})
    assert wrong.status_code == 422
    for _ in range(2):
        done = httpx2.post(f"{parts}/complete", json={"parts": listed})
        assert done.status_code == 200, done.text
    assert httpx2.get(file_url).content == pieces[1] + pieces[2] + pieces[3]
    folder = house.app.store.temp_path().parent
    assert not list(folder.glob("part-*")), "nothing is left of the parts"


def test_parts_are_bounded_in_number_and_bytes(initiated: Any, house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    parts = initiated("big.bin", INITIATE + "-multipart")["upload_url"]
    assert httpx2.put(f"{parts}/0", content=b"x").status_code == 422
    assert httpx2.put(f"{parts}/10001", content=b"x").status_code == 422
    desk: Any = house.app.asgi._fal._desk  # type: ignore[attr-defined]
    monkeypatch.setattr(desk.parts, "_max_bytes", 10)
    assert httpx2.put(f"{parts}/1", content=b"123456").status_code == 200
    assert httpx2.put(f"{parts}/1", content=b"1234567").status_code == 200, "a part sent again counts once"
    assert httpx2.put(f"{parts}/2", content=b"123456").status_code == 413
    others = [initiated("b", INITIATE + "-multipart")["upload_url"] for _ in range(5)]
    assert [httpx2.put(f"{url}/1", content=b"0123456789").status_code for url in others] == [200] * 3 + [413] * 2


@pytest.mark.parametrize(
    ("header", "value", "kept_s"),
    [
        ("x-fal-object-lifecycle", {"expiration_duration_seconds": 700}, 700),
        ("x-fal-object-lifecycle-preference", {"expiration_duration_seconds": 800}, 800),
        ("x-fal-object-lifecycle", {"expiration_duration_seconds": 10**9}, 86400),
        ("x-fal-object-lifecycle", {"initial_acl": {"default": "hide"}}, 86400),
        ("x-fal-object-lifecycle", "nonsense", 86400),
    ],
)
def test_a_lifetime_can_only_shorten_the_servers_own(
    header: str, value: Any, kept_s: int, initiated: Any, house: House
) -> None:
    urls = initiated(**{header: json.dumps(value)})
    httpx2.put(urls["upload_url"], content=b"short-lived")
    (row,) = house.rows("SELECT expires_at_ms - created_at_ms FROM upload ORDER BY id DESC LIMIT 1")
    assert row[0] == kept_s * 1000


def test_the_output_of_a_request_is_kept_as_long_as_its_lifecycle_says(fal: Fal, house: House) -> None:
    wish = json.dumps({"expiration_duration_seconds": 900})
    answer = fal.run(MODEL, headers={"x-fal-object-lifecycle-preference": wish})
    ident = answer.headers["x-fal-request-id"]
    (row,) = house.rows("SELECT expires_at_ms - created_at_ms FROM artifact WHERE job_id = :job", job=ident)
    assert 890_000 <= row[0] <= 900_000


def test_files_of_phi_requests_are_refused_unread(fal: Fal) -> None:
    phi = {"x-phi": "true"}
    for path in (INITIATE, "/fal/cdn/files/upload", "/fal/cdn/files/upload/multipart"):
        answer = fal.ask("POST", path, json={}, headers=phi)
        assert (answer.status_code, answer.json()["error_type"]) == (403, "phi_blocked")


def test_an_output_that_is_the_next_input_keeps_no_name_that_leads_here_for_its_client_only(
    fal: Fal, house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    desk: Any = house.app.asgi._fal._desk  # type: ignore[attr-defined]
    monkeypatch.setattr(desk, "_public_url", "https://gw.example.com")
    picture = fal.run("local/sketch", json={"prompt": "x", "image_size": "square"}, headers={"host": "fal.run"})
    assert picture.status_code == 404, "under fal's own name the path has no prefix"
    made = fal.ask("POST", "/local/sketch", json={"prompt": "x", "image_size": "square"}, headers={"host": "fal.run"})
    url = made.json()["images"][0]["url"]
    assert url.startswith("https://v3.fal.media/v1/media/")
    used = fal.ask("POST", "/local/ken-burns", json={"image_url": url, **STILL}, headers={"host": "fal.run"})
    assert used.status_code == 200, used.text
    ident = used.headers["x-fal-request-id"]
    (row,) = house.rows("SELECT input FROM job WHERE id = :id", id=ident)
    assert json.loads(row[0])["image_url"].startswith("https://gw.example.com/v1/media/")


def test_uploads_count_against_the_rate_of_a_key(house: House, http: httpx2.Client) -> None:
    fal = Fal(http, house.account().key(requests_per_minute=6))
    answers = [fal.ask("POST", path, json={}) for path in (INITIATE, TOKEN, "/fal/cdn/files/upload")]
    assert answers[0].status_code == 200 and {one.status_code for one in answers[1:]} == {429}
