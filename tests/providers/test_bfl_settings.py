"""One key of Black Forest Labs sets up three instances, and each region is served by its own host."""

from collections.abc import Callable
from pathlib import Path

import pytest

from calotype.accounts.types import KeyRecord, Organisation
from calotype.catalog import Card, Catalog
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Context, KeyClass, Operation, Region
from calotype.kernel.ids import KeyId, OrgId
from calotype.providers.driver import Driven
from calotype.providers.registry import build_runtimes
from calotype.routing import plan
from calotype.settings import Settings

Set = Callable[..., Settings]
MODELS = (
    "flux-2-pro", "flux-2-klein", "flux-1.1-pro", "flux-kontext", "bfl/flux-2-max", "bfl/flux-2-flex", "bfl/flux-dev",
    "bfl/flux-2-klein-9b", "bfl/flux-pro-1.1-ultra", "bfl/flux-kontext-max", "bfl/flux-pro-1.0-fill",
    "bfl/flux-pro-1.0-expand",
)  # fmt: skip


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Set:
    """Return a reader of the settings that these variables make."""
    monkeypatch.chdir(tmp_path)

    def read(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Settings()

    return read


def routes(card: Card, region: Region, available: frozenset[str], *, strict: bool = False) -> list[str]:
    key = KeyRecord(KeyId("k"), OrgId("o"), "k", KeyClass.PAID)
    ctx = Context(key.principal, "openai", region=region, region_explicit=True)
    made = plan(
        Catalog([card], Catalog.load().pricing), card, ctx, key, Organisation(OrgId("o"), "o"), available=available,
        now_ms=1_800_000_000_000, operation=None, strict_residency=strict,
    )  # fmt: skip
    return [route.provider for route in made.routes]


async def test_one_key_is_an_account_at_every_host(settings: Set, tmp_path: Path) -> None:
    read = settings(BFL_API_KEY="bfl-key-1")
    assert sorted(read.providers) == ["bfl", "bfl-eu", "bfl-us"]
    assert {one.kind for one in read.providers.values()} == {"bfl"}
    runtimes = build_runtimes(read, scratch_dir=tmp_path)
    for name in read.providers:
        runtime = runtimes[name]
        assert isinstance(runtime, Driven)
        assert runtime.max_in_progress == 24
        await runtime.close()


@pytest.mark.parametrize("model", MODELS)
def test_a_region_is_served_by_its_host_alone(settings: Set, model: str) -> None:
    providers = settings(BFL_API_KEY="bfl-key-1").providers
    card = Catalog.load(providers=providers).find(model)
    assert card.status == "active"
    here = frozenset(providers)
    assert routes(card, Region.EU, here) == ["bfl-eu"]
    assert routes(card, Region.US, here, strict=True) == ["bfl-us"]
    assert routes(card, Region.WORLD, here)[0] == "bfl"
    assert routes(card, Region.CH, here) == ["bfl"]
    with pytest.raises(Problem) as caught:
        routes(card, Region.CH, here, strict=True)
    assert caught.value.code is Code.NO_ROUTE


def test_no_key_goes_to_a_host_beside_one_that_the_operator_chose(settings: Set) -> None:
    read = settings(BFL_API_KEY="bfl-key-1", BFL_API_BASE="http://127.0.0.1:1", BFL_EU_API_BASE="http://127.0.0.1:2")
    assert {name: one.base_url for name, one in read.providers.items()} == {
        "bfl": "http://127.0.0.1:1", "bfl-eu": "http://127.0.0.1:2",
    }  # fmt: skip


def test_an_address_in_the_file_counts_as_chosen_and_a_host_alone_is_no_account(settings: Set, tmp_path: Path) -> None:
    assert settings(BFL_EU_API_BASE="https://api.eu.bfl.ai").providers == {}
    (tmp_path / "calotype.toml").write_text('[providers.bfl]\nbase_url = "https://proxy.example"\n')
    assert sorted(settings(BFL_API_KEY="bfl-key-1").providers) == ["bfl", "bfl-eu"]


def test_the_settings_bound_wins_over_the_upstreams_own(settings: Set, tmp_path: Path) -> None:
    read = settings(BFL_API_KEY="bfl-key-1", CALOTYPE_PROVIDERS__BFL__MAX_IN_PROGRESS="3")
    assert build_runtimes(read, scratch_dir=tmp_path)["bfl"].max_in_progress == 3


def test_planned_flux_is_active_with_a_key_and_previews_wait_for_a_price(settings: Set) -> None:
    before, after = Catalog.load(), Catalog.load(providers=settings(BFL_API_KEY="bfl-key-1").providers)
    assert {before.find(model).status for model in MODELS} == {"planned"}
    assert {after.find(model).status for model in MODELS} == {"active"}
    assert not any(route.priced for route in after.find("bfl/flux-2-pro-preview").routes)
    assert after.find("flux-kontext").operations[0] is Operation.IMAGE_TO_IMAGE
