"""What the command line shows of a PHI job: how it went and what it cost, never what was asked."""

import json
import urllib.request
from pathlib import Path

from served import start

PROMPT = "the lighthouse of patient Zero"


def test_no_command_shows_the_prompt_of_a_phi_job(data_dir: Path, cli) -> None:
    key = json.loads(cli("keys", "create", "--class", "unlimited", "--json").stdout)["key"]
    agreement = {"reference": "tests", "expires": "2099-12-31"}
    with start(data_dir, CALOTYPE_PROVIDERS__LOCAL__PHI=json.dumps(agreement)) as server:
        body = {"model": "local/sketch", "prompt": PROMPT, "size": "256x256", "response_format": "b64_json"}
        headers = {"authorization": f"Bearer {key}", "content-type": "application/json", "x-phi": "true"}
        request = urllib.request.Request(f"{server.url}/v1/images/generations", json.dumps(body).encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as response:
            job_id = response.headers["x-calotype-job-id"]
            assert json.load(response)["data"][0]["b64_json"]
        done = cli("jobs", "show", job_id, "--json")
        shown = json.loads(done.stdout)
        assert (shown["data_class"], shown["state"]) == ("phi", "succeeded")
        assert "input" not in shown
        assert shown["artifacts"] == []
        for text in (done.stdout, cli("jobs", "list", "--json").stdout, cli("jobs", "show", job_id).stdout):
            assert "patient" not in text
        assert "patient" not in server.log.read_text()
