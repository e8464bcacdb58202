"""What stops a command is one sentence that names the file, the variable or the folder to blame."""

import fcntl
import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from program import environment
from served import start


@pytest.mark.parametrize(
    ("written", "said"),
    [
        ('port = "abc', "calotype.toml is not TOML: Unterminated string"),
        ("prot = 8123", "There is no setting prot (did you mean port?)"),
        ('[media]\nrehsot = "off"', "There is no setting media.rehsot (did you mean media.rehost?)"),
        ('[providers.mine]\napi_kee = "x"', "There is no setting providers.mine.api_kee (did you mean providers.mine"),
        ("[banana]\nx = 1", "There is no setting banana"),
        ('storage_url = "ftp://x"', "Setting storage_url: use s3://bucket/prefix"),
    ],
)
def test_a_file_of_settings_that_is_wrong_is_named_with_what_was_meant(
    data_dir: Path, cli, written: str, said: str
) -> None:
    (data_dir.parent / "calotype.toml").write_text(written)
    done = cli("keys", "list", CALOTYPE_CONFIG="")
    assert done.returncode == 1
    assert done.stderr.startswith(f"calotype: {said}"), done.stderr


def test_a_file_of_settings_that_is_asked_for_and_missing_is_not_passed_over(cli, tmp_path: Path) -> None:
    done = cli("keys", "list", CALOTYPE_CONFIG=str(tmp_path / "none.toml"))
    assert (done.returncode, done.stderr) == (
        1, f"calotype: CALOTYPE_CONFIG names {tmp_path}/none.toml, and there is no such file\n",
    )  # fmt: skip


def test_a_variable_that_holds_no_json_is_named(cli) -> None:
    done = cli("keys", "list", CALOTYPE_PRICES="free")
    assert (done.returncode, done.stderr) == (
        1, "calotype: The settings cannot be read: CALOTYPE_PRICES is not JSON.\n",
    )  # fmt: skip


def test_a_file_that_could_not_be_saved_is_refused_before_it_is_made(data_dir: Path, cli, tmp_path: Path) -> None:
    done = cli("generate", "a boat", "-o", str(tmp_path / "nowhere" / "boat.png"))
    assert (done.returncode, done.stderr) == (1, f"calotype: There is no folder {tmp_path}/nowhere.\n")
    assert not data_dir.exists()


def test_a_second_server_on_the_same_port_hears_that_the_directory_is_served(data_dir: Path, cli) -> None:
    with start(data_dir) as server:
        port = json.loads((data_dir / "engine.json").read_text())["url"].rsplit(":", 1)[1]
        done = cli("serve", "--port", port)
        assert server.process.poll() is None
    assert done.returncode == 1
    assert "Another process already serves the data directory" in done.stderr
    assert "taken" not in done.stderr


def test_a_server_started_for_one_request_ends_when_its_command_is_killed(data_dir: Path) -> None:
    command = [sys.executable, "-m", "calotype", "generate", "waves", "--operation", "video", "--seconds", "20"]
    with subprocess.Popen(command, env=environment(data_dir), cwd=data_dir.parent, stderr=subprocess.DEVNULL) as asked:
        until = time.monotonic() + 60
        while not (data_dir / "engine.json").exists():
            assert asked.poll() is None
            assert time.monotonic() < until
            time.sleep(0.05)
        asked.kill()
    lock = (data_dir / "engine.lock").open("rb")
    ended = threading.Thread(target=fcntl.flock, args=(lock, fcntl.LOCK_EX), daemon=True)
    ended.start()
    ended.join(60)
    assert not ended.is_alive()


def test_ctrl_c_while_the_program_loads_shows_no_traceback(tmp_path: Path) -> None:
    loading = (
        "import os, signal, sys, types\n"
        "class Slow(types.ModuleType):\n"
        "    def __getattr__(self, name):\n"
        "        os.kill(os.getpid(), signal.SIGINT)\n"
        "sys.modules['calotype.cli'] = Slow('calotype.cli')\n"
        "from calotype.__main__ import main\n"
        "main()\n"
    )
    done = subprocess.run([sys.executable, "-c", loading], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert (done.returncode, done.stderr) == (-signal.SIGINT, "")
