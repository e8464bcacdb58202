"""Commands beside a running server: what they write it sees, and the other way round."""

import json
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from program import environment
from served import Running


def _balance(beside) -> int:
    return json.loads(beside("credits", "show", "--json").stdout)["available_micro"]


def _status(url: str, key: str) -> int:
    request = urllib.request.Request(f"{url}/v1/models", headers={"authorization": f"Bearer {key}"})
    try:
        with urllib.request.urlopen(request, timeout=10) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def test_generate_saves_a_picture_and_charges_once(running: Running, beside, tmp_path: Path) -> None:
    before = _balance(beside)
    done = beside("generate", "a red fox", "--key", running.key, "-o", "fox.png", "--json", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    made = json.loads(done.stdout)
    assert (tmp_path / "fox.png").read_bytes().startswith(b"\x89PNG")
    assert made["files"] == ["fox.png"]
    assert made["label"] == "procedural illustration, not an AI model"
    assert made["price_micro"] == 1000
    assert _balance(beside) == before - 1000
    movements = json.loads(beside("credits", "history", "--json").stdout)
    assert [one["amount_micro"] for one in movements if one["job_id"] == made["job_id"]] == [-1000]

    job = json.loads(beside("jobs", "show", made["job_id"], "--json").stdout)
    assert job["state"] == "succeeded"
    assert job["charged_micro"] == 1000
    assert job["hold"]["state"] == "captured"
    assert job["hold"]["captured_micro"] == 1000
    assert [one["state"] for one in job["submissions"]] == ["done"]
    assert job["artifacts"][0]["content_type"] == "image/png"
    assert Path(job["artifacts"][0]["file"]).read_bytes() == (tmp_path / "fox.png").read_bytes()
    with urllib.request.urlopen(job["artifacts"][0]["url"], timeout=10) as response:
        assert response.read() == (tmp_path / "fox.png").read_bytes()
    assert job["input"]["prompt"] == "a red fox"
    verdict = json.loads(beside("ledger", "verify", "--json").stdout)
    assert verdict["ok"] is True
    assert verdict["open_holds"] == 0


def test_generate_uses_a_local_key_that_only_its_owner_can_read(running: Running, beside, tmp_path: Path) -> None:
    before = _balance(beside)
    for _ in range(2):
        done = beside("generate", "two boats", "-o", "boats.png", cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        assert "not charged" in done.stdout
    path = running.data_dir / "cli-key"
    assert path.stat().st_mode & 0o777 == 0o600
    names = [one["name"] for one in json.loads(beside("keys", "list", "--json").stdout)]
    assert names.count("local command line") == 1
    assert path.read_text().strip() not in beside("keys", "list").stdout
    assert _balance(beside) == before

    path.write_text("ct_live_0123456789abcdef_" + "0" * 48)
    done = beside("generate", "two boats", "-o", "boats.png", cwd=tmp_path)
    assert done.returncode == 0, done.stderr


def test_the_local_key_is_never_sent_to_a_named_server(running: Running, beside) -> None:
    done = beside("generate", "a boat", "--url", running.url)
    assert done.returncode == 1
    assert "--key" in done.stderr


def test_generate_makes_a_video(running: Running, beside, tmp_path: Path) -> None:
    done = beside(
        "generate", "waves", "--model", "local/sketch-video", "--seconds", "1", "--size", "256x256",
        "-o", "waves.mp4", "--json", cwd=tmp_path, CALOTYPE_API_KEY=running.key,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "waves.mp4").read_bytes()[4:8] == b"ftyp"
    assert json.loads(done.stdout)["price_micro"] == 1000


def test_a_refusal_is_one_sentence_that_names_the_field(running: Running, beside, tmp_path: Path) -> None:
    done = beside("generate", "a boat", "--model", "local/sketch", "--size", "1x1", cwd=tmp_path)
    assert done.returncode == 1
    assert done.stdout == ""
    assert "(field: size)" in done.stderr
    assert "Traceback" not in done.stderr
    done = beside("generate", "a boat", "--model", "local/skech", cwd=tmp_path)
    assert "local/sketch" in done.stderr
    assert list(tmp_path.glob("*.png")) == []


def test_a_key_made_beside_the_server_works_until_it_is_revoked(running: Running, beside) -> None:
    made = json.loads(beside("keys", "create", "--class", "test", "--json").stdout)
    assert made["key"].startswith("ct_test_")
    assert _status(running.url, made["key"]) == 200
    assert beside("keys", "revoke", made["id"]).returncode == 0
    until = time.monotonic() + 5
    while _status(running.url, made["key"]) == 200:
        assert time.monotonic() < until
    assert _status(running.url, made["key"]) == 401


def test_a_locked_organisation_starts_nothing(running: Running, beside, tmp_path: Path) -> None:
    assert beside("orgs", "create", "acme").returncode == 0
    key = json.loads(beside("keys", "create", "--org", "acme", "--class", "unlimited", "--json").stdout)["key"]
    assert json.loads(beside("orgs", "lock", "acme", "--json").stdout)["status"] == "locked"
    until = time.monotonic() + 5
    while (done := beside("generate", "a boat", "--key", key, cwd=tmp_path)).returncode == 0:
        assert time.monotonic() < until
    assert "locked" in done.stderr
    assert json.loads(beside("orgs", "unlock", "acme", "--json").stdout)["status"] == "active"


def test_a_job_is_watched_and_cancelled_beside_the_server(running: Running, beside) -> None:
    made = [_create_video(running, seconds) for seconds in (20, 20)]
    watching = subprocess.Popen(
        [sys.executable, "-m", "calotype", "jobs", "watch", made[0], "--json"],
        env=environment(running.data_dir), stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    for job_id in reversed(made):
        done = beside("jobs", "cancel", job_id, "--json")
        assert done.returncode == 0, done.stderr
        shown = json.loads(done.stdout)
        assert shown["result"] == "canceled", shown
        assert shown["hold"]["state"] == "voided"
        assert not shown["charged_micro"]
    out, _ = watching.communicate(timeout=30)
    assert watching.returncode == 1
    assert json.loads(out)["state"] == "canceled"
    again = beside("jobs", "cancel", made[0], "--json")
    assert json.loads(again.stdout)["result"] == "ended"


def _create_video(running: Running, seconds: int) -> str:
    body = {"model": "local/sketch-video", "prompt": "a lighthouse in a storm", "seconds": seconds, "size": "1920x1080"}
    headers = {"authorization": f"Bearer {running.key}", "content-type": "application/json"}
    request = urllib.request.Request(f"{running.url}/v1/videos/generations", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=10) as response:
        return json.load(response)["id"]
