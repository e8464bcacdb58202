"""`calotype sandbox`: emulators as people start them."""

import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import httpx2
import pytest


@contextmanager
def sandbox(*arguments: str) -> Iterator[dict[str, Any]]:
    command = [sys.executable, "-m", "calotype", "sandbox", "--port-base", "0", "--json", *arguments]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    text = ""
    while not text.endswith("\n}\n"):
        text += process.stdout.readline()
    try:
        yield json.loads(text)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0


def test_it_prints_where_it_is_and_what_to_set_and_ends_on_a_signal() -> None:
    with sandbox("--only", "fal") as said:
        url = said["urls"]["fal"]
        assert said["environment"] == {"FAL_KEY": "sandbox:key", "CALOTYPE_PROVIDERS__FAL__BASE_URL": f"{url}/queue"}
        assert httpx2.get(f"{url}/__control__").json()["name"] == "fal"
    with pytest.raises(httpx2.TransportError):
        httpx2.get(f"{url}/__control__")


def test_it_speaks_https_with_a_certificate_of_its_own() -> None:
    with sandbox("--tls") as said:
        trust = ssl.create_default_context(cafile=said["environment"]["SSL_CERT_FILE"])
        assert httpx2.get(f"{said['urls']['fal']}/__control__", verify=trust).status_code == 200


def test_an_unknown_emulator_is_refused_with_those_there_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "calotype", "sandbox", "--only", "nobody"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "'nobody' is none of fal" in done.stderr
