"""`calotype ca` and `calotype serve --fal-proxy-port`: a program written for fal needs two variables and no change."""

import json
import os
import re
import stat
import subprocess
import sys
from pathlib import Path

from served import start

PROGRAM = """
import fal_client, json
seen = fal_client.subscribe("local/sketch", arguments={"prompt": "a hill", "image_size": "square"})
print(json.dumps({"url": seen["images"][0]["url"], "uploaded": fal_client.upload(b"x" * 100, "text/plain")}))
"""


def test_the_authority_is_made_once_and_its_bundle_holds_the_public_roots_too(cli, data_dir: Path) -> None:
    refused = cli("ca", "bundle")
    assert refused.returncode == 1 and "calotype ca init" in refused.stderr and not refused.stdout
    first = json.loads(cli("ca", "init", "--json").stdout)
    again = json.loads(cli("ca", "init", "--json").stdout)
    assert (first["made"], again["made"]) == (True, False)
    assert stat.S_IMODE((data_dir / "ca" / "ca.key").stat().st_mode) == 0o600
    authority = Path(first["certificate"]).read_text()
    bundle = cli("ca", "bundle").stdout
    assert bundle == Path(first["bundle"]).read_text() and bundle.endswith(authority)
    other = data_dir.parent / "other.pem"
    assert cli("ca", "bundle", "-o", str(other)).stdout == "" and other.read_text() == bundle
    assert "HTTPS_PROXY" in cli("ca", "init").stderr


def test_a_program_written_for_fal_runs_unchanged_behind_the_proxy(cli, data_dir: Path) -> None:
    made = json.loads(cli("ca", "init", "--json").stdout)
    key = json.loads(cli("keys", "create", "--class", "unlimited", "--json").stdout)["key"]
    with start(data_dir, "--fal-proxy-port", "0") as server:
        proxy = re.search(r"HTTPS_PROXY=(\S+)", _until(server.log, "HTTPS_PROXY="))[1]
        kept = {k: v for k, v in os.environ.items() if "proxy" not in k.lower() and not k.startswith("FAL_")}
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False,
            env=kept | {"FAL_KEY": key, "HTTPS_PROXY": proxy, "SSL_CERT_FILE": made["bundle"]},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        assert server.stop() == 0
    seen = json.loads(done.stdout)
    assert seen["url"].startswith("https://v3.fal.media/v1/media/")
    assert seen["uploaded"].startswith("https://v3.fal.media/files/")


def _until(log: Path, word: str) -> str:
    """Follow the server's log until a word is in it."""
    with subprocess.Popen(["tail", "-n", "+1", "-F", log], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as tail:
        assert tail.stdout is not None
        text = ""
        for line in tail.stdout:
            text += line.decode()
            if word in text:
                tail.kill()
                break
    return text
