"""The same commands over PostgreSQL."""

import json
import uuid
from pathlib import Path

import psycopg


def test_every_command_works_over_postgresql(postgres: str, cli, tmp_path: Path) -> None:
    name = f"cli_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    url = {"CALOTYPE_DATABASE_URL": postgres.replace("/postgres?", f"/{name}?", 1)}
    try:
        assert cli("db", "current", **url).returncode == 1
        key = json.loads(cli("keys", "create", "--json", **url).stdout)["key"]
        assert cli("credits", "grant", "1", **url).returncode == 0
        done = cli(
            "generate", "a boat", "--size", "256x256", "-o", "boat.png", "--key", key, "--json", cwd=tmp_path, **url
        )
        assert done.returncode == 0, done.stderr
        made = json.loads(done.stdout)
        listed = cli("jobs", "list", "--json", **url)
        assert [job["id"] for job in json.loads(listed.stdout)] == [made["job_id"]], listed.stderr
        assert [one["id"] for one in json.loads(cli("jobs", "list", "--org", "default", "--json", **url).stdout)]
        assert json.loads(cli("jobs", "watch", made["job_id"], "--json", **url).stdout)["state"] == "succeeded"
        assert json.loads(cli("ledger", "verify", "--json", **url).stdout)["ok"] is True
        assert json.loads(cli("doctor", "--json", **url).stdout)["ok"] is True
    finally:
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")
