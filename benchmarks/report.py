"""The tables: medians by scene, the waiting jobs, the goals, and the page that is kept with the code."""

from typing import Any

from benchmarks.goals import Verdict
from benchmarks.scenes import SCENES, STREAMS, WAITING

COLUMNS = (
    "req/s",
    "of upstream",
    "of nginx",
    "p50 ms",
    "p99 ms",
    "CPU µs/req",
    "cores",
    "others' cores",
    "PSS MiB",
    "RSS MiB",
    "bad",
)

NOT_PROFILED = "Not profiled: run `benchmarks/run.py --profile image32,store32`, then write this page again."


def tables(results: dict[str, Any]) -> str:
    """Return a table for each scene, the fastest first."""
    medians: dict[str, Any] = results["median"]
    parts = []
    for scene in SCENES:
        rows = {target: figures[scene.name] for target, figures in medians.items() if scene.name in figures}
        if not rows:
            continue
        upstream, proxy = rows.get("upstream"), rows.get("nginx")
        lines = [f"### {scene.name}\n\n{scene.title}.\n", _row("target", *COLUMNS), "|---" * (len(COLUMNS) + 1) + "|"]
        for target, row in sorted(rows.items(), key=lambda item: -item[1]["rps"]):
            lines.append(
                _row(
                    target,
                    f"{row['rps']:,.0f}",
                    _share(row, upstream),
                    _share(row, proxy),
                    f"{row['p50_ms']:.2f}",
                    f"{row['p99_ms']:.2f}",
                    f"{row['cpu_us']:,.0f}",
                    f"{row['cores']:.2f}",
                    f"{row['others']:.2f}",
                    f"{row['pss_mib']:.0f}",
                    f"{row['rss_mib']:.0f}",
                    f"{row['bad']:.0f}",
                )
            )
        parts.append("\n".join(lines))
    if waiting := medians.get("calotype", {}).get(WAITING):
        parts.append(_waiting(waiting))
    if streams := medians.get("calotype", {}).get(STREAMS):
        parts.append(_streams(streams))
    if sync := results.get("sync"):
        parts.append(
            "The disk under the `-disk` lines took"
            f" {sync['per_s']:,.0f} appends of 4 KiB with fdatasync a second, one after the other"
            f" (p50 {sync['p50_ms']:.2f} ms, p99 {sync['p99_ms']:.2f} ms)."
        )
    return "\n\n".join(parts)


def _waiting(row: dict[str, float]) -> str:
    return "\n".join(
        (
            f"### {WAITING}\n",
            f"{row['jobs']:,.0f} jobs wait for their upstream; then all are due and the server is killed.\n",
            "| | |\n|---|---|",
            f"| memory, nothing due | {row['pss_mib']:.0f} MiB PSS, {row['rss_mib']:.0f} MiB RSS |",
            f"| CPU, nothing due | {row['idle_cores'] * 100:.1f} % of a core |",
            f"| SIGKILL to the first poll, start included | {row['first_s']:.1f} s |",
            f"| SIGKILL to the thousandth | {row['thousand_s']:.1f} s |",
            f"| polls a second, all due | {row['polls_per_s']:,.0f}, {row['poll_cpu_us']:,.0f} µs CPU each |",
            f"| memory while polling | {row['polling_pss_mib']:.0f} MiB PSS |",
        )
    )


def _streams(row: dict[str, float]) -> str:
    lines = [
        f"### {STREAMS}\n",
        f"{row['status_streams']:,.0f} open status streams of fal's and {row['chat_streams']:,.0f} open chat streams,"
        f" for {row['seconds']:.0f} s; the delay is from the upstream's word to the client that reads it.\n",
        _row("delay, ms", "events", "p50", "p99", "most"),
        "|---" * 5 + "|",
    ]
    for title, name in (("status", "status_"), ("chat", "chat_"), ("both", "")):
        figures = (f"{row[name + figure]:.1f}" for figure in ("p50_ms", "p99_ms", "max_ms"))
        lines.append(_row(title, f"{row[name + 'events']:,.0f}", *figures))
    lines.append(
        f"\n{row['events'] / row['seconds']:,.0f} events a second, {row['cores']:.2f} cores,"
        f" others {row['others']:.2f}, {row['pss_mib']:.0f} MiB PSS, {row['rss_mib']:.0f} MiB RSS;"
        f" all open after {row['open_s']:.1f} s; lost or refused: {row['bad']:.0f}."
    )
    return "\n".join(lines)


def goals(verdicts: list[Verdict]) -> str:
    """Return the goals with what came out."""
    lines = [_row("goal", "bound", "measured", "", "stretch"), "|---" * 5 + "|"]
    for verdict in verdicts:
        goal = verdict.goal
        sign = "≥" if goal.kind == "at least" else "≤"
        stretch = "" if goal.stretch is None else f"{sign} {goal.stretch:,g}{' met' if verdict.stretched else ''}"
        lines.append(
            _row(
                f"{goal.what} ({goal.target}, {goal.scene})",
                f"{sign} {goal.bound:,g} {goal.unit}",
                f"{_figure(verdict.figure)} {goal.unit}",
                "met" if verdict.met else "**MISSED**",
                stretch,
            )
        )
    return "\n".join(lines)


def where_time_goes(profiles: dict[str, Any]) -> str:
    """Return the split by thread and the busiest functions of each profiled scene."""
    parts = []
    for scene, found in profiles.items():
        lines = [f"### {scene}: {found['target']}, {found['rps']:,.0f} req/s under the profiler ({found['with']})\n"]
        lines += [_row("thread", "of the process's CPU", "µs/req"), "|---|---|---|"]
        lines += [_row(one["name"], f"{one['share'] * 100:.0f} %", f"{one['us']:.0f}") for one in found["threads"]]
        for title, column in (("busiest by itself", "self"), ("busiest with what it calls", "total")):
            lines += ["", _row(title, "µs/req"), "|---|---|"]
            lines += [_row(f"`{one['name']}`", f"{one['us']:.0f}") for one in found[column]]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def page(results: dict[str, Any], verdicts: list[Verdict], profiles: dict[str, Any], note: str | None) -> str:
    """Return the page of results."""
    facts = "\n".join(f"- {name}: {value}" for name, value in results["machine"].items())
    said = f"**{note}**\n\n" if note else ""
    return f"""# Benchmark results

Written by `benchmarks/run.py --write-results`; `README.md` says how it is measured and how to read it.

{said}- date: {results["started"]}
{facts}
- {results["rounds"]} rounds of {results["seconds"]} s a sample, medians; one core for the gateway

## Goals

{goals(verdicts)}

## Scenes

{tables(results)}

## Where the time goes

{where_time_goes(profiles) or NOT_PROFILED}
"""


def _row(*cells: str) -> str:
    return f"| {' | '.join(cells)} |"


def _share(row: dict[str, float], base: dict[str, float] | None) -> str:
    return f"{row['rps'] / base['rps']:.3f}" if base and base["rps"] else "-"


def _figure(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.2f}"
