"""The worked example of docs/providers.md: a provider in a package of its own, as it stands there, runs."""

import io
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import openai
import pytest
from PIL import Image
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from calotype.kernel.generation import Operation
from calotype.kernel.outcome import Failed, FailedKind, Pending, Succeeded
from calotype.kernel.steps import HttpRequest, HttpResponse, Steps
from calotype.providers.base import Call
from calotype.providers.registry import INSTALLED, UnknownKind, build_runtimes, factory_of, known_kinds
from calotype.sandbox import media
from calotype.sandbox.base import Emulator, reply
from calotype.sandbox.serve import on_a_thread
from calotype.settings import ProviderSettings, Settings
from running import House, running

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "examples" / "new_provider"
PAGE = (ROOT / "docs" / "providers.md").read_text()
FILES = ("lumen.py", "pyproject.toml", "lumen.toml")


class LumenServer(Emulator):
    """What the example's provider talks to."""

    name = "lumen"

    def __init__(self) -> None:
        self.made: dict[str, str] = {}
        self.looks: dict[str, int] = {}
        super().__init__()

    def routes(self) -> list[Route]:
        return [
            self.route("/v1/pictures", "submit", self._make),
            self.route("/v1/pictures/{id}", "status", self._look, "GET", "DELETE"),
            self.route("/files/{id}.png", "file", self._file, "GET"),
        ]

    async def _make(self, request: Request) -> Response:
        if request.headers.get("authorization") != "Bearer lumen-key":
            return reply({"error": {"message": "who are you"}}, 401)
        token = request.headers["idempotency-key"]
        return reply({"id": self.made.setdefault(token, f"p{len(self.made)}")}, 202)

    async def _look(self, request: Request) -> Response:
        ident = request.path_params["id"]
        self.looks[ident] = self.looks.get(ident, 0) + 1
        if self.looks[ident] == 1:
            return reply({"status": "working", "progress": 0.5})
        return reply({"status": "done", "url": f"{self.url}/files/{ident}.png", "cost_micro": 20_000})

    async def _file(self, request: Request) -> Response:
        return Response(media.png(64, 48, request.path_params["id"]), media_type="image/png")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Install the package as pip would: its module and its metadata on the path."""
    site = tmp_path_factory.mktemp("site")
    (site / "lumen.py").write_text((EXAMPLE / "lumen.py").read_text())
    facts = site / "calotype_lumen-1.0.dist-info"
    facts.mkdir()
    (facts / "METADATA").write_text("Metadata-Version: 2.1\nName: calotype-lumen\nVersion: 1.0\n")
    (facts / "entry_points.txt").write_text(
        f"[{INSTALLED}]\nlumen = lumen:Lumen\nbroken = lumen:Nothing\nfal = lumen:Lumen\n"
    )
    sys.path.insert(0, str(site))
    yield site
    sys.path.remove(str(site))
    sys.modules.pop("lumen", None)


@pytest.fixture(scope="module")
def lumen() -> Iterator[LumenServer]:
    emulator = LumenServer()
    with on_a_thread(emulator):
        yield emulator


@pytest.fixture(scope="module")
def house(installed: Path, lumen: LumenServer, tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    cards = tmp_path_factory.mktemp("cards")
    (cards / "lumen.toml").write_text((EXAMPLE / "lumen.toml").read_text())
    providers = {"lumen": {"base_url": lumen.url, "api_key": "lumen-key"}}
    with running(tmp_path_factory.mktemp("house"), providers=providers, cards_dir=cards) as one:
        yield one


@pytest.mark.parametrize("name", FILES)
def test_the_page_shows_the_files_as_they_are(name: str) -> None:
    assert f"```{name.rpartition('.')[2].replace('py', 'python')}\n{(EXAMPLE / name).read_text()}```" in PAGE


def test_it_is_a_new_provider_in_under_150_lines() -> None:
    assert sum(len((EXAMPLE / name).read_text().splitlines()) for name in FILES) < 150


def test_a_picture_is_made_charged_with_the_margin_and_its_cost_written_down(house: House, lumen: LumenServer) -> None:
    account = house.account()
    client = openai.OpenAI(base_url=house.url + "/v1", api_key=account.key(), max_retries=0)
    made = client.images.generate(model="lumen/one", prompt="a lighthouse", size="512x512")
    assert Image.open(io.BytesIO(httpx2.get(made.data[0].url).content)).size == (64, 48)
    assert lumen.submits[0].json() == {"model": "lumen-1", "prompt": "a lighthouse", "dimensions": "512x512"}
    assert (account.spent_micro, account.held_micro) == (22_000, 0)
    rows = house.rows("SELECT s.state, s.cost_micro, s.cost_source FROM submission s JOIN job j ON j.id = s.job_id"
                      " WHERE j.org_id = :org", org=account.org.id)  # fmt: skip
    assert rows == [("done", 20_000, "response")]


def test_a_lost_answer_is_asked_for_again_under_its_token(house: House, lumen: LumenServer) -> None:
    account, before = house.account(), len(lumen.made)
    client = openai.OpenAI(base_url=house.url + "/v1", api_key=account.key(), max_retries=0, timeout=60)
    client.images.generate(model="lumen/one", prompt="a mill @cut=after @times=1")
    assert len(lumen.made) == before + 1
    assert account.spent_micro == 22_000


@pytest.mark.parametrize(
    ("status", "body", "kind"),
    [
        (401, b"{}", FailedKind.AUTH),
        (402, b"{}", FailedKind.QUOTA),
        (404, b"{}", FailedKind.GONE),
        (422, b'{"error":{"code":"policy"}}', FailedKind.MODERATED),
        (422, b'{"error":{"code":"size"}}', FailedKind.INVALID),
        (429, b"", FailedKind.RETRY),
        (500, b"", FailedKind.UNKNOWN),
        (200, b"[]", FailedKind.UNKNOWN),
    ],
)
def test_what_an_answer_means_needs_no_server(installed: Path, status: int, body: bytes, kind: FailedKind) -> None:
    outcome = played(adapter().submit(call()), HttpResponse(status, {}, body))
    assert isinstance(outcome, Failed)
    assert outcome.kind is kind


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b'{"status":"working"}', Pending),
        (b'{"status":"failed"}', Failed),
        (b'{"status":"done","url":"https://l.example/p.png","cost_micro":1}', Succeeded),
        (b"<html>", Failed),
    ],
)
def test_what_a_look_tells(installed: Path, body: bytes, kind: type) -> None:
    assert isinstance(played(adapter().poll({"id": "p1"}), HttpResponse(200, {}, body)), kind)


def test_an_installed_kind_is_known_and_takes_no_built_in_ones_place(installed: Path) -> None:
    assert "lumen" in known_kinds()
    assert adapter().kind == "lumen"
    built_in = factory_of("fal")
    assert built_in is not None
    assert built_in("fal", ProviderSettings()).kind == "fal"


def test_a_kind_that_cannot_be_loaded_is_refused_by_name(installed: Path, tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, providers={"x": ProviderSettings(kind="broken")})
    with pytest.raises(UnknownKind, match=r"'broken' cannot be loaded from lumen:Nothing"):
        build_runtimes(settings, scratch_dir=tmp_path)


def adapter() -> Any:
    from lumen import Lumen  # type: ignore[import-not-found]

    return Lumen("lumen", ProviderSettings(base_url="https://l.example", api_key="lumen-key"))


def call() -> Call:
    return Call("job", 1, "job-1", Operation.TEXT_TO_IMAGE, "lumen-1", {"prompt": "a lighthouse"})


def played(steps: Steps[Any], answer: HttpResponse) -> Any:
    """Drive a conversation of one exchange."""
    request = next(steps)
    assert isinstance(request, HttpRequest)
    with pytest.raises(StopIteration) as end:
        steps.send(answer)
    return end.value.value
