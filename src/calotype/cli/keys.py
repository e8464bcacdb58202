"""`calotype keys`: make, list and revoke API keys."""

import re
import time
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Annotated, Any

import typer

from calotype.accounts import KeyRecord
from calotype.app import App
from calotype.cli.opened import with_app
from calotype.cli.options import DataDir, Json, Org, amount
from calotype.cli.terminal import answer, facts, moment, say, table
from calotype.kernel.generation import KeyClass, Scope
from calotype.kernel.money import usd

keys = typer.Typer(help="API keys: create, list, revoke.", no_args_is_help=True)

_UNITS_MS = {"m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}


@keys.command()
def create(
    name: Annotated[str, typer.Option(help="What the key is for.")] = "key",
    key_class: Annotated[
        KeyClass, typer.Option("--class", help="paid: charged; test: free models only; unlimited: never charged.")
    ] = KeyClass.PAID,
    org: Org = "default",
    models: Annotated[
        str | None, typer.Option(help="Only these models: ids and prefixes such as local/*, comma-separated.")
    ] = None,
    spend_cap: Annotated[str | None, typer.Option(help="Most it may ever spend, in USD.")] = None,
    rpm: Annotated[int | None, typer.Option(min=1, help="Requests a minute.")] = None,
    max_in_progress: Annotated[int | None, typer.Option(min=1, help="Jobs at one time.")] = None,
    expires: Annotated[str | None, typer.Option(help="After 30d, 12h, 90m, 2w; or on a date, 2027-01-31.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="Also allow the administrative calls.")] = False,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make a key and show it, this once."""
    cap = None if spend_cap is None else amount(spend_cap)
    allowed = None if models is None else [part.strip() for part in models.split(",") if part.strip()]
    expires_at_ms = None if expires is None else _moment_of(expires)
    scopes = (Scope.API, Scope.ADMIN) if admin else (Scope.API,)

    async def work(app: App) -> tuple[KeyRecord, str, str]:
        for one in _unknown(app, allowed or ()):
            say(f"No model is called {one!r} yet: calotype models list --all names them.")
        record, text = await app.accounts.create_key(
            org, name=name, key_class=key_class, scopes=scopes, models=allowed, spend_cap_micro=cap,
            requests_per_minute=rpm, max_in_progress=max_in_progress, expires_at_ms=expires_at_ms,
        )  # fmt: skip
        return record, text, (await app.accounts.get_org(record.org_id)).name

    record, text, org_name = with_app(data_dir, work)
    if as_json:
        shown = key_object(record, org_name)
        answer({"id": record.id, "key": text} | {name: value for name, value in shown.items() if name != "id"})
        return
    facts([("key", text), ("id", record.id), ("class", record.key_class.value), ("organisation", org_name)])
    say("Keep the key: it is not shown again.")


def _unknown(app: App, allowed: Iterable[str]) -> list[str]:
    """Return what is allowed and fits no model of the catalogue."""
    names = {name for card in app.catalog.cards(everything=True) for name in (card.id, *card.aliases)}
    return [
        one for one in allowed
        if one not in names and not (one.endswith("*") and any(name.startswith(one[:-1]) for name in names))
    ]  # fmt: skip


@keys.command("list")
def list_(
    org: Annotated[str | None, typer.Option("--org", help="Only this organisation's.")] = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List keys, without their secrets."""

    async def work(app: App) -> tuple[list[KeyRecord], dict[str, str]]:
        only = None if org is None else (await app.accounts.get_org(org)).id
        names = {one.id: one.name for one in await app.accounts.list_orgs()}
        return await app.accounts.list_keys(only), {str(ident): name for ident, name in names.items()}

    found, names = with_app(data_dir, work)
    if as_json:
        answer([key_object(record, names[record.org_id]) for record in found])
        return
    rows = [
        (
            one.id, one.name, one.key_class.value, names[one.org_id], _status(one), ",".join(one.models or ("all",)),
            None if one.spend_cap_micro is None else usd(one.spend_cap_micro), moment(one.expires_at_ms),
        )
        for one in found
    ]  # fmt: skip
    table(("ID", "NAME", "CLASS", "ORGANISATION", "STATUS", "MODELS", "SPEND CAP", "EXPIRES"), rows)


@keys.command()
def revoke(
    key_id: Annotated[str, typer.Argument(metavar="ID", help="The key's id.")],
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Revoke a key for good; running servers refuse it within a second."""
    record = with_app(data_dir, lambda app: app.accounts.revoke(key_id))
    if as_json:
        answer({"id": record.id, "status": _status(record), "revoked_at_ms": record.revoked_at_ms})
    else:
        facts([("id", record.id), ("status", _status(record))])


def key_object(record: KeyRecord, org_name: str) -> dict[str, Any]:
    """Return a key as `--json` shows it; the secret is not in it."""
    return {
        "id": record.id,
        "name": record.name,
        "class": record.key_class.value,
        "org": org_name,
        "org_id": record.org_id,
        "scopes": sorted(scope.value for scope in record.scopes),
        "models": record.models,
        "spend_cap_micro": record.spend_cap_micro,
        "requests_per_minute": record.requests_per_minute,
        "max_in_progress": record.max_in_progress,
        "status": _status(record),
        "expires_at_ms": record.expires_at_ms,
        "revoked_at_ms": record.revoked_at_ms,
        "created_at_ms": record.created_at_ms,
        "budget_of": record.budget_of,
    }


def _status(record: KeyRecord) -> str:
    if record.revoked_at_ms is not None:
        return "revoked"
    if record.disabled_at_ms is not None:
        return "disabled"
    return "active" if record.usable(int(time.time() * 1000)) else "expired"


def _moment_of(text: str) -> int:
    """Read `30d`, `12h` or a date as Unix milliseconds in the future."""
    now_ms = int(time.time() * 1000)
    if found := re.fullmatch(r"(\d{1,6})([mhdw])", text.strip()):
        at_ms = now_ms + int(found[1]) * _UNITS_MS[found[2]]
    else:
        try:
            day = datetime.fromisoformat(text.strip())
        except ValueError:
            raise typer.BadParameter("--expires is a time such as 30d, 12h, 90m, 2w or a date 2027-01-31") from None
        at_ms = int((day if day.tzinfo else day.replace(tzinfo=UTC)).timestamp() * 1000)
    if at_ms <= now_ms:
        raise typer.BadParameter("--expires is in the past")
    return at_ms
