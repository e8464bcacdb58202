"""`calotype models check`: are the cards whole, and does every route of every model do what its card says."""

import asyncio
import time
from collections.abc import Sequence
from typing import Annotated

import msgspec
import typer

from calotype.app import catalog_of
from calotype.catalog import Card, CardError
from calotype.cli.checking.rehearsal import rehearsal
from calotype.cli.checking.verdicts import Finding, count, looked_at, retired
from calotype.cli.options import DataDir, Json, settings_for
from calotype.cli.terminal import answer, progress_bar, say, table
from calotype.settings import Settings
from calotype.telemetry import configure_logs


def check(
    models: Annotated[
        list[str] | None, typer.Argument(metavar="[ID]...", help="Only these models.", show_default=False)
    ] = None,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Also run every route, at emulated upstreams on this machine.")
    ] = False,
    everything: Annotated[
        bool, typer.Option("--all", help="Also models that are planned, deprecated, retired or previews.")
    ] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Check the models: cards, prices and, with --sandbox, a run of every route. Exit 1 where something fails."""
    configure_logs("critical", "auto")
    began_s = time.monotonic()
    settings = settings_for(data_dir)
    try:
        catalog = catalog_of(settings)
    except CardError as error:
        findings = [Finding(f"{error.origin}: {error.key}", "failed", str(error))]
    else:
        names = [catalog.find(name).id for name in models or ()]
        chosen = [card for card in catalog.cards(everything=True) if _wanted(card, names, everything=everything)]
        findings = [retired(card, catalog) if card.status == "retired" else looked_at(card, catalog.pricing)
                    for card in chosen]  # fmt: skip
        if sandbox and not count(findings)["failed"]:
            findings += asyncio.run(_rehearsed(settings, chosen))
    _show(findings, time.monotonic() - began_s, as_json=as_json)
    if count(findings)["failed"]:
        raise typer.Exit(1)


def _wanted(card: Card, names: list[str], *, everything: bool) -> bool:
    if names:
        return card.id in names
    return everything or (card.status == "active" and not card.preview)


async def _rehearsed(settings: Settings, cards: Sequence[Card]) -> list[Finding]:
    findings: list[Finding] = []
    async with rehearsal(settings, cards) as here:
        with progress_bar() as bar:
            line = bar.add_task("models", total=len(here.cases) + len(here.gone))

            def done(finding: Finding) -> None:
                findings.append(finding)
                bar.update(line, advance=1, description=finding.card[:40])

            await here.run(done)
        findings += await here.books(findings)
    return sorted(findings, key=lambda found: (found.card, found.provider or "", found.operation or ""))


def _show(findings: list[Finding], seconds: float, *, as_json: bool) -> None:
    counted = count(findings)
    cards = len({one.card for one in findings if not one.card.startswith("(")})
    ran = sum(one.seconds is not None for one in findings)
    if as_json:
        found = {"ok": not counted["failed"], "counts": counted, "cards": cards, "runs": ran}
        answer(found | {"seconds": round(seconds, 1), "findings": msgspec.to_builtins(findings)})
        return
    shown = [one for one in findings if one.state != "ok"]
    if shown:
        rows = [(one.card, one.operation, one.provider, one.upstream, one.state, one.why) for one in shown]
        table(("MODEL", "OPERATION", "PROVIDER", "UPSTREAM", "STATE", "WHY"), rows)
    totals = ", ".join(f"{number} {state}" for state, number in counted.items())
    say(f"{cards} models, {ran} runs: {totals}; {seconds:.0f} s")
