"""The operator's upkeep: `ledger verify`, `db upgrade|current`, `media sweep`, `secrets rotate`."""

from enum import StrEnum
from typing import Annotated

import msgspec
import typer

from calotype.app import App
from calotype.cli.opened import with_app
from calotype.cli.options import DataDir, Json, settings_for
from calotype.cli.terminal import Failure, answer, facts, say, table
from calotype.db.schema import bring_up, current, newest
from calotype.ledger.verify import Verdict, verify
from calotype.media.secrets import Secrets
from calotype.media.sweep import Swept, sweep

ledger = typer.Typer(help="The ledger: verify.", no_args_is_help=True)
db = typer.Typer(help="The database's schema: upgrade, current.", no_args_is_help=True)
media = typer.Typer(help="Stored media: sweep.", no_args_is_help=True)
secrets = typer.Typer(help="The server's own secrets: rotate.", no_args_is_help=True)


class SecretName(StrEnum):
    """Secrets that can be rotated."""

    URL_SIGNING = "url_signing"
    WEBHOOK_SIGNING = "webhook_signing"
    FAL_TICKETS = "fal_tickets"
    CONTENT_JOBS = "content_jobs"


@ledger.callback()
@db.callback()
@media.callback()
@secrets.callback()
def _group() -> None:
    """Keep groups of one command groups."""


@ledger.command("verify")
def ledger_verify(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Recompute all balances from the entries; exit 1 and list what differs."""

    async def work(app: App) -> Verdict:
        return await app.db.read(verify, snapshot=True)

    verdict = with_app(data_dir, work)
    if as_json:
        answer({"ok": verdict.ok} | msgspec.to_builtins(verdict))
    elif verdict.ok:
        counts = f"{verdict.accounts} accounts, {verdict.entries} entries, {verdict.holds} holds"
        facts([("ledger", "adds up"), ("checked", f"{counts} ({verdict.open_holds} open)")])
    else:
        rows = [(one.rule, one.id, one.expected, one.found) for one in verdict.differences]
        table(("RULE", "ROW", "EXPECTED", "FOUND"), rows)
    if not verdict.ok:
        say(f"The ledger does not add up: {len(verdict.differences)} differences.")
        raise typer.Exit(1)


@db.command("upgrade")
def db_upgrade(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Create the schema or bring it up to date; a start of the server does the same."""
    settings = settings_for(data_dir)
    before = current(settings.database)
    bring_up(settings.database)
    after = current(settings.database)
    if as_json:
        answer({"before": before, "current": after})
    else:
        facts([("before", before or "nothing"), ("now", after)])


@db.command("current")
def db_current(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Show the schema the database has and the one this program needs; exit 1 where they differ."""
    settings = settings_for(data_dir)
    found, needed = current(settings.database), newest()
    if as_json:
        answer({"current": found, "head": needed, "up_to_date": found == needed})
    else:
        facts([("current", found or "nothing"), ("needed", needed)])
    if found != needed:
        raise typer.Exit(1)


@media.command("sweep")
def media_sweep(
    orphans: Annotated[bool, typer.Option("--orphans", help="Also walk the whole store for files of nobody.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Remove media whose time is up, now; a running server does it every five minutes."""

    async def work(app: App) -> Swept:
        return await sweep(app.db, app.store, clock=app.clock, orphans=orphans)

    swept = with_app(data_dir, work)
    if as_json:
        answer(msgspec.to_builtins(swept))
    else:
        facts(
            [("artifacts", swept.artifacts), ("uploads", swept.uploads), ("orphans", swept.orphans),
             ("temporary", swept.temporary)]
        )  # fmt: skip


@secrets.command("rotate")
def secrets_rotate(
    name: Annotated[SecretName, typer.Argument(help="Which secret.")],
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Put a new secret in force; the two before it stay valid. A running server takes it up when restarted."""
    settings = settings_for(data_dir)
    given = {SecretName.WEBHOOK_SIGNING: settings.security.webhook_secret}.get(name, settings.security.signing_secret)
    if given is not None:
        raise Failure(f"The secret {name.value} comes from the settings; change it there.")
    kept = Secrets(settings.data_dir).rotate(name.value)
    if as_json:
        answer({"name": name.value, "valid": len(kept)})
    else:
        facts([("secret", name.value), ("valid", f"{len(kept)}, the newest signs")])
    say("A running server takes it up when it is restarted.")
