"""Run the benchmark: `python -m benchmarks --help`. Exits 1 when a goal is missed, 2 when nothing could be measured."""

import argparse
import datetime
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from benchmarks.goals import judge
from benchmarks.machine import machine, peer_versions, sync_rate
from benchmarks.measure import LoadFailed, Sample, ask, check, sample
from benchmarks.processes import Stage, allow_files, boost, free_port
from benchmarks.profiling import prepare, profile
from benchmarks.report import goals, page, tables, where_time_goes
from benchmarks.scenes import SCENES, STREAMS, WAITING, Scene
from benchmarks.streams import measure_streams
from benchmarks.targets import NAMES, PEERS, ROOT, House, Target, wait_ready
from benchmarks.upstream import has_slow, start_upstream
from benchmarks.waiting import measure_waiting

OUT = ROOT / ".bench"
MEMORY = Path("/dev/shm")
"""Where the data of every line but the `-disk` ones lies."""
SHOWN = f"{'':>4} {'target':22} {'scene':9} {'req/s':>9} {'p50 ms':>8} {'p99 ms':>8} {'CPU µs':>8} others bad"


def main() -> int:
    """Measure, print, write, judge."""
    args = _arguments()
    boost("self")
    allow_files()
    OUT.mkdir(exist_ok=True)
    if args.peers:
        subprocess.run(["sh", str(ROOT / "benchmarks" / "peers.sh"), str(OUT)], check=True)
    folder = Path(tempfile.mkdtemp(prefix="calotype-bench-", dir=MEMORY if MEMORY.is_dir() else None))
    folder.chmod(0o755)  # PostgreSQL, started by root, runs as another user
    disk = Path(tempfile.mkdtemp(prefix="data-", dir=OUT))
    try:
        with Stage(folder) as stage:
            if args.profile and not args.write_results:
                _profile(stage, args)
                return 0
            results = measure(stage, disk, args)
        if args.profile:
            with Stage(folder) as stage:
                _profile(stage, args)
    except KeyboardInterrupt:
        return 130
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        shutil.rmtree(disk, ignore_errors=True)
    return _tell(results, args)


def measure(stage: Stage, disk: Path, args: argparse.Namespace) -> dict[str, Any]:
    """Start every target, sample them in turn, scene by scene and round after round; return figures and medians."""
    results: dict[str, Any] = {
        "started": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "rounds": args.rounds, "seconds": args.seconds, "machine": {**machine(), **peer_versions(OUT)},
        "sync": sync_rate(disk), "samples": {}, "failed": [],
    }  # fmt: skip
    scenes = [scene for scene in SCENES if scene.name in args.scenes and (not scene.held_s or has_slow())]
    port = free_port()
    upstream_pid = start_upstream(stage, port)
    house = House(stage, upstream_port=port, disk=disk, peers=OUT)
    targets = _start(stage, house, upstream_pid, args.only, {scene.kind for scene in scenes}, results["failed"])
    print(f"\n{SHOWN}", flush=True)
    for scene in scenes:
        for number in range(min(args.rounds, scene.rounds) + 1):  # round 0 warms up
            for target in targets:
                if scene.kind not in target.requests:
                    continue
                try:
                    if number == 0:
                        check(target, scene)
                        sample(target, scene, upstream_pid, 1)
                        continue
                    found = sample(target, scene, upstream_pid, args.seconds, patience_s=args.patience)
                except (LoadFailed, OSError) as error:
                    print(f"  failed: {error}", flush=True)
                    results["failed"].append(f"{target.name} {scene.name}: {error}")
                    del target.requests[scene.kind]
                    continue
                results["samples"].setdefault(target.name, {}).setdefault(scene.name, []).append(found.as_dict())
                _show(number, target, scene, found)
    results["median"] = {
        name: {scene: _median(rows) for scene, rows in scenes.items()} for name, scenes in results["samples"].items()
    }
    if WAITING in args.scenes and "calotype" in args.only:
        print("waiting jobs …", flush=True)
        results["median"].setdefault("calotype", {})[WAITING] = measure_waiting(stage)
    if STREAMS in args.scenes and "calotype" in args.only:
        print("streams …", flush=True)
        try:
            results["median"].setdefault("calotype", {})[STREAMS] = measure_streams(stage)
        except TimeoutError as error:
            results["failed"].append(f"calotype {STREAMS}: {error}; {stage.last_words('listeners')}")
    return results


def _start(
    stage: Stage, house: House, upstream_pid: int, names: list[str], kinds: set[str], failed: list[str]
) -> list[Target]:
    """Start all targets that have something to do, then wait for each."""
    started = []
    for name in names if kinds else []:
        target = house.start(name, upstream_pid)
        if target is None:
            print(f"not installed: {name} (benchmarks/peers.sh {OUT.name})", flush=True)
        else:
            started.append(target)
    ready = []
    for target in started:
        if wait_ready(target, _answers):
            ready.append(target)
            print(f"up: {target.name}", flush=True)
        else:
            failed.append(f"{target.name} did not start: {stage.last_words(target.name)}")
            print(failed[-1], flush=True)
    return ready


def _answers(target: Target) -> bool:
    request = target.requests.get("image") or target.requests["store"]
    try:
        return ask(target.port, request)[0] == 200
    except OSError:
        return False


def _median(rows: list[dict[str, float]]) -> dict[str, float]:
    middle = {name: statistics.median(row[name] for row in rows) for name in rows[0]}
    return {**middle, "bad": sum(row["bad"] for row in rows)}


def _show(number: int, target: Target, scene: Scene, found: Sample) -> None:
    print(
        f"r{number:>3} {target.name:22} {scene.name:9} {found.rps:>9,.0f} {found.p50_ms:>8.2f} {found.p99_ms:>8.2f}"
        f" {found.cpu_us:>8,.0f} {found.others:>6.2f} {found.bad:>3}",
        flush=True,
    )


def _profile(stage: Stage, args: argparse.Namespace) -> None:
    path = OUT / "profile.json"
    profiles = json.loads(path.read_text()) if path.exists() else {}
    port = free_port()
    upstream_pid = start_upstream(stage, port)
    house = House(stage, upstream_port=port, disk=OUT, peers=OUT)
    prepare(stage)
    targets: dict[str, Target] = {}
    for name in args.profile:
        scene = next(scene for scene in SCENES if scene.name == name)
        wanted = "calotype-stored" if scene.kind in ("store", "big_url") else "calotype"
        target = targets.get(wanted) or house.start(wanted, upstream_pid)
        assert target is not None
        targets[wanted] = target
        if not wait_ready(target, _answers):
            raise SystemExit(f"the server did not start: {stage.last_words(target.name)}")
        profiles[name] = found = profile(stage, target, scene, upstream_pid)
        print(f"\n{where_time_goes({name: found})}\n", flush=True)
    path.write_text(json.dumps(profiles, indent=1))


def _tell(results: dict[str, Any], args: argparse.Namespace) -> int:
    verdicts = judge(results["median"])
    results["goals"] = [
        {"goal": one.goal.what, "figure": one.figure, "bound": one.goal.bound, "met": one.met} for one in verdicts
    ]
    (OUT / "results.json").write_text(json.dumps(results, indent=1))
    print(f"\n{tables(results)}\n\n## Goals\n\n{goals(verdicts)}\n", flush=True)
    if args.write_results:
        path = OUT / "profile.json"
        profiles = json.loads(path.read_text()) if path.exists() else {}
        (ROOT / "benchmarks" / "results.md").write_text(page(results, verdicts, profiles, args.note))
    for line in results["failed"]:
        print(f"failed: {line}", file=sys.stderr)
    missed = [one.goal for one in verdicts if not one.met]
    for goal in missed:
        print(f"missed: {goal.what} ({goal.target}, {goal.scene})", file=sys.stderr)
    return 1 if missed or results["failed"] else 0 if verdicts else 2


def _arguments() -> argparse.Namespace:
    known = [*(scene.name for scene in SCENES), WAITING, STREAMS]

    def names(allowed: list[str]) -> Any:
        def parse(text: str) -> list[str]:
            if wrong := [name for name in text.split(",") if name not in allowed]:
                raise argparse.ArgumentTypeError(f"{wrong[0]!r} is none of {', '.join(allowed)}")
            return text.split(",")

        return parse

    parser = argparse.ArgumentParser(prog="benchmarks/run.py", description=__doc__)
    parser.add_argument("--scenes", type=names(known), default=known, help="comma list; default all")
    parser.add_argument("--only", type=names(list(NAMES)), default=list(NAMES), help="targets, comma list; default all")
    parser.add_argument("--no-peers", action="store_true", help="leave the other gateways out")
    parser.add_argument("--peers", action="store_true", help="install the other gateways first")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seconds", type=int, default=2, help="length of a sample")
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--patience", type=float, default=2.0, help="seconds to wait for a quiet moment")
    parser.add_argument("--profile", type=names([scene.name for scene in SCENES]), help="scenes to profile")
    parser.add_argument("--write-results", action="store_true", help="write benchmarks/results.md")
    parser.add_argument("--note", help="a sentence at the head of results.md")
    args = parser.parse_args()
    if args.quick:
        args.rounds = 1
    if args.no_peers:
        args.only = [name for name in args.only if name not in PEERS]
    return args


if __name__ == "__main__":
    sys.exit(main())
