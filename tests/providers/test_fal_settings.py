"""fal's own variables, and what becomes of planned models once an account is set up."""

from collections.abc import Callable
from pathlib import Path

import pytest

from calotype.catalog import Catalog
from calotype.providers.driver import Driven
from calotype.providers.fal import Fal
from calotype.providers.registry import build_runtimes
from calotype.settings import Settings

Set = Callable[..., Settings]


@pytest.fixture
def settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Set:
    """Return a reader of the settings that these variables make."""
    monkeypatch.chdir(tmp_path)

    def read(**variables: str) -> Settings:
        for name, value in variables.items():
            monkeypatch.setenv(name, value)
        return Settings()

    return read


async def test_fals_own_variables_set_up_an_account(settings: Set, tmp_path: Path) -> None:
    read = settings(FAL_KEY="id:secret", FAL_QUEUE_RUN_HOST="gw.example.com:8443/fal/queue", FAL_IMAGE_MODEL="me/flux")
    fal = read.providers["fal"]
    assert (fal.kind, fal.base_url) == ("fal", "https://gw.example.com:8443/fal/queue")
    assert fal.api_key is not None and fal.api_key.get_secret_value() == "id:secret"
    runtime = build_runtimes(read, scratch_dir=tmp_path)["fal"]
    assert isinstance(runtime, Driven) and runtime.kind == Fal.kind
    await runtime.close()


@pytest.mark.parametrize(
    ("host", "base_url"),
    [("gw.example.com", "https://queue.gw.example.com"), ("gw:8443/fal/run", "https://gw:8443/fal/queue")],
)
def test_a_key_in_two_parts_and_one_host_are_read_as_fals_clients_do(settings: Set, host: str, base_url: str) -> None:
    fal = settings(FAL_KEY_ID="id", FAL_KEY_SECRET="secret", FAL_RUN_HOST=host).providers["fal"]
    assert (fal.api_key and fal.api_key.get_secret_value(), fal.base_url) == ("id:secret", base_url)


def test_the_whole_key_and_the_queues_own_host_win_over_the_parts(settings: Set) -> None:
    fal = settings(
        FAL_KEY="a:b", FAL_KEY_ID="id", FAL_KEY_SECRET="secret", FAL_RUN_HOST="x.example.com",
        FAL_QUEUE_RUN_HOST="queue.example.com",
    ).providers["fal"]  # fmt: skip
    assert (fal.api_key and fal.api_key.get_secret_value(), fal.base_url) == ("a:b", "https://queue.example.com")


def test_a_model_or_a_host_alone_is_no_account(settings: Set) -> None:
    assert settings(FAL_VIDEO_MODEL="me/wan", FAL_QUEUE_RUN_HOST="queue.example.com").providers == {}


def test_a_model_variable_also_counts_for_an_account_set_up_our_way_and_ours_wins(settings: Set) -> None:
    read = settings(
        CALOTYPE_PROVIDERS__FAL__API_KEY="a:b",
        FAL_IMAGE_MODEL="fal-ai/krea-2/turbo",
        FAL_AVATAR_MODEL="theirs",
        CALOTYPE_PROVIDERS__FAL__MODELS='{"avatar": "ours"}',
    )
    assert read.providers["fal"].models == {"krea-2": "fal-ai/krea-2/turbo", "avatar": "ours"}
    catalog = Catalog.load(providers=read.providers)
    upstreams = {
        model: [route.upstream for route in catalog.find(model).routes if route.provider == "fal"]
        for model in ("krea-2", "wan")
    }
    assert upstreams == {
        "krea-2": ["fal-ai/krea-2/turbo"],
        "wan": ["fal-ai/krea-wan-14b/text-to-video", "fal-ai/wan-i2v"],
    }


def test_planned_models_are_active_once_fal_is_set_up(settings: Set) -> None:
    models = ("krea-2", "wan", "avatar", "fal-ai/flux/dev", "fal-ai/flux/schnell")
    before, after = Catalog.load(), Catalog.load(providers=settings(FAL_KEY="a:b").providers)
    assert {before.find(model).status for model in models} == {"planned"}
    assert {after.find(model).status for model in models} == {"active"}


def test_flux_has_fals_own_fields_and_no_invented_price(settings: Set) -> None:
    card = Catalog.load(providers=settings(FAL_KEY="a:b").providers).find("fal-ai/flux/schnell")
    assert card.check({"prompt": "x"}).input["num_inference_steps"] == 4
    for size in ("square_hd", "640x480", {"width": 640, "height": 480}):
        assert card.check({"prompt": "x", "image_size": size}).input["image_size"] == size
    assert (card.routes[0].cost_known, card.routes[0].priced) == (False, False)
    assert card.outputs_of({"num_images": 3}) == 3
