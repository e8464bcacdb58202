"""Who is measured: our server in its variants, the upstream itself, nginx as a proxy, and other gateways."""

import os
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

from benchmarks.postgres import database, start_postgres
from benchmarks.processes import GATEWAY_CORE, Stage, free_port, runs
from benchmarks.scenes import Request, direct, images, ours, polls
from benchmarks.upstream import fill, nginx

ROOT = Path(__file__).resolve().parents[1]
START_S = 120.0
PROVIDERS = {"image": "/v1", "store": "/store/v1", "big": "/big/v1", "slow": "/slow/v1"}
POLLED = 1000
"""Jobs that wait in each of our servers, to be polled."""


@dataclass
class Target:
    """Something that answers requests on a port; its figures are those of all processes below `pids`."""

    name: str
    port: int
    pids: list[int]
    requests: dict[str, Request]
    media: Path | None = None
    ready: Callable[[], bool] = field(default=lambda: True)

    def forget_media(self) -> None:
        """Remove the files stored by earlier samples, so that a run does not fill the memory it measures."""
        if self.media is not None and self.media.exists():
            for folder, _, names in os.walk(self.media):
                for name in names:
                    (Path(folder) / name).unlink(missing_ok=True)


@dataclass(frozen=True)
class Variant:
    """A configuration of our own server."""

    name: str
    rehost: str
    kinds: tuple[str, ...]
    disk: bool = False
    postgres: bool = False


VARIANTS = (
    Variant("calotype", "off", ("image", "slow", "poll", "polls", "statuses", "big")),
    Variant("calotype-disk", "off", ("image",), disk=True),
    Variant("calotype-pg", "off", ("image",), postgres=True),
    Variant("calotype-stored", "always", ("store", "big", "big_url")),
    Variant("calotype-stored-disk", "always", ("store",), disk=True),
    Variant("calotype-stored-pg", "always", ("store",), postgres=True),
)
REFERENCES = ("upstream", "nginx")
PEERS = ("litellm", "portkey")
NAMES = (*REFERENCES, *(variant.name for variant in VARIANTS), *PEERS)


class House:
    """Starts targets: the folders they may write to and the upstream they ask."""

    def __init__(self, stage: Stage, *, upstream_port: int, disk: Path, peers: Path) -> None:
        self._stage = stage
        self._up = upstream_port
        self._disk = disk
        self._peers = peers
        self._postgres: tuple[str, int] | None = None

    def start(self, name: str, upstream_pid: int) -> Target | None:
        """Start a target; None where it is not installed."""
        if name == "upstream":
            return Target(name, self._up, [upstream_pid], direct())
        if name == "nginx":
            return self._proxy()
        if name == "litellm":
            return self._litellm()
        if name == "portkey":
            return self._portkey()
        return self._ours(next(variant for variant in VARIANTS if variant.name == name))

    def _proxy(self) -> Target:
        port = free_port()
        path = fill("proxy.conf", self._stage.folder, PORT=str(port), UP=str(self._up))
        return Target("nginx", port, [self._stage.start("nginx", nginx(path), core=GATEWAY_CORE).pid], direct())

    def _ours(self, variant: Variant) -> Target:
        port = free_port()
        folder = (self._disk if variant.disk else self._stage.folder) / variant.name
        env = environment(self._up, folder / "data", variant.rehost)
        pids = []
        if variant.postgres:
            if self._postgres is None:
                self._postgres = start_postgres(self._stage)
            server, postmaster = self._postgres
            env["CALOTYPE_DATABASE_URL"] = database(server, variant.name.replace("-", "_"))
            pids.append(postmaster)
        folder.mkdir(parents=True)
        process = self._stage.start(
            variant.name, serve(port, folder, "--waiting", str(POLLED)), core=GATEWAY_CORE, env=env, cwd=ROOT
        )
        target = Target(variant.name, port, [process.pid, *pids], {}, media=folder / "data" / "media")

        def ready() -> bool:
            if not (folder / "videos").exists():
                return False
            key = {"Authorization": f"Bearer {(folder / 'key').read_text()}"}
            kinds = {**ours(), **polls(*((folder / name).read_text().split() for name in ("videos", "jobs")))}
            target.requests = {kind: replace(kinds[kind], headers=key) for kind in variant.kinds}
            return True

        target.ready = ready
        return target

    def _litellm(self) -> Target | None:
        programs = self._peers / "litellm" / "bin"
        if not (programs / "litellm").exists():
            return None
        port = free_port()
        config = fill("litellm.yaml", self._stage.folder, UP=str(self._up))
        command = [str(programs / "litellm"), "--config", str(config), "--host", "127.0.0.1"]
        env = {
            "LITELLM_LOCAL_MODEL_COST_MAP": "True", "LITELLM_LOG": "ERROR", "LITELLM_MODE": "PRODUCTION",
            "PATH": f"{programs}:/usr/bin:/bin",
        }  # fmt: skip
        process = self._stage.start(
            "litellm", [*command, "--port", str(port), "--num_workers", "1"], core=GATEWAY_CORE, env=env
        )
        key = {"Authorization": "Bearer sk-bench"}
        asked = {kind: replace(images(f"bench-{kind}"), headers=key) for kind in ("image", "big", "slow")}
        return Target("litellm", port, [process.pid], asked)

    def _portkey(self) -> Target | None:
        program = self._peers / "portkey" / "node_modules" / "@portkey-ai" / "gateway" / "build" / "start-server.js"
        node = shutil.which("node") or shutil.which("node", path=str(Path(sys.executable).parent))
        if node is None or not program.exists():
            return None
        port = free_port()
        env = {"NODE_ENV": "production", "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
        command = [node, str(program), f"--port={port}", "--headless"]
        process = self._stage.start("portkey", command, core=GATEWAY_CORE, env=env)
        asked = {}
        for kind in ("image", "big", "slow"):
            host = f"http://127.0.0.1:{self._up}{PROVIDERS[kind]}"
            headers = {
                "x-portkey-provider": "openai", "Authorization": "Bearer sk-up", "x-portkey-custom-host": host
            }  # fmt: skip
            asked[kind] = replace(images("gpt-image-1"), headers=headers)
        return Target("portkey", port, [process.pid], asked)


def environment(upstream_port: int, data_dir: Path, rehost: str) -> dict[str, str]:
    """Return the settings of a server under test."""
    env = {
        "CALOTYPE_CONFIG": "/dev/null",
        "CALOTYPE_DATA_DIR": str(data_dir),
        "CALOTYPE_CARDS_DIR": str(ROOT / "benchmarks" / "cards"),
        "CALOTYPE_MEDIA__REHOST": rehost,
    }
    for kind, path in PROVIDERS.items():
        name = f"CALOTYPE_PROVIDERS__BENCH_{kind.upper()}__"
        env[f"{name}KIND"] = "openai"
        env[f"{name}BASE_URL"] = f"http://127.0.0.1:{upstream_port}{path}"
        env[f"{name}API_KEY"] = "sk-up"
    return env


def serve(port: int, folder: Path, *more: str) -> list[str]:
    """Return the command of a server under test."""
    return [sys.executable, "-m", "benchmarks.serve", str(port), str(folder), *more]


def wait_ready(target: Target, answers: Callable[[Target], bool]) -> bool:
    """Wait until a target answers; False when it does not come up."""
    end = time.monotonic() + START_S
    while time.monotonic() < end and runs(target.pids[0]):
        if target.ready() and answers(target):
            return True
        time.sleep(0.2)
    return False
