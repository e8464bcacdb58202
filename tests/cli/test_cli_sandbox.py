"""`calotype sandbox`: emulators as people start them."""

import json
import signal
import ssl
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import httpx2
import pytest
from program import Done, environment

COMMAND = ("sandbox", "--port-base", "0", "--json", "--tls")


def test_it_says_where_it_is_and_what_to_set_and_ends_on_a_signal(data_dir: Path) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "calotype", *COMMAND], stdout=subprocess.PIPE, text=True, env=environment(data_dir)
    )
    assert process.stdout is not None
    text = ""
    while not text.endswith("\n}\n"):
        line = process.stdout.readline()
        assert line, "it ended"
        text += line
    said = json.loads(text)
    fal = said["urls"]["fal"]
    assert said["environment"].items() >= {
        "FAL_KEY": "sandbox:key", "CALOTYPE_PROVIDERS__FAL__BASE_URL": f"{fal}/queue",
        "OPENAI_API_KEY": "sk-sandbox", "OPENAI_BASE_URL": f"{said['urls']['openai']}/v1",
        "SSL_CERT_FILE": said["environment"]["SSL_CERT_FILE"],
    }.items()  # fmt: skip
    trust = ssl.create_default_context(cafile=said["environment"]["SSL_CERT_FILE"])
    with httpx2.Client(verify=trust) as client:
        for name, url in said["urls"].items():
            assert client.get(f"{url}/__control__").json()["name"] == name
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        with pytest.raises(httpx2.TransportError):
            client.get(f"{fal}/__control__")
    assert not Path(said["environment"]["SSL_CERT_FILE"]).exists()


def test_an_unknown_emulator_is_refused_with_those_there_are(cli: Callable[..., Done]) -> None:
    done = cli("sandbox", "--only", "nobody")
    assert done.returncode == 2
    assert "'nobody' is none of " in done.stderr
    assert all(name in done.stderr for name in ("fal", "openai", "openrouter"))
