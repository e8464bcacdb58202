"""The running server with its media in S3: made, served, filmed, lost for a while, and counted."""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2 as httpx
import pytest
from aiohttp import web

from calotype.jobs.delivery import NotYetError
from media.s3 import S3, starting
from running import Account, House, running
from upstream import PICTURE, Seen, Upstream

PRICE_MICRO = 40_000
CARDS = """
[[cards]]
id = "test/picture"
title = "Test picture"
operation = "text-to-image"
output = "image"
input = { required = ["prompt"], properties = { prompt = { type = "string" } } }
example = { prompt = "a lighthouse" }
routes = [{ provider = "cloud", kind = "openai", upstream = "p", cost = { unit = "image", micro = 1 }, cost_source = "a test" }]
"""  # noqa: E501


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    upstream = Upstream()
    upstream.start()
    yield upstream
    upstream.stop()


@pytest.fixture
def served(upstream: Upstream, tmp_path: Path) -> Callable[..., Any]:
    """Return what runs a server with its media in the bucket."""
    upstream.reset()
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "test.toml").write_text(CARDS)

    def run(s3: S3, bucket: str, **media: Any) -> Any:
        return running(
            tmp_path / "data", storage_url=bucket, storage=s3.settings, media=media, cards_dir=tmp_path / "cards",
            providers={"cloud": {"kind": "openai", "base_url": upstream.url, "api_key": "sk-x"}},
            prices={"test/picture": PRICE_MICRO},
        )  # fmt: skip

    (tmp_path / "data").mkdir()
    return run


def client_of(house: House, account: Account) -> httpx.Client:
    return httpx.Client(base_url=house.url, timeout=60, headers={"Authorization": f"Bearer {account.key()}"})


def eventually(ask: Callable[[], Any], within_s: float = 30) -> Any:
    end = time.monotonic() + within_s
    while not (found := ask()):
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def keys_in(house: House) -> set[str]:
    async def scan() -> set[str]:
        return {one.key async for page in house.app.store.scan() for one in page}

    return house.ask(scan())


def spooled(house: House) -> list[str]:
    return [path.name for path in (house.app.settings.data_dir / "media" / "tmp").iterdir()]


@pytest.mark.parametrize("presign", ["redirect", "proxy"])
async def test_a_picture_is_made_kept_in_s3_and_fetched(s3, bucket, served, presign):
    def story() -> None:
        with served(s3, bucket, presign=presign) as house:
            account = house.account()
            with client_of(house, account) as http, httpx.Client() as plain:
                body = {"model": "test/picture", "prompt": "a fern", "response_format": "url"}
                made = http.post("/v1/images/generations", json=body)
                url = made.raise_for_status().json()["data"][0]["url"]
                assert url.startswith(f"{house.url}/v1/media/")
                answer = plain.get(url)
                if presign == "redirect":
                    assert answer.headers["location"].startswith(f"{s3.url}/{bucket.removeprefix('s3://')}/")
                    answer = plain.get(answer.headers["location"])
                assert (answer.content, answer.headers["content-type"]) == (PICTURE, "image/png")
                assert http.get("/readyz").json() == {"status": "ok"}
                (key,) = keys_in(house)
                assert key.startswith(f"{account.org.id}/")
            assert (account.spent_micro, account.held_micro) == (PRICE_MICRO, 0)
            assert spooled(house) == []

    await asyncio.to_thread(story)


async def test_an_upload_in_s3_is_filmed_by_this_machine(s3, bucket, served):
    def story() -> None:
        with served(s3, bucket) as house:
            account = house.account()
            with client_of(house, account) as http:
                sent = http.post("/v1/files", files={"file": ("a.png", PICTURE)}, data={"purpose": "vision"})
                file_id = sent.raise_for_status().json()["id"]
                assert http.get(f"/v1/files/{file_id}/content", follow_redirects=True).content == PICTURE
                body = {"model": "local/ken-burns", "image_url": file_id, "seconds": 1, "size": "256x256"}
                made = http.post("/v1/videos", json=body).raise_for_status().json()
                done = eventually(lambda: _ended(http, made["id"]))
                assert done["status"] == "completed", done
                film = http.get(f"/v1/videos/{made['id']}/content", follow_redirects=True)
                assert film.content[4:8] == b"ftyp"
                assert {key.rpartition(".")[2] for key in keys_in(house)} == {"png", "mp4"}
                assert spooled(house) == []  # neither what was lent to the worker nor what it made
                assert http.delete(f"/v1/files/{file_id}").status_code == 200
                assert http.delete(f"/v1/videos/{made['id']}").status_code == 200
            assert keys_in(house) == set()

    await asyncio.to_thread(story)


def _ended(http: httpx.Client, ident: str) -> Any:
    found = http.get(f"/v1/videos/{ident}").json()
    return found if found["status"] in ("completed", "failed") else None


class SoonError(NotYetError):
    """Tries again in a moment, so that the test does not wait."""

    def __init__(self, reason: str, retry_after_s: float | None = None) -> None:
        super().__init__(reason, 0.1)


def by_url(upstream: Upstream) -> Callable[[Seen], web.Response]:
    return lambda _seen: web.json_response({"created": 1, "data": [{"url": f"{upstream.url}/file.png"}]})


async def test_while_s3_is_down_nothing_is_charged_and_what_can_wait_is_kept(upstream, served, monkeypatch):
    monkeypatch.setattr("calotype.jobs.delivery.NotYetError", SoonError)
    with starting() as s3:
        await s3.ready()
        s3.make("media")

        def down() -> None:
            s3.stop()
            with client_of(house, account) as http:
                body = {"model": "test/picture", "prompt": "in memory"}
                refused = http.post("/v1/images/generations", json=body)
                assert refused.status_code == 503
                assert "nothing was charged" in refused.json()["error"]["message"]
                assert (account.spent_micro, account.held_micro) == (0, 0)
                ready = http.get("/readyz")
                assert ready.status_code == 503
                assert ready.json()["problems"] == {"storage": "The object storage cannot be reached."}
                assert http.post("/v1/files", files={"file": ("a.png", PICTURE)}).status_code == 503

        def kept() -> None:
            states = "SELECT state, charged_micro FROM job WHERE org_id = :org ORDER BY id"
            assert house.rows(states, org=account.org.id)[1][0] == "storing"
            assert account.held_micro == PRICE_MICRO

        upstream.answers[:] = []
        with served(s3, "s3://media/some/prefix") as house:
            account = house.account()
            await asyncio.to_thread(down)
            upstream.answers[:] = [by_url(upstream), *[_file] * 10_000]
            with client_of(house, account) as http:
                body = {"model": "test/picture", "prompt": "by url", "response_format": "url"}
                waiting = asyncio.create_task(asyncio.to_thread(http.post, "/v1/images/generations", json=body))
                states = "SELECT state FROM job WHERE org_id = :org ORDER BY id"
                await asyncio.to_thread(eventually, lambda: ("storing",) in house.rows(states, org=account.org.id))
                await asyncio.to_thread(kept)
                s3.start()
                await s3.ready()
                s3.make("media")
                made = await waiting
                assert made.status_code == 200, made.text
            assert [row[0] for row in house.rows(states, org=account.org.id)] == ["failed", "succeeded"]
            assert (account.spent_micro, account.held_micro) == (PRICE_MICRO, 0)
            assert len(await asyncio.to_thread(keys_in, house)) == 1


def _file(_seen: Seen) -> web.Response:
    return web.Response(body=PICTURE, content_type="image/png")
