"""Client packages of fal that stand beside the environment: an older one of PyPI, and those of npm."""

import fcntl
import functools
import subprocess
import sys
from pathlib import Path

from node import CACHE, Node, installed

OLD = "fal-client==0.7.0"


@functools.cache
def fal_client_07() -> Path:
    """Install the older client into a folder of its own, unless a run before did; its needs are in the environment."""
    folder = CACHE / "fal-client-0.7.0"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / ".done").exists():
            command = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--target", str(folder), OLD]
            done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
            assert done.returncode == 0, done.stderr
            (folder / ".done").touch()
    return folder


@functools.cache
def fal_node() -> Node:
    """Return Node with fal's npm packages."""
    return installed("fal-node")
