"""What object storages refuse and how they break, against a server that answers as their documents say."""

import asyncio
import hashlib
import hmac
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from urllib.parse import parse_qsl, quote, urlsplit

import pytest
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from obstore.store import LocalStore

from calotype.cli.doctor import _storage
from calotype.kernel.errors import Code
from calotype.kernel.outcome import Output
from calotype.media.artifacts import KeepError, keep, keep_body
from calotype.media.buckets import open_backend
from calotype.media.refusals import CLOCK, explained
from calotype.media.remote import RemoteStore
from calotype.media.store import StoreError, StoreFull
from calotype.settings import Settings, StorageSettings
from upstream import PICTURE

Answer = Callable[[], web.Response]
DELETED = "<DeleteResult><Deleted><Key>x</Key></Deleted></DeleteResult>"


def xml(status: int, code: str) -> Answer:
    text = f"<?xml version='1.0'?><Error><Code>{code}</Code><Message>key AKIA1 of host x</Message></Error>"
    return lambda: web.Response(status=status, text=text, content_type="application/xml")


def well() -> web.Response:
    return web.Response(headers={"ETag": '"0"'}, text=DELETED, content_type="application/xml")


class Storage:
    """Answers what `answers` holds, in order, and then `after`; `gate` closed, it does not answer at all."""

    def __init__(self) -> None:
        self.answers: list[Answer] = []
        self.after: Answer = well
        self.seen: list[tuple[str, str]] = []
        self.gate = asyncio.Event()
        self.gate.set()
        self.url = ""

    async def answer(self, request: web.Request) -> web.Response:
        await request.read()
        self.seen.append((request.method, request.path))
        await self.gate.wait()
        return (self.answers.pop(0) if self.answers else self.after)()

    def settings(self, **more: object) -> StorageSettings:
        given = {"endpoint": self.url, "region": "eu-central-1", "access_key_id": "AKIA1", "secret_access_key": "s"}
        return StorageSettings(**{**given, "timeout_s": 5, "retries": 2, **more})  # type: ignore[arg-type]

    def store(self, folder: Path, **more: object) -> RemoteStore:
        return RemoteStore(open_backend("s3://bucket/prefix", self.settings(**more)), folder)


@pytest.fixture
async def storage() -> AsyncIterator[Storage]:
    storage = Storage()
    app = web.Application()
    app.router.add_route("*", "/{path:.*}", storage.answer)
    runner = web.AppRunner(app, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    storage.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield storage
    storage.gate.set()
    await runner.cleanup()


REFUSALS = [
    (403, "RequestTimeTooSkewed", CLOCK),
    (403, "InvalidAccessKeyId", "check the access key and its secret"),
    (403, "SignatureDoesNotMatch", "check the access key and its secret"),
    (403, "AccessDenied", "read, write, list and delete"),
    (404, "NoSuchBucket", "no such bucket"),
    (400, "ExpiredToken", "session token"),
    (400, "AuthorizationHeaderMalformed", "another region"),
    (409, "SomethingNew", r"refused with status 409 \(SomethingNew\)"),
]


@pytest.mark.parametrize(("status", "code", "words"), REFUSALS)
async def test_doctor_says_what_is_wrong_in_a_sentence(storage, tmp_path, status, code, words):
    storage.after = xml(status, code)
    settings = Settings(data_dir=tmp_path, storage_url="s3://bucket/prefix", storage=storage.settings())
    ok, found = await asyncio.to_thread(_storage, settings)
    assert not ok
    with pytest.raises(StoreError, match=words):
        raise StoreError(found)
    assert found.startswith("s3://bucket/prefix at http://")
    assert "AKIA1" not in found


async def test_doctor_says_that_it_wrote_and_deleted_a_file(storage, tmp_path):
    settings = Settings(data_dir=tmp_path, storage_url="s3://bucket/prefix", storage=storage.settings())
    ok, found = await asyncio.to_thread(_storage, settings)
    assert (ok, found.startswith("s3://bucket/prefix: wrote and deleted a file in ")) == (True, True)
    (put, where), (delete, _) = storage.seen
    assert (put, delete) == ("PUT", "POST")  # the latter is S3's way to delete many
    assert where.startswith("/bucket/prefix/.calotype/check-")


@pytest.mark.parametrize(("status", "code"), [(400, "QuotaExceeded"), (507, "InsufficientStorage")])
async def test_a_full_storage_is_full_and_may_be_tried_again(storage, tmp_path, status, code):
    storage.after = xml(status, code)
    files = storage.store(tmp_path)
    with pytest.raises(StoreFull):
        await files.put("o/a.png", PICTURE)
    with pytest.raises(KeepError) as caught:
        await keep_body(PICTURE, key_base="o/j/0", max_bytes=1 << 20, store=files)
    assert (caught.value.reason, caught.value.retryable) == ("full", True)
    await files.close()


async def test_what_was_fetched_and_cannot_be_stored_is_fetched_again_later_and_does_not_pile_up(
    storage, tmp_path, serve, guard
):
    storage.after = xml(500, "InternalError")
    files = storage.store(tmp_path, retries=0)
    url = await serve(PICTURE + bytes(3 << 20))
    with pytest.raises(KeepError) as caught:
        await keep(Output(url=url), key_base="o/j/0", max_bytes=9 << 20, expires_at_ms=0, store=files, guard=guard)
    assert (caught.value.reason, caught.value.retryable, caught.value.retry_after_s) == ("store", True, 5)
    assert list(tmp_path.iterdir()) == []
    await files.close()


async def test_a_passing_error_is_tried_again_and_the_tries_are_bounded(storage, tmp_path):
    files = storage.store(tmp_path)
    storage.answers = [xml(503, "SlowDown"), xml(500, "InternalError")]
    await files.put("o/a.png", PICTURE)
    assert len(storage.seen) == 3
    storage.seen.clear()
    storage.after = xml(500, "InternalError")
    with pytest.raises(StoreError, match=r"status 500 \(InternalError\)"):
        await files.put("o/a.png", PICTURE)
    assert len(storage.seen) == 3
    await files.close()


async def test_a_storage_that_does_not_answer_is_given_up(storage, tmp_path):
    files = storage.store(tmp_path, timeout_s=0.2, retries=0)
    storage.gate.clear()
    for ask in (files.put("o/a.png", PICTURE), files.open("o/a.png"), files.delete(["o/a.png"]), files.check()):
        with pytest.raises(StoreError, match="did not answer in time") as caught:
            await ask
        assert (caught.value.code, caught.value.retry_after_s) == (Code.UNAVAILABLE, 5)
    await files.close()


async def test_a_storage_that_is_not_there_cannot_be_reached(tmp_path):
    settings = StorageSettings(
        endpoint="http://127.0.0.1:9", access_key_id="a", secret_access_key="b", region="x", retries=0
    )  # type: ignore[arg-type]
    files = RemoteStore(open_backend("s3://bucket/prefix", settings), tmp_path)
    with pytest.raises(StoreError, match="cannot be reached"):
        await files.put("o/a.png", PICTURE)
    with pytest.raises(StoreError, match="cannot be reached"):
        _ = [page async for page in files.scan()]
    await files.close()


async def test_a_check_stands_for_a_while_unless_something_fails(storage, tmp_path):
    files = storage.store(tmp_path, retries=0)
    await files.check()
    await files.check()
    assert len(storage.seen) == 2
    storage.answers = [xml(500, "InternalError")]
    with pytest.raises(StoreError):
        await files.put("o/a.png", PICTURE)
    await files.check()
    assert len(storage.seen) == 5
    await files.close()


def test_nothing_of_a_strange_error_passes_through():
    error = explained(RuntimeError("https://secret-host/?key=AKIA1"))
    assert error.message == "The object storage failed (RuntimeError)."


@pytest.mark.parametrize("where", ["http://169.254.169.254/latest/api/token", "http://metadata.google.internal/x"])
def test_credentials_that_nobody_gave_are_missed_in_words(where):
    error = explained(OSError(f"Error performing PUT {where} - Server returned non-2xx status code: 403 Forbidden"))
    assert error.message.startswith("No credentials for the object storage were found")


# -- the address and its signature -----------------------------------------------------------------------------------


@pytest.mark.parametrize("url", ["s3:/bucket", "ftp://bucket/x", "s3://", "s3://key:secret@bucket/x", "bucket"])
def test_an_address_that_is_none_is_refused_in_words(tmp_path, url):
    with pytest.raises(ValueError, match="use s3://bucket/prefix"):
        Settings(data_dir=tmp_path, storage_url=url)


@pytest.mark.parametrize(
    ("url", "settings", "host"),
    [
        ("az://media/films", {"account": "acme", "account_key": "c2VjcmV0"}, "acme.blob.core.windows.net"),
        ("s3://media/films", {"access_key_id": "a", "secret_access_key": "b", "region": "eu-west-3"},
         "s3.eu-west-3.amazonaws.com"),
        ("s3://media/films", {"access_key_id": "a", "secret_access_key": "b", "region": "auto",
                              "endpoint": "https://acme.r2.cloudflarestorage.com"}, "acme.r2.cloudflarestorage.com"),
    ],
)  # fmt: skip
async def test_every_kind_signs_for_its_own_host(tmp_path, url, settings, host):
    files = RemoteStore(open_backend(url, StorageSettings(**settings)), tmp_path)
    signed = urlsplit(await files.presign("o/j/0.mp4", "GET", 60) or "")
    assert (signed.scheme, signed.hostname) == ("https", host)
    assert signed.path.endswith("/films/o/j/0.mp4")
    await files.close()


async def test_google_signs_with_the_service_accounts_key(tmp_path):
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    text = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).decode()
    account = {"type": "service_account", "private_key": text, "private_key_id": "1", "client_email": "a@b.test"}
    file = tmp_path / "account.json"
    file.write_text(json.dumps({**account, "client_id": "1", "token_uri": "https://oauth2.googleapis.com/token"}))
    files = RemoteStore(open_backend("gs://media/films", StorageSettings(service_account_file=file)), tmp_path)
    signed = urlsplit(await files.presign("o/j/0.mp4", "GET", 60) or "")
    assert (signed.hostname, signed.path) == ("storage.googleapis.com", "/media/films/o/j/0.mp4")
    assert dict(parse_qsl(signed.query))["X-Goog-Expires"] == "60"
    await files.close()


async def test_a_storage_to_which_a_missing_file_is_an_error_still_deletes_the_others(tmp_path):
    (tmp_path / "o").mkdir()
    for name in ("a.png", "b.png"):
        (tmp_path / "o" / name).write_bytes(PICTURE)
    files = RemoteStore(LocalStore(tmp_path), tmp_path / "spool")
    assert await files.delete(["o/a.png", "o/missing.png", "o/b.png"]) == 3
    assert list((tmp_path / "o").iterdir()) == []
    await files.close()


def test_settings_that_the_client_does_not_take_are_refused_in_a_sentence(tmp_path):
    missing = StorageSettings(service_account_file=tmp_path / "none.json")
    with pytest.raises(ValueError, match=r"^The storage cannot be opened: [^\n]+$"):
        open_backend("gs://media/films", missing)


async def test_a_signature_is_that_of_the_published_recipe(tmp_path):
    """AWS Signature Version 4, query string form: the emulated storage does not look at signatures."""
    settings = StorageSettings(
        endpoint="http://s3.test:9000", region="eu-1", access_key_id="AK", secret_access_key="SK"
    )  # type: ignore[arg-type]
    files = RemoteStore(open_backend("s3://media/films", settings), tmp_path)
    url = urlsplit(await files.presign("o/j/0.mp4", "GET", 60) or "")
    fields = dict(parse_qsl(url.query))
    signature = fields.pop("X-Amz-Signature")
    canonical = "&".join(f"{quote(name, safe='')}={quote(value, safe='')}" for name, value in sorted(fields.items()))
    request = f"GET\n{url.path}\n{canonical}\nhost:{url.netloc}\n\nhost\nUNSIGNED-PAYLOAD"
    day = fields["X-Amz-Date"][:8]
    scope = f"{day}/eu-1/s3/aws4_request"
    assert fields["X-Amz-Credential"] == f"AK/{scope}"
    text = f"AWS4-HMAC-SHA256\n{fields['X-Amz-Date']}\n{scope}\n{hashlib.sha256(request.encode()).hexdigest()}"
    key = b"AWS4SK"
    for part in (day, "eu-1", "s3", "aws4_request"):
        key = hmac.digest(key, part.encode(), "sha256")
    assert hmac.digest(key, text.encode(), "sha256").hex() == signature
    await files.close()
