"""The same surface on SQLite and on PostgreSQL: what depends on the store under it."""

from collections.abc import Iterator
from pathlib import Path

import httpx2
import openai
import pytest

from cutter import Cutter
from house_fixtures import PRICE_MICRO, settings_for
from running import Account, House, running
from upstream import Upstream, error

IMAGES = "/v1/images/generations"
GOOD = {"model": "test/picture", "prompt": "a harbour"}


@pytest.fixture
def stored(database_url: str, upstream: Upstream, cards_dir: Path, tmp_path: Path) -> Iterator[House]:
    """Return a server over the store of this run."""
    settings = settings_for(upstream, cards_dir=cards_dir, database_url=database_url)
    with running(tmp_path / "data", **settings) as one:
        yield one


@pytest.fixture
def database_url(store: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[str]:
    """Return an empty database; the server makes its tables itself."""
    if store == "sqlite":
        yield f"sqlite:///{tmp_path / 'own.db'}"
        return
    import uuid

    import psycopg

    server = request.getfixturevalue("postgres")
    name = f"t_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    yield server.replace("/postgres?", f"/{name}?", 1)
    with psycopg.connect(server, autocommit=True) as admin:
        admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


def test_a_store_carries_the_whole_surface(stored: House, upstream: Upstream) -> None:
    account = stored.account()
    key = account.key()
    client = openai.OpenAI(base_url=stored.url + "/v1", api_key=key)
    answer = client.images.generate(model="test/picture", prompt="a harbour", n=2)
    assert answer.data is not None and len(answer.data) == 2
    with httpx2.Client(base_url=stored.url, headers={"authorization": f"Bearer {key}"}, timeout=30) as http:
        _odd_text(http)
        _idempotency(http)
        _refusals(http, stored)
        _failure(http, upstream)
        made = http.post("/v1/videos", json={"model": "local/sketch-video", "prompt": "waves", "seconds": 1})
        assert made.status_code == 202
        listed = http.get("/v1/videos")
        assert listed.status_code == 200, listed.text
        assert [one["id"] for one in listed.json()["data"]] == [made.json()["id"]]
        assert http.delete(f"/v1/videos/{made.json()['id']}").status_code in (200, 409)
    paid = 2 + len(ODD) + 1
    assert (account.spent_micro, account.held_micro) == (paid * PRICE_MICRO, 0)
    _cut(stored, upstream, account)


ODD = ["\u0000", "a\u0000b", "\U0001f980 \u202e", "'; DROP TABLE job; --", "%s %(x)s :name ?", "\\u0000"]
"""Texts that a store could choke on."""


def _odd_text(http: httpx2.Client) -> None:
    for text in ODD:
        headers = {"X-Calotype-Tags": "k=';--", "X-Calotype-Customer": "%s"}
        assert http.post(IMAGES, json={**GOOD, "prompt": text}, headers=headers).status_code == 200, text


def _idempotency(http: httpx2.Client) -> None:
    headers = {"Idempotency-Key": "one"}
    jobs = {http.post(IMAGES, json=GOOD, headers=headers).headers["x-calotype-job-id"] for _ in range(3)}
    assert len(jobs) == 1
    assert http.post(IMAGES, json={**GOOD, "n": 2}, headers=headers).status_code == 422


def _refusals(http: httpx2.Client, house: House) -> None:
    poor = house.account(micro=10)
    answer = http.post(IMAGES, json=GOOD, headers={"authorization": f"Bearer {poor.key()}"})
    assert answer.status_code == 402
    poor.untouched()
    for ident in ("%00", "file_%00", "video_x", "'", "file_" + "0" * 32):
        assert http.get(f"/v1/files/{ident}").status_code == 404
    for after in ("%00", "'", "file_x"):
        assert http.get(f"/v1/files?after={after}").status_code == 404
    for purpose, status in (("\u0000", 400), ("x" * 101, 400), ("vision", 200)):
        given = {"purpose": (None, purpose), "file": ("a\u0000'.png", b"x")}
        assert http.post("/v1/files", files=given).status_code == status
    assert http.post(IMAGES, json=GOOD, headers={"authorization": "Bearer ct_live_%00"}).status_code == 401


def _failure(http: httpx2.Client, upstream: Upstream) -> None:
    upstream.answers = [error(502, "bad", "nul \u0000 in the words")]
    assert http.post(IMAGES, json=GOOD).status_code == 502


def _cut(house: House, upstream: Upstream, account: Account) -> None:
    """A connection cut before the answer is joined by the client's own retry."""
    import threading

    jobs, spent = account.jobs, account.spent_micro
    upstream.reset()
    upstream.gate.clear()
    with Cutter(house.port, cuts=1) as proxy:
        client = openai.OpenAI(base_url=f"http://127.0.0.1:{proxy.port}/v1", api_key=account.key())
        ask = threading.Thread(target=lambda: client.images.generate(model="test/picture", prompt="once"))
        ask.start()
        assert upstream.arrived.wait(10)
        proxy.release.set()
        while proxy.connections < 2:
            ask.join(0.005)
        upstream.gate.set()
        ask.join(30)
    assert (account.jobs, account.spent_micro, len(upstream.seen)) == (jobs + 1, spent + PRICE_MICRO, 1)
