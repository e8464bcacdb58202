"""Client packages of fal that stand beside the environment: an older one and `fal` of PyPI, and those of npm."""

import fcntl
import functools
import hashlib
import subprocess
import sys
from pathlib import Path

from node import CACHE, CLIENTS, Node, installed

OLD = "fal-client==0.7.0"


@functools.cache
def fal_client_07() -> Path:
    """Install the older client into a folder of its own, unless a run before did; its needs are in the environment."""
    return _placed("fal-client-0.7.0", "--no-deps", OLD)


@functools.cache
def fal_apps() -> Path:
    """Install `fal` with the few of its many needs that its client has, unless a run before did."""
    wanted = CLIENTS / "fal-apps.txt"
    digest = hashlib.sha256(wanted.read_bytes()).hexdigest()[:16]
    return _placed(f"fal-apps-{digest}-{sys.implementation.cache_tag}", "--no-deps", "-r", str(wanted))


def _placed(name: str, *wanted: str) -> Path:
    folder = CACHE / name
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / ".done").exists():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--target", str(folder), *wanted]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr
            (folder / ".done").touch()
    return folder


@functools.cache
def fal_node() -> Node:
    """Return Node with fal's npm packages."""
    return installed("fal-node")
