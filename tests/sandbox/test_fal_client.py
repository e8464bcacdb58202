"""The unmodified `fal-client` of PyPI against the emulator, led there in two of the ways of `wire/fal.md §12`."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tunnel import tunnel_to

from calotype.sandbox.base import Emulator
from calotype.sandbox.certificate import write_certificate
from calotype.sandbox.fal import Fal
from calotype.sandbox.serve import on_a_thread

pytestmark = pytest.mark.client
NAMES = ("localhost", "127.0.0.1", *Fal.hosts)


@pytest.fixture
def tls(tmp_path: Path) -> tuple[str, str]:
    return write_certificate(tmp_path, NAMES)


@pytest.fixture
def fal(tls: tuple[str, str]) -> Iterator[Emulator]:
    with on_a_thread(Fal(), tls=tls) as emulator:
        yield emulator


def seen_by_the_program(environment: dict[str, str], *arguments: str) -> dict[str, Any]:
    kept = {name: value for name, value in os.environ.items() if "proxy" not in name.lower()}
    program = Path(__file__).with_name("fal_program.py")
    done = subprocess.run(
        [sys.executable, program, *arguments], capture_output=True, text=True, timeout=90, check=False,
        env={**kept, "FAL_KEY": "sandbox:key", **environment},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def check(seen: dict[str, Any]) -> None:
    for name in ("run", "subscribe", "result"):
        (image,) = seen[name]["images"]
        assert (image["width"], image["height"], image["content_type"]) == (64, 48, "image/png")
    assert seen["updates"] == ["Queued", "InProgress", "Completed"]
    assert seen["logs"] == ["loading", "step 3/20"]
    assert seen["statuses"] == ["Queued", "InProgress", "Completed"]
    assert seen["canceled"] == ["Completed", "client_cancelled"]
    assert seen["canceled_result"]["status"] == 499
    assert seen["cancel_again"]["status"] == 400
    assert seen["stream"]["note"] == "à mi-chemin"
    assert seen["nested"] == "x"
    assert seen["moderated"]["status"] == 422
    assert "content_policy_violation" in str(seen["moderated"]["message"])
    assert seen["missing"]["status"] == 422
    assert (seen["platform"]["status"], seen["platform"]["type"]) == (503, "runner_disconnected")


def test_host_variables_alone_lead_the_client_here(fal: Emulator, tls: tuple[str, str]) -> None:
    here = fal.url.removeprefix("https://")
    check(
        seen_by_the_program(
            {"FAL_RUN_HOST": f"{here}/run", "FAL_QUEUE_RUN_HOST": f"{here}/queue", "SSL_CERT_FILE": tls[0]}
        )
    )
    low = next(submit for submit in fal.submits if submit.headers.get("x-fal-queue-priority") == "low")
    assert low.headers["x-fal-request-timeout"] == "30.0"
    assert {submit.headers["authorization"] for submit in fal.submits} == {"Key sandbox:key"}


def test_behind_a_proxy_the_client_needs_no_change_and_can_upload(
    fal: Emulator, tls: tuple[str, str], tmp_path: Path
) -> None:
    assert isinstance(fal, Fal)
    with tunnel_to(int(fal.url.rpartition(":")[2])) as (proxy, hosts):
        seen = seen_by_the_program({"HTTPS_PROXY": proxy, "SSL_CERT_FILE": tls[0]}, "upload", str(tmp_path))
    check(seen)
    assert {"queue.fal.run:443", "fal.run:443", "rest.fal.ai:443", "v3.fal.media:443"} <= hosts
    small, big = (
        fal.storage.files[seen[name].removeprefix("https://v3.fal.media/")] for name in ("uploaded", "multipart")
    )
    assert (small.body, small.content_type) == (b"small file", "text/plain")
    assert len(big.body) == 101 * 1024 * 1024
