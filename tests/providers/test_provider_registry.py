"""From settings to runtimes."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import SecretStr

from calotype.providers.local.runtime import LocalRuntime
from calotype.providers.registry import UnknownKind, build_runtimes
from calotype.settings import ProviderSettings, Settings


def settings(**providers: dict[str, Any]) -> Settings:
    return Settings(providers={name: ProviderSettings(**fields) for name, fields in providers.items()})


async def test_this_machine_is_always_there(tmp_path: Path) -> None:
    runtimes = build_runtimes(settings(local={"regions": ["CH"]}), scratch_dir=tmp_path)
    assert list(runtimes) == ["local"]
    assert isinstance(runtimes["local"], LocalRuntime)
    assert runtimes["local"].max_in_progress == 65


async def test_each_named_instance_becomes_a_runtime_of_its_kind(tmp_path: Path) -> None:
    runtimes = build_runtimes(
        settings(
            openai={"api_key": SecretStr("sk-1")},
            den={"kind": "openai", "base_url": "http://10.0.0.5:8000/v1", "max_in_progress": 3},
        ),
        scratch_dir=tmp_path,
    )
    assert sorted(runtimes) == ["den", "local", "openai"]
    den = runtimes["den"]
    assert (den.name, den.kind, den.max_in_progress) == ("den", "openai", 3)
    assert den.output_hosts == {"10.0.0.5:8000"}
    for runtime in runtimes.values():
        await runtime.close()


@pytest.mark.parametrize(
    ("providers", "said"),
    [
        ({"acme": {}}, "providers.acme.kind: 'acme' is not a kind of provider here; use one of "),
        ({"x": {"kind": "acme"}}, "providers.x.kind: 'acme'"),
        ({"x": {"kind": "local"}}, "providers.x.kind: 'local'"),
        ({"local": {"kind": "openai"}}, "use local, which is this machine's name"),
    ],
)
def test_an_unknown_kind_is_refused_with_those_that_exist(tmp_path: Path, providers: dict[str, Any], said: str) -> None:
    with pytest.raises(UnknownKind) as refusal:
        build_runtimes(settings(**providers), scratch_dir=tmp_path)
    assert said in str(refusal.value)
