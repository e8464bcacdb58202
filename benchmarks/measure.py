"""Take one sample: load a target for some seconds, count what its processes used, and who else was at work."""

import itertools
import json
import os
import re
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import asdict, dataclass

from benchmarks.processes import (
    LOAD_CORE,
    cpu_s,
    machine_cpu_s,
    own_children_cpu_s,
    pss_mib,
    quiet,
    rss_mib,
    tree,
)
from benchmarks.scenes import Request, Scene
from benchmarks.targets import Target
from benchmarks.upstream import CONF

WARM_S = 1
LATE_S = 15.0
"""How long work that a target puts off until after the load is waited for, and counted."""
_numbers = itertools.count(1)


@dataclass(frozen=True)
class Sample:
    """What one sample found. `others` is how many cores somebody else used meanwhile."""

    rps: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    cpu_us: float
    cores: float
    pss_mib: float
    rss_mib: float
    bad: int
    others: float

    def as_dict(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


class LoadFailed(RuntimeError):  # noqa: N818  (names the situation)
    """The load generator gave no result, or the answer is not what the scene is about."""


def ask(port: int, request: Request, timeout_s: float = 30.0) -> tuple[int, bytes]:
    """Send one request and return status and body."""
    headers = {**({"Content-Type": "application/json"} if request.body else {}), **request.headers}
    body = request.body.replace("@N@", f"{next(_numbers) * 10**7:012d}").encode() or None
    asked = urllib.request.Request(f"http://127.0.0.1:{port}{request.first_path}", body, headers, method=request.method)
    try:
        with urllib.request.urlopen(asked, timeout=timeout_s) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()


def check(target: Target, scene: Scene) -> None:
    """Look at one answer before anything is measured.

    Raises:
        LoadFailed: it is not what the scene is about.

    """
    status, body = ask(target.port, target.requests[scene.kind])
    wanted = {"big": b'"b64_json"', "big_url": b'"url"', "store": b'"url"', "image": b'"url"', "slow": b'"url"'}
    if (
        status not in (200, 202)
        or wanted.get(scene.kind, b"") not in body
        or (scene.kind == "big" and len(body) < 1_000_000)
    ):
        raise LoadFailed(f"{target.name} answers {scene.name} with {status}: {body[:300]!r}")


def sample(target: Target, scene: Scene, upstream_pid: int, seconds: float, *, patience_s: float = 0.0) -> Sample:
    """Load a target and return the figures.

    Raises:
        LoadFailed: the load generator gave no result.

    """
    pids = tree(*target.pids)
    mock = [] if upstream_pid in target.pids else tree(upstream_pid)
    target.forget_media()
    quiet(patience_s)
    gateway, upstream, load, everything = cpu_s(pids), cpu_s(mock), own_children_cpu_s(), machine_cpu_s()
    found, (pss, rss) = _load(target, scene, seconds, pids)
    took_s = found["seconds"]
    used = cpu_s(pids) - gateway
    known = used + cpu_s(mock) - upstream + own_children_cpu_s() - load
    others = max(0.0, machine_cpu_s() - everything - known) / took_s
    late = _let_finish(pids) - gateway
    return Sample(
        rps=round(found["requests"] / took_s, 1),
        p50_ms=found["p50_us"] / 1e3, p90_ms=found["p90_us"] / 1e3, p99_ms=found["p99_us"] / 1e3,
        cpu_us=round(late / max(1, found["requests"]) * 1e6, 1), cores=round(used / took_s, 3),
        pss_mib=pss, rss_mib=rss, bad=int(found["non2xx"] + found["socket_errors"]), others=round(others, 2),
    )  # fmt: skip


def _load(
    target: Target, scene: Scene, seconds: float, pids: list[int]
) -> tuple[dict[str, float], tuple[float, float]]:
    request = target.requests[scene.kind]
    env = {
        **os.environ,
        "BENCH_METHOD": request.method,
        "BENCH_BODY": request.body,
        "BENCH_HEADERS": "\n".join(f"{name}: {value}" for name, value in request.headers.items()),
        "BENCH_FIRST": str(next(_numbers) * 10**7),
        **({"BENCH_PATH": request.path, "BENCH_IDS": "\n".join(request.ids)} if request.ids else {}),
    }
    lasts_s = round(seconds + 3 * scene.held_s)
    command = [
        "taskset", "-c", str(LOAD_CORE), "wrk", "-t1", f"-c{scene.connections}", f"-d{lasts_s}s", "--timeout", "30s",
        "-s", str(CONF / "post.lua"), f"http://127.0.0.1:{target.port}{request.first_path}",
    ]  # fmt: skip
    memory: tuple[float, float] | None = None
    with subprocess.Popen(command, env=env, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as wrk:
        try:
            if scene.held_s:
                time.sleep(lasts_s * 0.7)
                memory = pss_mib(pids), rss_mib(pids)
            text, _ = wrk.communicate(timeout=lasts_s + 60)
        except BaseException:
            wrk.kill()
            raise
    result = re.search(r"^RESULT (.*)$", text, re.MULTILINE)
    if result is None:
        raise LoadFailed(f"wrk against {target.name}: {text[-500:]}")
    found: dict[str, float] = json.loads(result[1])
    return found, memory or (pss_mib(pids), rss_mib(pids))


def _let_finish(pids: list[int]) -> float:
    """Wait until a target is idle again and return its CPU time."""
    end = time.monotonic() + LATE_S
    before = cpu_s(pids)
    while time.monotonic() < end:
        time.sleep(0.25)
        now = cpu_s(pids)
        if now - before < 0.03:
            return now
        before = now
    return before
