"""The calls of the published description with plain curl, and the example of our own page."""

import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from jobs_kit import FOREVER, Emulated, JobsUser

from calotype.kernel.ids import JobId
from calotype.sandbox import media

pytestmark = [pytest.mark.client, pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not here")]
PAGE = Path(__file__).parents[2] / "docs" / "jobs.md"
JSON = ("-H", "Content-Type: application/json")


def curl(user: JobsUser, path: str, *options: str) -> tuple[int, str]:
    """Return the status and the body of a call."""
    command = ["curl", "-sS", "-w", "\n%{http_code}", "-H", f"Authorization: Bearer {user.key}", *options]
    done = subprocess.run(
        [*command, f"{user.house.url}/api/v1{path}"], capture_output=True, text=True, check=True, timeout=60
    )
    body, _, status = done.stdout.rpartition("\n")
    return int(status), body


def said(user: JobsUser, path: str, *options: str) -> Any:
    status, body = curl(user, path, *options)
    assert status == 200, body
    return json.loads(body)


def test_create_look_and_fetch(user: JobsUser, tmp_path: Path) -> None:
    ident = said(user, "/text-to-image/generate", *JSON, "-d", '{"prompt": "a cat"}')["job_id"]
    user.house.ask(user.house.app.engine.wait(JobId(ident), 30))
    done = said(user, f"/text-to-image/status/{ident}")
    assert done["status"] == "COMPLETED"
    subprocess.run(["curl", "-sSf", "-o", str(tmp_path / "a.png"), done["image_url"]], check=True, timeout=60)
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")


def test_cancel_answers_in_two_words(user: JobsUser, upstreams: Emulated) -> None:
    body = json.dumps({"prompt": f"waves {FOREVER}", "model": "veo3_fast", "seeds": 12345, "enable_translation": True})
    ident = said(user, "/veo31-video/create", *JSON, "-d", body)["job_id"]
    user.begun(ident)
    answer = said(user, f"/veo31-video/cancel/{ident}", "-X", "POST")
    assert set(answer) == {"success", "message"} and answer["success"] is False
    upstreams.finish()


def test_credits_and_their_history(user: JobsUser) -> None:
    assert said(user, "/user/credits")["credits_balance_formatted"] == "1000.00 เครดิต"
    assert said(user, "/user/credits/history?limit=20")["transactions"][0]["type"] == "topup"
    assert said(user, "/user/credits/invalidate-cache", "-X", "POST")["success"] is True


def test_the_chat_flat_and_streamed(user: JobsUser) -> None:
    body = json.dumps({"messages": [{"role": "user", "content": "Hello there"}]})
    answer = said(user, "/phaya-gpt/chat/completions", *JSON, "-d", body)
    assert (answer["success"], answer["model"]) == (True, "Phaya-GPT")
    streamed = json.dumps({"messages": [{"role": "user", "content": "Hello there"}], "stream": True})
    status, text = curl(user, "/phaya-gpt/chat/completions", "-N", *JSON, "-d", streamed)
    lines = [line.removeprefix("data: ") for line in text.splitlines() if line.startswith("data: ")]
    assert status == 200 and lines[-1] == "[DONE]"
    words = [json.loads(line)["choices"][0]["delta"].get("content", "") for line in lines[:-1]]
    assert "".join(words) == answer["message"]["content"]


def test_upload_is_a_form(user: JobsUser, tmp_path: Path) -> None:
    (tmp_path / "film.mp4").write_bytes(media.mp4(1.0, name="curl"))
    url = said(user, "/media/upload", "-F", f"file=@{tmp_path / 'film.mp4'}")["url"]
    subprocess.run(["curl", "-sSf", "-o", str(tmp_path / "again.mp4"), url], check=True, timeout=60)
    assert (tmp_path / "again.mp4").read_bytes() == (tmp_path / "film.mp4").read_bytes()


def test_a_refusal_is_a_detail(user: JobsUser) -> None:
    assert curl(user, "/text-to-image/generate", *JSON, "-d", "{}")[0] == 422
    status, body = curl(user, "/text-to-image/status/nothing")
    assert (status, list(json.loads(body))) == (404, ["detail"])


def test_the_example_of_the_page_works(user: JobsUser) -> None:
    (block,) = re.findall(r"```bash\n(.*?)```", PAGE.read_text(), re.DOTALL)
    script = re.sub(r"(?m)^KEY=\S+", f"KEY={user.key}", block)
    script = re.sub(r"(?m)^API=\S+", f"API={user.house.url}/api/v1", script)
    first, second = re.split(r"(?m)^# \{.*\n", script)[:2]
    made = subprocess.run(["bash", "-ec", first], capture_output=True, text=True, check=True, timeout=60)
    ident = json.loads(made.stdout)["job_id"]
    user.house.ask(user.house.app.engine.wait(JobId(ident), 30))
    names = "".join(line + "\n" for line in first.splitlines() if re.match(r"(KEY|API)=", line))
    shown = subprocess.run(
        ["bash", "-ec", names + second.replace("019a9c1e-…", ident)], capture_output=True, text=True, check=True,
        timeout=60,
    )  # fmt: skip
    assert set(json.loads(shown.stdout)) == {"job_id", "status", "error", "image_url"}
