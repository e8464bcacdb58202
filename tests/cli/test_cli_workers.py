"""`calotype workers`, alone and beside a running server."""

import json
import re
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import start

from calotype.sandbox.comfyui import ComfyUI
from calotype.sandbox.serve import on_a_thread

TOKEN = "the-secret-of-a-worker-7f3a"
CARD = """
id = "w/card"
title = "Test card"
operation = "text-to-image"
output = "image"
price = { unit = "image", micro = 10_000 }
[input]
required = ["prompt"]
properties = { prompt = { type = "string" } }
[example]
prompt = "x"
[[routes]]
provider = "comfyui"
upstream = "test-card@1"
key_classes = ["paid", "test", "unlimited"]
"""


@pytest.fixture(scope="module")
def worker() -> Iterator[ComfyUI]:
    emulator = ComfyUI("one", token=TOKEN)
    with on_a_thread(emulator):
        yield emulator


def added(cli: Any, worker: ComfyUI, *options: str, **variables: str) -> dict[str, Any]:
    done = cli("workers", "add", "gpu-1", worker.url, "--auth-env", "GPU_TOKEN", "--json", *options, **variables)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_a_worker_is_listed_as_it_is_and_its_secret_is_nowhere(cli: Any, worker: ComfyUI, data_dir: Path) -> None:
    made = added(cli, worker, "--label", "fast", "--note", "under the desk")
    assert made["auth"] == {"mode": "bearer", "from": "env"}
    (seen,) = json.loads(cli("workers", "list", "--json", GPU_TOKEN=TOKEN).stdout)
    assert (seen["name"], seen["state"], seen["health"], seen["jobs"]) == ("gpu-1", "active", "healthy", 0)
    assert (seen["version"], seen["labels"], seen["max_jobs"]) == ("0.3.75", ["fast"], 2)
    (unset,) = json.loads(cli("workers", "list", "--json").stdout)
    assert unset["health"] == "unreachable" and "GPU_TOKEN" in unset["error"]
    (wrong,) = json.loads(cli("workers", "list", "--json", GPU_TOKEN="other").stdout)
    assert wrong["health"] == "degraded" and "401" in wrong["error"]
    rows = cli("workers", "list", GPU_TOKEN=TOKEN).stdout.splitlines()
    assert rows[1].split("\t")[:5] == ["gpu-1", "comfyui", worker.url, "healthy", "0/2"]
    for path in data_dir.rglob("*"):
        assert not path.is_file() or TOKEN.encode() not in path.read_bytes(), path


def test_a_secret_in_a_file_is_read_from_there(cli: Any, worker: ComfyUI, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN + "\n")
    done = cli("workers", "add", "gpu-1", worker.url, "--auth-file", str(tmp_path / "token"))
    assert done.returncode == 0, done.stderr
    assert json.loads(cli("workers", "list", "--json").stdout)[0]["health"] == "healthy"


def test_a_test_draws_a_card_and_says_what_each_template_lacks(cli: Any, worker: ComfyUI) -> None:
    added(cli, worker)
    done = cli("workers", "test", "gpu-1", "--json", GPU_TOKEN=TOKEN)
    assert done.returncode == 0, done.stderr
    told = json.loads(done.stdout)
    assert told["ok"] and told["bytes"] > 100
    assert set(told["seconds"]) == {"probe", "inspect", "submit", "run", "fetch"}
    assert told["templates"]["flux-krea-dev@1"] == []
    assert not worker.life.history
    people = cli("workers", "test", "gpu-1", GPU_TOKEN=TOKEN).stdout
    assert re.search(r"run +[\d,]+ ms", people) and "test-card@1\tok" in people


def test_a_test_of_a_worker_that_is_away_fails_with_a_sentence(cli: Any) -> None:
    cli("workers", "add", "gone", "http://127.0.0.1:9")
    done = cli("workers", "test", "gone")
    assert done.returncode == 1
    assert "calotype: gone:" in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("x", "ftp://there"), "http://host:port"),
        (("x", "http://user:secret@there"), "Secrets do not belong in the URL"),
        (("x y", "http://there"), "A name has letters"),
        (("x", "http://there", "--provider", "elsewhere"), "no provider instance"),
        (("x", "http://there", "--auth-env", "A", "--auth-file", "B"), "use one of"),
        (("x", "http://there", "--header", "X-Key"), "--header goes with"),
        (("x", "http://there", "--min-jobs", "3"), "min_jobs"),
    ],
)
def test_what_cannot_be_is_refused_with_a_sentence(cli: Any, arguments: tuple[str, ...], sentence: str) -> None:
    done = cli("workers", "add", *arguments)
    assert done.returncode != 0
    assert sentence in " ".join(done.stderr.replace("│", " ").split())


def test_a_model_runs_here_once_a_worker_was_added_for_it(cli: Any, worker: ComfyUI, tmp_path: Path) -> None:
    (tmp_path / "cards").mkdir()
    (tmp_path / "cards" / "card.toml").write_text(CARD)
    cards = {"CALOTYPE_CARDS_DIR": str(tmp_path / "cards")}

    def available() -> bool:
        return bool(json.loads(cli("models", "show", "w/card", "--json", **cards).stdout)["available"])

    assert not available()
    added(cli, worker)
    assert available()


def test_a_name_is_taken_once(cli: Any) -> None:
    assert cli("workers", "add", "x", "http://there").returncode == 0
    again = cli("workers", "add", "x", "http://there")
    assert again.returncode == 1 and "already" in again.stderr


def test_doctor_tells_of_workers(cli: Any, worker: ComfyUI) -> None:
    added(cli, worker)
    checks = json.loads(cli("doctor", "--json", GPU_TOKEN=TOKEN).stdout)["checks"]
    (found,) = [one for one in checks if one["name"] == "worker gpu-1"]
    assert found["ok"] and "healthy" in found["found"]


def test_a_running_server_sees_a_worker_come_drain_and_go(
    cli: Any, data_dir: Path, worker: ComfyUI, tmp_path: Path
) -> None:
    cards = tmp_path / "cards"
    cards.mkdir()
    (cards / "card.toml").write_text(CARD)
    key = json.loads(cli("keys", "create", "--name", "tests", "--json").stdout)["key"]
    cli("credits", "grant", "1")
    with start(data_dir, CALOTYPE_CARDS_DIR=str(cards), GPU_TOKEN=TOKEN) as server:

        def draw() -> int:
            body = json.dumps({"model": "w/card", "prompt": "x"}).encode()
            headers = {"authorization": f"Bearer {key}", "content-type": "application/json"}
            request = urllib.request.Request(f"{server.url}/v1/images/generations", body, headers)
            try:
                with urllib.request.urlopen(request, timeout=60) as response:
                    return response.status
            except urllib.error.HTTPError as error:
                return error.code

        def becomes(status: int) -> None:
            end = time.monotonic() + 5
            while (found := draw()) != status:
                assert time.monotonic() < end, found
                time.sleep(0.1)

        assert draw() == 404
        added(cli, worker)
        becomes(200)
        assert json.loads(cli("workers", "drain", "gpu-1", "--json").stdout)["state"] == "draining"
        (seen,) = json.loads(cli("workers", "list", "--json", GPU_TOKEN=TOKEN).stdout)
        assert (seen["state"], seen["loaded"]) == ("draining", "none")
        cli("workers", "undrain", "gpu-1")
        becomes(200)
        assert cli("workers", "remove", "gpu-1").returncode == 0
        becomes(404)
        assert TOKEN not in server.log.read_text()
