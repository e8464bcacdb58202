"""A data directory of the first schema, with work under way, goes on with the program of today."""

import json
import sqlite3
from pathlib import Path
from typing import Any

from served import start

EARLY = Path(__file__).parents[1] / "data" / "database_0001.sql"
"""What a server of schema 0001 left when it was killed: three pictures that were charged, and a film under way."""
FILM = "01a1fa70-9233-7184-b8ea-5ff1661e9e1d"


def test_an_early_database_is_brought_up_to_date_and_its_unfinished_job_is_done(data_dir: Path, cli: Any) -> None:
    data_dir.mkdir()
    with sqlite3.connect(data_dir / "calotype.db") as early:
        early.executescript(EARLY.read_text("utf-8"))
    early.close()
    assert cli("db", "current").returncode == 1
    with start(data_dir):
        assert cli("jobs", "watch", FILM).returncode == 0
        jobs = json.loads(cli("jobs", "list", "--json").stdout)
    assert [job["state"] for job in jobs] == ["succeeded"] * 4
    assert jobs[0]["id"] == FILM
    assert cli("db", "current").returncode == 0
    assert json.loads(cli("credits", "show", "--json").stdout)["posted_micro"] == 4_997_000
    assert json.loads(cli("ledger", "verify", "--json").stdout)["ok"] is True
