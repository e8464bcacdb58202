"""The same commands over PostgreSQL."""

import contextlib
import json
import urllib.request
import uuid
from collections.abc import Iterator
from pathlib import Path

import psycopg
from served import start


@contextlib.contextmanager
def _database(postgres: str) -> Iterator[str]:
    name = f"cli_{uuid.uuid4().hex[:12]}"
    with psycopg.connect(postgres, autocommit=True) as admin:
        admin.execute(f"CREATE DATABASE {name}")
    try:
        yield postgres.replace("/postgres?", f"/{name}?", 1)
    finally:
        with psycopg.connect(postgres, autocommit=True) as admin:
            admin.execute(f"DROP DATABASE {name} WITH (FORCE)")


def test_every_command_works_over_postgresql(postgres: str, cli, tmp_path: Path) -> None:
    with _database(postgres) as address:
        url = {"CALOTYPE_DATABASE_URL": address}
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


def test_a_request_sent_again_to_another_machine_is_carried_out_once(postgres: str, cli, tmp_path: Path) -> None:
    with _database(postgres) as address, contextlib.ExitStack() as machines:
        shared = {"CALOTYPE_DATABASE_URL": address, "CALOTYPE_SECURITY__SIGNING_SECRET": "s" * 32}
        key = json.loads(cli("keys", "create", "--json", **shared).stdout)["key"]
        body = json.dumps({"model": "local/sketch", "prompt": "a boat", "size": "256x256"}).encode()
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json", "idempotency-key": "once"}
        jobs = set()
        for name in ("here", "there"):
            (tmp_path / name).mkdir()
            server = machines.enter_context(start(tmp_path / name / "data", **shared))
            request = urllib.request.Request(f"{server.url}/v1/images/generations", body, headers)
            with urllib.request.urlopen(request, timeout=60) as response:
                jobs.add(response.headers["x-calotype-job-id"])
        assert len(jobs) == 1
