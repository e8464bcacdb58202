"""`calotype doctor` asks every provider that is set up, says what models lack, and shows no secret."""

import json
import socket
from collections.abc import Iterator
from typing import Any

import pytest

from calotype.sandbox.bfl import Bfl
from calotype.sandbox.fal import Fal
from calotype.sandbox.openai import OpenAI
from calotype.sandbox.serve import on_a_thread


@pytest.fixture(scope="module")
def upstreams() -> Iterator[tuple[Bfl, Fal, OpenAI]]:
    bfl, fal, openai = Bfl(), Fal(), OpenAI()
    with on_a_thread(bfl), on_a_thread(fal), on_a_thread(openai):
        yield bfl, fal, openai


def variables(upstreams: tuple[Bfl, Fal, OpenAI], **more: str) -> dict[str, str]:
    return {**{key: value for one in upstreams for key, value in one.environment().items()}, **more}


def accounts(said: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {f"{one['provider']}/{one['number']}": one for one in said["accounts"]}


def test_every_account_is_asked_whether_it_is_known_and_what_is_left(cli: Any, upstreams: Any) -> None:
    more = {"CALOTYPE_PROVIDERS__FAL__API_KEYS": '["admin:one", "locked:two"]'}
    done = cli("doctor", "--json", **variables(upstreams, **more))
    assert done.returncode == 0, done.stdout + done.stderr
    said = json.loads(done.stdout)
    found = accounts(said)
    asked = ["bfl/1", "bfl-eu/1", "bfl-us/1", "fal/1", "fal/2", "fal/3", "openai/1"]
    assert {found[name]["credential"] for name in asked} == {"ok"}
    assert found["bfl-eu/1"]["balance"] == "1,000,000.00 credits (10,000.00 USD)"
    assert found["fal/1"]["note"] == "only an administrator's key sees the balance"
    assert found["fal/2"]["balance"] == "24.50 USD"
    assert found["fal/3"]["note"] == "the account is locked or out of credit"
    checks = {one["name"]: one for one in said["checks"]}
    assert checks["provider fal #2"]["found"] == "key set, reachable, credential valid, balance 24.50 USD"
    for secret in ("bfl-sandbox", "admin:one", "sk-sandbox"):
        assert secret not in done.stdout + done.stderr


def test_a_refused_credential_fails_and_an_unusable_setting_is_told(cli: Any, upstreams: Any) -> None:
    done = cli("doctor", "--json", **variables(upstreams, OPENAI_API_KEY="sk-unknown", AZURE_EU_API_KEY="x"))
    assert done.returncode == 1
    checks = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    assert "credential refused" in checks["provider openai"]["found"] and not checks["provider openai"]["ok"]
    assert "base_url must be the resource's endpoint" in checks["provider azure-eu"]["found"]
    assert checks["provider bfl"]["ok"]


def test_an_upstream_that_is_away_is_to_be_looked_at_but_keeps_no_server_from_working(cli: Any) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    base = {"BFL_API_KEY": "k", "BFL_API_BASE": f"http://127.0.0.1:{port}"}
    done = cli("doctor", "--json", **base)
    assert done.returncode == 0, done.stdout
    said = json.loads(done.stdout)
    assert accounts(said)["bfl/1"]["reachable"] is False
    (check,) = [one for one in said["checks"] if one["name"] == "provider bfl"]
    assert (check["ok"], check["warning"]) == (True, True)
    offline = json.loads(cli("doctor", "--json", "--offline", **base).stdout)
    assert accounts(offline)["bfl/1"]["reachable"] is None


def test_models_that_lack_something_are_named_with_the_command_that_helps(cli: Any) -> None:
    said = json.loads(cli("doctor", "--json", "--offline").stdout)
    missing = {one["model"]: one for one in said["missing"]}
    assert missing["local/nsfw-check"]["lacks"] == ["weights:open-nsfw"]
    assert missing["local/nsfw-check"]["steps"] == ["run calotype models pull open-nsfw"]
    plain = cli("doctor", "--offline").stdout
    assert "model local/nsfw-check\tlook\trun calotype models pull open-nsfw" in plain


def test_an_agreement_about_phi_that_has_ended_is_shown_and_this_machine_has_no_account(cli) -> None:
    settings = {
        "CALOTYPE_PROVIDERS__LOCAL__PHI": '{"reference": "own premises", "expires": "2099-12-31"}',
        "CALOTYPE_PROVIDERS__OPENAI__API_KEY": "sk-x",
        "CALOTYPE_PROVIDERS__OPENAI__PHI": '{"reference": "AVV 17", "expires": "2020-01-01"}',
    }
    found = json.loads(cli("doctor", "--json", "--offline", **settings).stdout)
    told = {one["name"]: (one["found"], one["warning"]) for one in found["checks"]}
    assert told["agreement openai"] == ("AVV 17, ended on 2020-01-01: no PHI goes there", True)
    assert told["agreement local"] == ("own premises, PHI until 2099-12-31", False)
    assert told["providers"][0] == "local, openai (key set)"
    assert "provider local" not in told


def test_a_variable_that_sets_nothing_is_named(cli) -> None:
    found = json.loads(cli("doctor", "--json", "--offline", CALOTYPE_PROT="1", CALOTYPE_KEY="x").stdout)
    told = {one["name"]: (one["ok"], one["warning"]) for one in found["checks"] if one["name"].startswith("variable")}
    assert told == {"variable CALOTYPE_PROT": (True, True)}
