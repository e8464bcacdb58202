"""Commands on a data directory that nobody serves: shapes of answers, exit statuses, plain words."""

import json
import sqlite3
import sys
from pathlib import Path

import pytest


def test_version_and_help(cli) -> None:
    assert cli("--version").stdout.startswith("calotype ")
    shown = cli("--help").stdout
    for name in ("serve", "generate", "models", "keys", "orgs", "credits", "jobs", "ledger", "doctor", "db"):
        assert f"\n  {name} " in shown
    assert cli("keys").returncode == 2
    assert cli("no-such-command").returncode == 2


def test_a_key_is_shown_once(cli) -> None:
    done = cli(
        "keys", "create", "--class", "paid", "--name", "mine", "--models", "local/*,gpt-image-2", "--spend-cap", "2.5",
        "--rpm", "60", "--max-in-progress", "4", "--expires", "30d", "--json",
    )  # fmt: skip
    made = json.loads(done.stdout)
    assert made["key"].startswith(f"ct_live_{made['id']}_")
    assert made["spend_cap_micro"] == 2_500_000
    assert made["models"] == ["local/*", "gpt-image-2"]
    listed = cli("keys", "list", "--json")
    assert made["key"] not in listed.stdout
    (one,) = json.loads(listed.stdout)
    assert {name: one[name] for name in ("id", "name", "class", "org", "status")} == {
        "id": made["id"], "name": "mine", "class": "paid", "org": "default", "status": "active",
    }  # fmt: skip
    assert one["expires_at_ms"] - one["created_at_ms"] == pytest.approx(30 * 86_400_000, abs=60_000)
    assert json.loads(cli("keys", "revoke", made["id"], "--json").stdout)["status"] == "revoked"


def test_wrong_usage_ends_with_2_and_refusals_with_1(cli) -> None:
    assert cli("keys", "create", "--class", "gold").returncode == 2
    assert cli("keys", "create", "--expires", "soon").returncode == 2
    assert cli("credits", "grant", "0.0000001").returncode == 2
    assert cli("keys", "revoke", "none").returncode == 1
    assert cli("keys", "create", "--org", "none").returncode == 1
    assert cli("jobs", "show", "x").returncode == 1
    assert cli("jobs", "show", "01a1f942-2942-7345-8b4d-2c6ac50cae66").returncode == 1
    done = cli("keys", "list", CALOTYPE_MARGIN_BPS="much")
    assert done.returncode == 1
    assert "margin_bps" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_key_for_a_model_that_is_not_there_is_made_with_a_word(cli) -> None:
    made = cli("keys", "create", "--models", "local/*,flux-dev,local/sketch", "--json")
    assert made.returncode == 0
    assert made.stderr.splitlines() == ["No model is called 'flux-dev' yet: calotype models list --all names them."]


def test_money_is_taken_back_as_far_as_it_is_there(cli) -> None:
    cli("credits", "grant", "500")
    taken = json.loads(cli("credits", "take", "495", "--memo", "meant 5", "--json").stdout)
    assert taken["available_micro"] == 5_000_000
    refused = cli("credits", "take", "6")
    assert refused.returncode == 1
    assert "available" in refused.stderr
    moved = json.loads(cli("credits", "history", "--json").stdout)
    assert [one["amount_micro"] for one in moved] == [-495_000_000, 500_000_000]
    assert json.loads(cli("ledger", "verify", "--json").stdout)["ok"] is True


def test_money_is_granted_once_for_one_idempotency_key(cli) -> None:
    for _ in range(2):
        done = cli("credits", "grant", "1.000001", "--memo", "hello", "--idempotency-key", "a", "--json")
        assert json.loads(done.stdout)["available_micro"] == 1_000_001
    assert cli("credits", "grant", "2", "--idempotency-key", "a").returncode == 1
    limited = json.loads(cli("credits", "limit", "5", "--json").stdout)
    assert limited["credit_limit_micro"] == 5_000_000
    assert limited["available_micro"] == 6_000_001
    assert [one["memo"] for one in json.loads(cli("credits", "history", "--json").stdout)] == ["hello"]
    assert cli("credits", "show").stdout.splitlines()[1].split() == ["posted", "1.000001", "USD"]


def test_verify_lists_what_differs_and_fails(cli, data_dir: Path) -> None:
    cli("credits", "grant", "1")
    assert cli("ledger", "verify").returncode == 0
    with sqlite3.connect(data_dir / "calotype.db") as database:
        database.execute("UPDATE account SET posted_micro = posted_micro + 1 WHERE id LIKE 'org/%'")
    done = cli("ledger", "verify", "--json")
    assert done.returncode == 1
    verdict = json.loads(done.stdout)
    assert verdict["ok"] is False
    assert verdict["differences"][0]["found"] == verdict["differences"][0]["expected"] + 1


def test_models_have_ids_aliases_and_prices(cli) -> None:
    runs = {one["id"]: one for one in json.loads(cli("models", "list", "--json").stdout)}
    assert "local/sketch" in runs
    assert all(one["available"] for one in runs.values())
    cards = {one["id"]: one for one in json.loads(cli("models", "list", "--all", "--json").stdout)}
    assert set(runs) < set(cards)
    for one in cards.values():
        assert isinstance(one["aliases"], list)
        assert one["price"]["text"] if one["unpriced"] is None else one["price"] is None
        assert one["routes"] or one["status"] == "retired"
        assert all(route["available"] is (route["why"] is None) for route in one["routes"])
    set_price = cli("models", "show", "local/sketch", "--json", CALOTYPE_PRICES='{"local/sketch": 1000}')
    shown = json.loads(set_price.stdout)
    assert shown["price"] | {"text": ""} == {
        "unit": "image", "per": 1, "price_micro": 1000, "example_micro": 1000, "text": "",
    }  # fmt: skip
    assert shown["label"] == "procedural illustration, not an AI model"
    assert "prompt" in shown["input"]["properties"]
    assert "local/sketch" in cli("models", "show", "local/skech").stderr


def test_generate_without_a_server_runs_one_for_the_time_it_takes(cli, data_dir: Path, tmp_path: Path) -> None:
    done = cli("generate", "a house by a lake", "--size", "256x256", "--n", "2", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert len(made["files"]) == 2
    for name in made["files"]:
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
    assert not (data_dir / "engine.json").exists()
    assert json.loads(cli("jobs", "list", "--json").stdout)[0]["id"] == made["job_id"]


def test_doctor_finds_this_machine_healthy_and_shows_no_secret(cli) -> None:
    done = cli("doctor", "--json", CALOTYPE_PROVIDERS__OPENAI__API_KEY="sk-very-hidden")
    assert done.returncode == 0, done.stdout
    checks = {one["name"]: one for one in json.loads(done.stdout)["checks"]}
    assert checks["providers"]["found"] == "local, openai (key set)"
    assert checks["worker process"]["ok"]
    assert "very-hidden" not in done.stdout + done.stderr


def test_secrets_are_rotated_and_never_shown(cli, data_dir: Path) -> None:
    first = json.loads(cli("secrets", "rotate", "url_signing", "--json").stdout)
    second = cli("secrets", "rotate", "url_signing", "--json")
    assert (first["valid"], json.loads(second.stdout)["valid"]) == (1, 2)
    for secret in (data_dir / "secrets" / "url_signing").read_text().split():
        assert secret not in second.stdout + second.stderr
    assert cli("secrets", "rotate", "url_signing", CALOTYPE_SECURITY__SIGNING_SECRET="x" * 32).returncode == 1
    for name in ("fal_tickets", "content_jobs"):
        assert cli("secrets", "rotate", name).returncode == 0


def test_the_schema_is_upgraded_and_compared(cli) -> None:
    assert cli("db", "current", "--json").returncode == 1
    after = json.loads(cli("db", "upgrade", "--json").stdout)
    assert after["before"] is None
    assert json.loads(cli("db", "current", "--json").stdout)["up_to_date"] is True
    assert set(json.loads(cli("media", "sweep", "--orphans", "--json").stdout)) >= {"artifacts", "orphans"}


def test_the_data_directory_may_be_named_before_or_behind_the_command(cli, tmp_path: Path) -> None:
    cli("--data-dir", str(tmp_path / "one"), "orgs", "create", "early")
    names = json.loads(cli("orgs", "list", "--data-dir", str(tmp_path / "one"), "--json").stdout)
    assert [one["name"] for one in names] == ["default", "early"]


def test_the_shell_completes_commands(cli) -> None:
    done = cli("ke", _CALOTYPE_COMPLETE="complete_bash", COMP_WORDS="calotype ke", COMP_CWORD="1")
    assert "keys" in done.stdout


def test_the_reference_pages_are_those_of_this_program(cli) -> None:
    docs = Path(__file__).parents[2] / "docs"
    for page in ("cli", "configuration"):
        assert cli("reference", page).stdout == (docs / f"{page}.md").read_text(), f"run: make docs ({sys.platform})"
