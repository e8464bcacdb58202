import base64
import hashlib

import pytest
from aiohttp.test_utils import unused_port
from samples import film, picture
from test_media_strip import GRAPH, chunk, with_chunks

from calotype.http import Guard
from calotype.kernel.outcome import Output
from calotype.media import base64_text
from calotype.media.artifacts import Artifact, KeepError, as_params, from_row, keep
from calotype.media.base64_text import Encoded

PNG = picture("PNG", (64, 48))
BASE = "org_1/job_1/0"


@pytest.fixture
def keep_it(files, guard):
    async def run(output, **given) -> Artifact:
        options = {"key_base": BASE, "max_bytes": 1 << 20, "expires_at_ms": 5000, "store": files, "guard": guard}
        return await keep(output, **(options | given))

    return run


async def test_bytes_become_a_stored_artifact_that_is_what_its_bytes_say(keep_it, files):
    kept = await keep_it(Output(data=PNG, content_type="video/mp4"), n=3)
    assert kept == Artifact(
        n=3,
        key="org_1/job_1/0.png",
        stored=True,
        content_type="image/png",
        name="0.png",
        expires_at_ms=5000,
        size_bytes=len(PNG),
        sha256=hashlib.sha256(PNG).hexdigest(),
        width=64,
        height=48,
    )
    assert await files.open(kept.key) == PNG


async def test_a_url_is_fetched_and_keeping_it_again_changes_nothing(keep_it, serve):
    url = await serve(PNG)
    assert await keep_it(Output(url=url)) == await keep_it(Output(url=url))


async def test_a_large_film_goes_through_a_file(keep_it, serve, files):
    data = film() + b"\x00\x00\x00\x08free" * 200_000
    kept = await keep_it(Output(url=await serve(data)), max_bytes=1 << 24)
    assert (kept.content_type, kept.size_bytes, kept.width) == ("video/mp4", len(data), 64)
    assert kept.duration_s == pytest.approx(1.0, abs=0.1)
    assert list(files.temp_path().parent.iterdir()) == []


async def test_prompts_are_stripped_before_hashing(keep_it):
    data = with_chunks(chunk(b"tEXt", b"prompt\x00" + GRAPH.encode()))
    assert (await keep_it(Output(data=data))).sha256 == hashlib.sha256(PNG).hexdigest()
    assert (await keep_it(Output(data=data), strip_prompts=False)).sha256 == hashlib.sha256(data).hexdigest()


async def test_somebody_elses_file_is_copied_and_not_changed(keep_it, tmp_path):
    data = with_chunks(chunk(b"tEXt", b"prompt\x00" + GRAPH.encode()))
    (tmp_path / "out.png").write_bytes(data)
    kept = await keep_it(Output(path=str(tmp_path / "out.png")))
    assert kept.sha256 == hashlib.sha256(PNG).hexdigest()
    assert (tmp_path / "out.png").read_bytes() == data


async def test_a_file_moved_by_an_attempt_that_died_is_found_under_its_key(keep_it, files):
    path = files.temp_path()
    path.write_bytes(PNG)
    first = await keep_it(Output(path=str(path)))
    assert not path.exists()
    assert await keep_it(Output(path=str(path))) == first
    with pytest.raises(KeepError) as caught:
        await keep_it(Output(path=str(path)), key_base="org_1/job_2/0")
    assert (caught.value.reason, caught.value.retryable) == ("missing", False)


@pytest.mark.parametrize(
    "output",
    [
        Encoded(base64.b64encode(PNG)),
        Encoded(base64.b64encode(PNG).decode()),
        Encoded(base64.urlsafe_b64encode(PNG).rstrip(b"=")),
        Encoded(base64.encodebytes(PNG)),
        Output(base64=base64.b64encode(PNG)),
        Output(url="data:image/png;base64," + base64.b64encode(PNG).decode()),
    ],
    ids=["bytes", "text", "urlsafe", "lines", "output", "data-uri"],
)
async def test_base64_is_decoded_into_the_store(keep_it, output):
    assert (await keep_it(output)).sha256 == hashlib.sha256(PNG).hexdigest()


@pytest.mark.parametrize(
    ("output", "reason"),
    [
        (Encoded("not base64!"), "encoding"),
        (Encoded("a"), "encoding"),
        (Encoded("ä" * 8), "encoding"),
        (Encoded("A" * 4000), "too_large"),
        (Output(data=b"x" * 2001), "too_large"),
        (Output(data=b""), "empty"),
        (Output(), "empty"),
        (Output(url="http://10.0.0.1/a.png"), "blocked"),
        (Output(path="/no/such/file"), "missing"),
    ],
)
async def test_what_cannot_be_kept_says_why(keep_it, files, output, reason):
    with pytest.raises(KeepError) as caught:
        await keep_it(output, max_bytes=2000)
    assert caught.value.reason == reason
    assert not await files.exists(f"{BASE}.bin")


@pytest.mark.parametrize(("status", "retryable"), [(404, False), (403, False), (503, True)])
async def test_a_failed_download_says_whether_to_try_again(keep_it, serve, status, retryable):
    with pytest.raises(KeepError) as caught:
        await keep_it(Output(url=await serve(b"no", status)))
    assert (caught.value.reason, caught.value.retryable) == ("status", retryable)


async def test_a_dead_host_may_be_tried_again(keep_it):
    with pytest.raises(KeepError) as caught:
        await keep_it(Output(url=f"http://127.0.0.1:{unused_port()}/a"))
    assert caught.value.retryable


async def test_a_full_disk_may_be_tried_again_and_keeps_the_gathered_file(keep_it, files, monkeypatch):
    path = files.temp_path()
    path.write_bytes(PNG)

    def full(descriptor: int) -> None:
        raise OSError(28, "no space")

    monkeypatch.setattr("calotype.media.local._sync", full)
    with pytest.raises(KeepError) as caught:
        await keep_it(Output(path=str(path)))
    assert (caught.value.reason, caught.value.retryable) == ("full", True)
    monkeypatch.undo()
    assert (await keep_it(Output(path=str(path)))).content_type == "image/png"


async def test_with_rehost_off_the_url_is_passed_on(keep_it):
    kept = await keep_it(Output(url="https://cdn.example/x", content_type="image/webp; q=1"), rehost=False)
    assert (kept.stored, kept.key, kept.url) == (False, "", "https://cdn.example/x")
    assert (kept.content_type, kept.name) == ("image/webp", "0.webp")


async def test_the_guard_given_decides(keep_it, serve):
    with pytest.raises(KeepError) as caught:
        await keep_it(Output(url=await serve(PNG)), guard=Guard())
    assert caught.value.reason == "blocked"


def test_the_size_of_a_text_is_never_underestimated():
    for length in range(20):
        assert base64_text.size_of(base64.b64encode(b"x" * length)) >= length


async def test_an_artifact_survives_its_row(keep_it):
    kept = await keep_it(Output(data=film()))
    params = as_params(kept, job_id="j", org_id="o", created_at_ms=1)
    columns = "job_id n key stored url content_type size_bytes sha256 width height duration_ms name expires_at_ms"
    row = (*(params[name] for name in columns.split()), None)
    assert from_row(row) == ("j", kept, None)
