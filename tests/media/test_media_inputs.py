import base64
from collections.abc import AsyncIterator

import pytest
from samples import picture

from calotype.kernel.clock import ManualClock
from calotype.kernel.errors import Code, Problem
from calotype.media.inputs import Inputs, parse_data_uri
from calotype.media.signing import Signer
from calotype.media.sweep import ORPHAN_AGE_MS, sweep
from calotype.media.uploads import Uploads, is_upload_id, plain_filename

PNG = picture("PNG")
SIGNER = Signer([b"s" * 32])
URI = "data:image/png;base64," + base64.b64encode(PNG).decode()


async def pieces(*chunks: bytes) -> AsyncIterator[bytes]:
    for chunk in chunks:
        yield chunk


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def uploads(db, files, clock) -> Uploads:
    return Uploads(db, files, max_bytes=100_000, retention_s=3600, clock=clock)


@pytest.fixture
def inputs(files, guard, uploads, clock) -> Inputs:
    return Inputs(files, guard, uploads, SIGNER, max_bytes=100_000, clock=clock)


@pytest.fixture
def take(inputs):
    async def run(value: str, org_id: str = "org_1"):
        inputs.check(value, "image_url")
        return await inputs.take(value, org_id=org_id, key_base="org_1/job/in-0", field="image_url")

    return run


@pytest.mark.parametrize(
    ("text", "content_type", "body"),
    [
        ("data:,a%20b", "text/plain", b"a b"),
        ("data:text/plain;charset=utf-8;base64,aGk=", "text/plain", b"hi"),
        ("DATA:IMAGE/PNG;BASE64,aGk=", "image/png", b"hi"),
        ("data:image/svg+xml,%3Csvg%3E", "image/svg+xml", b"<svg>"),
        ("data:;base64,", "text/plain", b""),
    ],
)
def test_a_data_uri_is_taken_apart(text, content_type, body):
    uri = parse_data_uri(text, max_bytes=100)
    assert (uri.content_type, uri.decode()) == (content_type, body)


NO_DATA_URIS = ["data:", "data:image/png", "data:image/png;base64", "data:png;base64,aGk=", "data:a/b;x;base64,aGk="]


@pytest.mark.parametrize("text", [*NO_DATA_URIS, "data:a b/c,x", "http://x", "data:" + "a" * 600 + "/b,x"])
def test_what_is_no_data_uri_is_refused_by_field(text):
    with pytest.raises(Problem) as caught:
        parse_data_uri(text, max_bytes=100, field="image_url")
    assert (caught.value.code, caught.value.field) == (Code.INVALID_INPUT, "image_url")


@pytest.mark.parametrize("text", ["data:;base64," + "A" * 200, "data:," + "a" * 200])
def test_a_large_data_uri_is_refused_before_it_is_decoded(text):
    with pytest.raises(Problem) as caught:
        parse_data_uri(text, max_bytes=100)
    assert caught.value.code is Code.PAYLOAD_TOO_LARGE


async def test_a_data_uri_and_a_url_become_stored_files(take, serve, files):
    for value in (URI, await serve(PNG)):
        taken = await take(value)
        assert (taken.key, taken.content_type, taken.width) == ("org_1/job/in-0.png", "image/png", 64)
        assert await files.open(taken.key) == PNG


async def test_an_upload_is_used_where_it_lies_and_only_by_its_owner(take, uploads):
    upload = await uploads.create(pieces(PNG[:50], PNG[50:]), org_id="org_1", filename="a.png")
    taken = await take(upload.id)
    assert (taken.key, taken.sha256) == (upload.key, upload.sha256)
    with pytest.raises(Problem) as caught:
        await take(upload.id, org_id="org_2")
    assert (caught.value.code, caught.value.field) == (Code.INVALID_INPUT, "image_url")


async def test_a_url_of_our_own_media_is_not_fetched(take, files, clock):
    await files.put("org_1/old/0.png", PNG)
    path = SIGNER.path("org_1/old/0.png", "image/png", clock.now_ms() + 1000, "0.png")
    assert (await take(f"https://unreachable.invalid{path}")).key == "org_1/old/0.png"
    clock.advance(2000)
    with pytest.raises(Problem) as caught:
        await take(f"https://unreachable.invalid{path}")
    assert caught.value.field == "image_url"


@pytest.mark.parametrize(
    ("value", "code"),
    [
        ("http://10.0.0.1/a.png", Code.INVALID_INPUT),
        ("ftp://example.com/a.png", Code.INVALID_INPUT),
        ("data:image/png;base64,!!!!", Code.INVALID_INPUT),
        ("data:image/png;base64,", Code.INVALID_INPUT),
        ("data:image/png;base64," + "A" * 140_000, Code.PAYLOAD_TOO_LARGE),
        ("file_" + "0" * 32, Code.INVALID_INPUT),
        ("nonsense", Code.INVALID_INPUT),
        ("", Code.INVALID_INPUT),
    ],
)
async def test_a_bad_input_names_its_field(take, value, code):
    with pytest.raises(Problem) as caught:
        await take(value)
    assert (caught.value.code, caught.value.field) == (code, "image_url")


@pytest.mark.parametrize(("status", "retryable"), [(404, False), (503, True)])
async def test_a_url_that_does_not_answer_names_its_field(take, serve, status, retryable):
    with pytest.raises(Problem) as caught:
        await take(await serve(b"no", status))
    assert (caught.value.field, caught.value.retryable) == ("image_url", retryable)
    assert str(status) in caught.value.message


async def test_a_large_file_behind_a_url_is_refused(take, serve):
    with pytest.raises(Problem) as caught:
        await take(await serve(b"x" * 100_001))
    assert caught.value.code is Code.PAYLOAD_TOO_LARGE


async def test_uploads_are_listed_fetched_and_deleted_by_their_owner(uploads, files):
    made = [await uploads.create(pieces(b"text %d" % n), org_id="org_1", filename=f"{n}.txt") for n in range(3)]
    assert is_upload_id(made[0].id)
    assert (made[0].content_type, made[0].filename, made[0].size_bytes) == ("text/plain", "0.txt", 6)
    assert await uploads.list("org_1", limit=2) == [made[2], made[1]]
    assert await uploads.list("org_1", beyond=made[1].id) == [made[0]]
    assert await uploads.list("org_2") == []
    assert await uploads.get(made[0].id, "org_2") is None
    assert not await uploads.delete(made[0].id, "org_2")
    assert await uploads.delete(made[0].id, "org_1")
    assert not await files.exists(made[0].key)
    assert await uploads.get(made[0].id, "org_1") is None


async def test_an_upload_past_the_cap_is_stopped_and_leaves_nothing(uploads, files):
    sent = []

    async def endless() -> AsyncIterator[bytes]:
        while True:
            sent.append(1)
            yield b"x" * 60_000

    with pytest.raises(Problem) as caught:
        await uploads.create(endless(), org_id="org_1", filename="a")
    assert caught.value.code is Code.PAYLOAD_TOO_LARGE
    assert len(sent) == 2
    assert list(files.temp_path().parent.iterdir()) == []
    with pytest.raises(Problem):
        await uploads.create(pieces(), org_id="org_1", filename="a")


async def test_a_lifetime_can_only_be_shortened(uploads, clock):
    short = await uploads.create(pieces(b"x"), org_id="o", filename="a", lifetime_s=60)
    long = await uploads.create(pieces(b"x"), org_id="o", filename="a", lifetime_s=10**9)
    assert short.expires_at_ms - clock.now_ms() == 60_000
    assert long.expires_at_ms - clock.now_ms() == 3_600_000
    clock.advance(60_000)
    assert await uploads.get(short.id, "o") is None
    assert await uploads.get(long.id, "o") == long


def test_a_file_name_is_only_a_name():
    assert plain_filename("../../etc/pass\x00wd") == "passwd"
    assert plain_filename("C:\\temp\\a b.png") == "a b.png"
    assert plain_filename("\n") == "file"
    assert len(plain_filename("a" * 1000)) == 200


async def test_expired_uploads_are_swept_and_their_files_with_them(db, uploads, files, clock):
    old = await uploads.create(pieces(b"x"), org_id="o", filename="a", lifetime_s=60)
    young = await uploads.create(pieces(b"y"), org_id="o", filename="a")
    clock.advance(61_000)
    assert (await sweep(db, files, clock=clock)).uploads == 1
    assert (await files.exists(old.key), await files.exists(young.key)) == (False, True)
    assert (await sweep(db, files, clock=clock)).uploads == 0


async def test_files_nobody_owns_are_swept_when_they_are_old(db, uploads, files):
    owned = await uploads.create(pieces(b"x"), org_id="o", filename="a")
    await files.put("o/lost/0.png", PNG)
    modified_ms = (await files.stat("o/lost/0.png")).modified_ms
    later = ManualClock(modified_ms + ORPHAN_AGE_MS)
    assert (await sweep(db, files, clock=later, orphans=True)).orphans == 0
    later.advance(60_000)
    assert owned.expires_at_ms > later.now_ms()
    assert (await sweep(db, files, clock=later, orphans=True)).orphans == 1
    assert (await files.exists(owned.key), await files.exists("o/lost/0.png")) == (True, False)
