"""`/llms.txt`, `/llms-full.txt` and `/models/{id}/llms.txt`: whole, and true to what the server does."""

import inspect
import json
import pkgutil
import re
import shlex
from pathlib import Path

import httpx2
import pytest

import calotype.dialects
from calotype.catalog import Catalog, Pricing
from calotype.dialects.jobs.app import EXACT
from calotype.dialects.jobs.services import SERVICES
from calotype.llms import DIALECTS, Site, cards_of, full, model_page, short, texts
from calotype.openapi import ENDPOINTS
from calotype.server import Server
from running import Account, House

URL = "http://gateway.example"
LISTED = re.compile(r"^- (.+?) \((\S+); `(.+?)`\): ", re.MULTILINE)


def site(catalog: Catalog | None = None) -> Site:
    return Site(catalog or Catalog.load(), ENDPOINTS, URL)


def called(page: str) -> list[tuple[str, dict[str, str], dict[str, object]]]:
    """Take the calls of a page apart as a shell does: address, headers, body."""
    found = []
    for block in re.findall(r"```sh\n(.*?)\n```", page, re.DOTALL):
        words = shlex.split(block.replace("\\\n", " "))
        headers = dict(words[n + 1].split(": ", 1) for n, word in enumerate(words) if word == "-H")
        found.append((words[3], headers, json.loads(words[words.index("-d") + 1])))
    return found


def test_the_listed_apis_are_those_that_the_server_leads_requests_to(http: httpx2.Client) -> None:
    packages = {one.name for one in pkgutil.iter_modules(calotype.dialects.__path__) if one.ispkg}
    served = packages & set(inspect.signature(Server).parameters)
    assert {one.name for one in site().dialects} == served
    listed = {title: base for title, base, _ in LISTED.findall(http.get("/llms.txt").text)}
    assert set(listed) == {one.title for one in DIALECTS}
    for one in DIALECTS:
        http.get(f"{one.base}/nothing-{one.name}")
        counted = http.get("/metrics").text
        assert re.search(rf'dialect="{one.name}"', counted), one.name


def test_an_api_without_endpoints_is_not_listed() -> None:
    for gone in (one for one in DIALECTS if one.documented is not None):
        left = [item for item in ENDPOINTS if not item.path.startswith(str(gone.documented))]
        bare = Site(Catalog.load(), left, URL)
        assert gone not in bare.dialects
        assert f"- {gone.title} (" not in short(bare)


def test_a_service_is_listed_while_a_model_of_it_is_in_force() -> None:
    bare = Site(Catalog.load(), [one for one in ENDPOINTS if not one.path.startswith("/api/v1/")], URL)
    for text in (short(bare), full(bare)):
        assert "`POST /api/v1/text-to-image/generate`: Z-Image." in text
        assert "`model` chooses among veo3_fast, veo3." in text
        assert "/api/v1/sora2" not in text, "Sora is retired"


def test_every_service_is_in_the_index_once(http: httpx2.Client) -> None:
    text = http.get("/llms.txt").text
    for one in SERVICES:
        if cards_of(one, Catalog.load()):
            assert text.count(f"`POST /api/v1{one.create}`") == 1


def test_every_model_has_a_text_under_each_of_its_names_and_the_index_leads_there(
    house: House, http: httpx2.Client
) -> None:
    index = http.get("/llms.txt").text
    for card in house.app.catalog.cards(everything=True):
        assert (f"/models/{card.id}/llms.txt)" in index) == (card.status != "retired")
        for name in card.names:
            answer = http.get(f"/models/{name}/llms.txt")
            assert answer.status_code == 200 and answer.text.startswith(f"# {card.id}\n")
            assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert http.get("/models/local%2Fsketch/llms.txt").text == http.get("/models/local/sketch/llms.txt").text
    assert http.get("/models/nothing/llms.txt").status_code == 404


def test_the_text_of_a_model_has_its_fields_and_prices_and_that_of_a_retired_one_what_to_use() -> None:
    catalog = Catalog.load(pricing=Pricing(overrides={"local/sketch": 1500}))
    for card in catalog.cards(everything=True):
        page = model_page(card, site(catalog))
        if card.status == "retired":
            assert "410" in page and (card.replacement or "") in page and "## Calls" not in page
        else:
            assert all(f"- `{name}` (" in page for name in card.fields)
            assert "## Price\n\n- " in page and called(page)
    assert "- 0.0015 USD (1500 micro-USD) per image" in model_page(catalog.find("local/sketch"), site(catalog))
    assert "- Free." in model_page(catalog.find("local/music"), site(catalog))


def test_the_whole_text_has_every_endpoint_and_every_model(http: httpx2.Client) -> None:
    text = http.get("/llms-full.txt").text
    for one in ENDPOINTS:
        assert f"### {one.method} {one.path}\n" in text
    for card in Catalog.load().cards():
        assert f"\n### {card.id}\n" in text
    assert text.count("\n# ") == 0 and text.startswith("# Calotype\n")


def test_what_stands_in_an_apostrophe_survives_the_shell(house: House) -> None:
    from msgspec.structs import replace

    card = replace(house.app.catalog.find("local/sketch"), example={"prompt": "it's Zoë's \"cat\" $HOME `x`"})
    bodies = [body for _, _, body in called(model_page(card, site()))]
    assert bodies and all(body["prompt"] == "it's Zoë's \"cat\" $HOME `x`" for body in bodies)


@pytest.mark.parametrize("model", ["local/sketch", "local/sketch-video", "local/music", "test/picture"])
def test_the_calls_of_a_text_work_as_they_stand(
    model: str, http: httpx2.Client, account: Account, house: House
) -> None:
    key = account.key()
    calls = called(http.get(f"/models/{model}/llms.txt").text)
    assert len(calls) == (1 if model == "local/music" else 2)
    for address, headers, body in calls:
        assert headers["Authorization"].endswith(" $CALOTYPE_KEY")
        path = httpx2.URL(address).path
        short_body = {name: 5 if name == "seconds" else value for name, value in body.items()}
        headers["Authorization"] = headers["Authorization"].replace("$CALOTYPE_KEY", key)
        answer = http.post(path, headers=headers, json=short_body)
        assert answer.status_code in (200, 202), answer.text


def test_the_jobs_calls_of_texts_are_served_and_named_as_callers_name_them() -> None:
    pages = {path: page.decode() for path, (_, page) in texts(site()).items()}
    calls = called(pages["/models/local/transcribe/llms.txt"])
    (body,) = [body for address, _, body in calls if address.endswith("/api/v1/media/transcribe")]
    assert set(body) == {"media_url"}
    ((_, _, chosen),) = [one for one in called(pages["/models/veo3/llms.txt"]) if "veo31" in one[0]]
    assert chosen["model"] == "veo3"
    for page in pages.values():
        for found in re.findall(rf"{URL}/api/v1(/[a-z0-9/-]+) ", page):
            assert ("POST", found) in EXACT or any(f"/api/v1{found}" == one.path for one in ENDPOINTS), found


def test_the_folder_of_built_in_cards_is_what_the_texts_are_made_of() -> None:
    folder = Path(calotype.__file__).parent / "catalog" / "cards"
    written = re.findall(r'^id = "(.+)"$', "\n".join(one.read_text() for one in folder.glob("*.toml")), re.MULTILINE)
    assert {f"/models/{name}/llms.txt" for name in written} <= set(texts(site()))
