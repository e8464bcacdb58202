"""`calotype orgs`: organisations, their locks and their regions."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from calotype.accounts import Organisation
from calotype.app import App
from calotype.cli.opened import with_app
from calotype.cli.options import DataDir, Json
from calotype.cli.terminal import answer, facts, moment, table
from calotype.kernel.generation import Region

orgs = typer.Typer(help="Organisations: create, list, lock, unlock, set-region.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(metavar="ORG", help="Id or name.")]
Strict = Annotated[bool, typer.Option("--strict", help="Only routes that name the region; no others serve it.")]


@orgs.command()
def create(
    name: Annotated[str, typer.Argument(help="A name that is not taken.")],
    region: Annotated[Region | None, typer.Option(help="Where its requests run unless they say.")] = None,
    strict: Strict = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make an organisation."""

    async def work(app: App) -> Organisation:
        return await app.accounts.create_org(name, default_region=region, strict_residency=strict)

    _show(data_dir, work, as_json)


@orgs.command("list")
def list_(as_json: Json = False, data_dir: DataDir = None) -> None:
    """List organisations."""
    found = with_app(data_dir, lambda app: app.accounts.list_orgs())
    if as_json:
        answer([org_object(org) for org in found])
        return
    rows = [
        (org.id, org.name, org.status.value, org.default_region, "yes" if org.strict_residency else "no",
         moment(org.created_at_ms))
        for org in found
    ]  # fmt: skip
    table(("ID", "NAME", "STATUS", "REGION", "STRICT", "CREATED"), rows)


@orgs.command()
def lock(org: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Refuse new work; what was accepted still finishes."""
    _show(data_dir, lambda app: app.accounts.lock_org(org), as_json)


@orgs.command()
def unlock(org: Name, as_json: Json = False, data_dir: DataDir = None) -> None:
    """Allow new work again."""
    _show(data_dir, lambda app: app.accounts.lock_org(org, locked=False), as_json)


@orgs.command("set-region")
def set_region(
    org: Name,
    region: Annotated[str, typer.Argument(help="CH, EU, US, UK, ASIA, ANZ, LATAM, MENA, INDIA, WORLD or none.")],
    strict: Strict = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Set where an organisation's requests run; `none` leaves it to each request."""
    try:
        chosen = None if region.lower() == "none" else Region(region.upper())
    except ValueError:
        raise typer.BadParameter(f"REGION is none or one of {', '.join(Region)}") from None

    async def work(app: App) -> Organisation:
        return await app.accounts.set_residency(org, default_region=chosen, strict_residency=strict)

    _show(data_dir, work, as_json)


def org_object(org: Organisation) -> dict[str, Any]:
    """Return an organisation as `--json` shows it."""
    return {
        "id": org.id,
        "name": org.name,
        "status": org.status.value,
        "default_region": org.default_region,
        "strict_residency": org.strict_residency,
        "created_at_ms": org.created_at_ms,
    }


def _show(data_dir: Path | None, work: Callable[[App], Awaitable[Organisation]], as_json: bool) -> None:
    org = with_app(data_dir, work)
    if as_json:
        answer(org_object(org))
        return
    strict = "yes" if org.strict_residency else "no"
    facts(
        [("id", org.id), ("name", org.name), ("status", org.status.value), ("region", org.default_region),
         ("strict", strict)]
    )  # fmt: skip
