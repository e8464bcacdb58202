"""Tools of this machine through a running server: files in and out, prices, refusals, and what is not here yet."""

import base64
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
import toolbox
from PIL import Image
from test_local_tools_download import Site, body, redirect, serving

from calotype.kernel.generation import KeyClass
from running import Account, House, running

PRICE_MICRO = 7_000
"""For each started 10 MB."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("tools")


@pytest.fixture(scope="module")
def site(folder: Path) -> Iterator[Site]:
    with serving() as site:
        film = toolbox.film(folder).read_bytes()
        # a larger file of the same film: what follows its parts belongs to nothing
        free = (11_000_000).to_bytes(4, "big") + b"free" + bytes(11_000_000 - 8)
        site.pages = {
            "/film.mp4": body(film), "/large.mp4": body(film + free),
            "/away.mp4": redirect("http://127.0.0.1:1/film.mp4"),
        }  # fmt: skip
        yield site


@pytest.fixture(scope="module")
def served(folder: Path, site: Site) -> Iterator[House]:
    with running(
        folder / "data",
        prices={"local/video-download": PRICE_MICRO, "local/upscale": 500},
        security={"allowed_private_hosts": [site.host]},
    ) as house:
        yield house


@pytest.fixture
def account(served: House) -> Account:
    return served.account()


def ask(account: Account, model: str, fields: dict[str, Any]) -> httpx2.Response:
    headers = {"Authorization": f"Key {account.key(KeyClass.PAID)}"}
    return httpx2.post(f"{account.house.url}/fal/run/{model}", json=fields, headers=headers, timeout=90)


def uri(path: Path, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(path.read_bytes()).decode()}"


def test_a_picture_is_enlarged_stored_and_charged(account: Account, folder: Path) -> None:
    answer = ask(account, "local/upscale", {"image_url": uri(toolbox.picture(folder), "image/png"), "factor": 3})
    assert answer.status_code == 200, answer.text
    image = answer.json()["image"]
    assert (image["width"], image["height"], image["content_type"]) == (288, 192, "image/png")
    (folder / "large.png").write_bytes(httpx2.get(image["url"]).content)
    with Image.open(folder / "large.png") as large:
        assert large.size == (288, 192)
    assert (account.spent_micro, account.held_micro) == (500, 0)


def test_films_are_joined_from_several_files(account: Account, folder: Path) -> None:
    film = uri(toolbox.film(folder), "video/mp4")
    answer = ask(account, "local/merge-videos", {"video_urls": [film, film]})
    assert answer.status_code == 200, answer.text
    assert answer.json()["video"]["content_type"] == "video/mp4"


def test_a_download_is_charged_by_each_started_10_mb(account: Account, site: Site) -> None:
    answer = ask(account, "local/video-download", {"url": f"{site.url}/film.mp4"})
    assert answer.status_code == 200, answer.text
    assert account.spent_micro == PRICE_MICRO
    answer = ask(account, "local/video-download", {"url": f"{site.url}/large.mp4"})
    assert answer.status_code == 200, answer.text
    assert (account.spent_micro, account.held_micro) == (PRICE_MICRO + 2 * PRICE_MICRO, 0)


def test_a_download_that_leads_to_a_private_address_costs_nothing(account: Account, site: Site) -> None:
    answer = ask(account, "local/video-download", {"url": f"{site.url}/away.mp4"})
    assert answer.status_code == 422, answer.text
    assert answer.json()["detail"][0]["loc"] == ["body", "url"]
    assert (account.spent_micro, account.held_micro) == (0, 0)


def test_a_model_whose_weights_are_not_here_says_how_to_get_them(account: Account, folder: Path) -> None:
    answer = ask(account, "local/nsfw-check", {"image_url": uri(toolbox.picture(folder), "image/png")})
    assert answer.status_code == 404, answer.text
    assert "calotype models pull open-nsfw" in answer.text
    account.untouched()
