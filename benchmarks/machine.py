"""The machine a run was made on, and how fast its disk is told to keep something."""

import os
import platform
import re
import shutil
import statistics
import subprocess
import sys
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("calotype", "uvicorn", "uvloop", "httptools", "aiohttp", "msgspec", "sqlalchemy", "psycopg")
SYNC_S = 1.5


def machine() -> dict[str, str]:
    """Return the facts somebody needs to compare figures."""
    cpu = re.search(r"^model name\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.MULTILINE)
    memory = re.search(r"^MemTotal:\s+(\d+)", Path("/proc/meminfo").read_text(), re.MULTILINE)
    return {
        "CPU": f"{cpu[1] if cpu else platform.machine()}, {os.cpu_count()} cores seen",
        "memory": f"{int(memory[1]) / 1024**2:.0f} GiB" if memory else "unknown",
        "system": f"Linux {platform.release().partition('-')[0]}",
        "Python": platform.python_version(),
        "nginx": _said(["nginx", "-v"]),
        "packages": ", ".join(f"{name} {_version(name)}" for name in PACKAGES),
    }


def peer_versions(peers: Path) -> dict[str, str]:
    """Return the versions of the gateways that are installed."""
    found = {}
    if (python := peers / "litellm" / "bin" / "python").exists():
        code = "from importlib.metadata import version; print(version('litellm'))"
        found["LiteLLM"] = _said([str(python), "-c", code])
    package = peers / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "package.json"
    if package.exists() and (match := re.search(r'"version":\s*"([^"]+)"', package.read_text())):
        node = shutil.which("node") or str(Path(sys.executable).parent / "node")
        found["Portkey"] = f"{match[1]} on Node {_said([node, '--version'])}"
    return found


def sync_rate(folder: Path) -> dict[str, float]:
    """Append 4 KiB and fdatasync, again and again; return how many a second and the times."""
    path = folder / "sync"
    times: list[float] = []
    file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
    try:
        end = time.monotonic() + SYNC_S
        while time.monotonic() < end:
            os.write(file, b"\0" * 4096)
            began = time.perf_counter()
            os.fdatasync(file)
            times.append((time.perf_counter() - began) * 1e3)
    finally:
        os.close(file)
        path.unlink()
    times.sort()
    return {
        "per_s": round(len(times) / SYNC_S),
        "p50_ms": round(statistics.median(times), 3),
        "p99_ms": round(times[int(len(times) * 0.99)], 3),
    }


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "?"


def _said(command: list[str]) -> str:
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except OSError:
        return "?"
    return (answer.stdout or answer.stderr).strip().removeprefix("nginx version: ")
