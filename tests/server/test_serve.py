"""What only the real command shows: the headers of the server it starts."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import httpx2


def test_the_command_s_server_does_not_say_what_it_is_made_of(tmp_path: Path) -> None:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("CALOTYPE_", "OPENAI_"))}
    process = subprocess.Popen(
        [sys.executable, "-m", "calotype", "serve", "--port", "0"], stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL, env={**clean, "CALOTYPE_DATA_DIR": str(tmp_path / "data")}, cwd=tmp_path,
    )  # fmt: skip
    try:
        note = tmp_path / "data" / "engine.json"
        end = time.monotonic() + 30
        while not note.exists():
            assert process.poll() is None and time.monotonic() < end
            time.sleep(0.02)
        with httpx2.Client(base_url=json.loads(note.read_text())["url"]) as http:
            for path in ("/healthz", "/docs", "/v1/models", "/v1/nothing", "/v1/media/x/y"):
                answer = http.get(path)
                assert "server" not in answer.headers and "x-powered-by" not in answer.headers
                assert "uvicorn" not in answer.text and "starlette" not in answer.text
                assert answer.headers["x-request-id"]
    finally:
        process.terminate()
        assert process.wait(30) == 0
