"""`calotype credits`: grant, take, show, history, limit. Amounts are USD, exact to one millionth."""

from pathlib import Path
from typing import Annotated, Any

import typer

from calotype.accounts import Organisation
from calotype.app import App
from calotype.cli.opened import with_app
from calotype.cli.options import DataDir, Json, Org, amount
from calotype.cli.terminal import answer, facts, moment, table
from calotype.kernel.money import usd
from calotype.ledger.types import Balance, Movement

credits_ = typer.Typer(help="Money: grant, take, show, history, limit.", no_args_is_help=True)

Amount = Annotated[str, typer.Argument(metavar="AMOUNT_USD", help="Such as 1 or 0.25.")]
Memo = Annotated[str | None, typer.Option(help="A note for the history.")]
Once = Annotated[str | None, typer.Option("--idempotency-key", help="Sent twice, the money moves once.")]


@credits_.command()
def grant(
    amount_usd: Amount,
    org: Org = "default",
    memo: Memo = None,
    idempotency_key: Once = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Give an organisation money to spend."""
    _move(data_dir, org, amount(amount_usd), memo, idempotency_key, as_json=as_json)


@credits_.command()
def take(
    amount_usd: Amount,
    org: Org = "default",
    memo: Memo = None,
    idempotency_key: Once = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Take money back from an organisation, as far as it is available."""
    _move(data_dir, org, -amount(amount_usd), memo, idempotency_key, as_json=as_json)


@credits_.command()
def show(org: Org = "default", as_json: Json = False, data_dir: DataDir = None) -> None:
    """Show a balance: posted, held for jobs under way, and available."""

    async def work(app: App) -> tuple[Organisation, Balance]:
        found = await app.accounts.get_org(org)
        return found, await app.ledger.balance(found.id)

    _show(*with_app(data_dir, work), as_json=as_json)


@credits_.command()
def limit(amount_usd: Amount, org: Org = "default", as_json: Json = False, data_dir: DataDir = None) -> None:
    """Let a balance fall below zero by at most this much."""
    micro = amount(amount_usd)

    async def work(app: App) -> tuple[Organisation, Balance]:
        found = await app.accounts.get_org(org)
        return found, await app.ledger.set_credit_limit(found.id, micro)

    _show(*with_app(data_dir, work), as_json=as_json)


@credits_.command()
def history(
    org: Org = "default",
    most: Annotated[int, typer.Option("--limit", min=1, max=1000, help="How many.")] = 50,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """List an organisation's movements of money, newest first."""

    async def work(app: App) -> list[Movement]:
        found = await app.accounts.get_org(org)
        return (await app.ledger.history(found.id, limit=most))[0]

    found = with_app(data_dir, work)
    if as_json:
        answer([_movement(one) for one in found])
        return
    rows = [
        (moment(one.created_at_ms), one.kind.value, usd(one.amount_micro), usd(one.balance_after_micro),
         one.job_id or one.memo)
        for one in found
    ]  # fmt: skip
    table(("TIME (UTC)", "KIND", "AMOUNT", "BALANCE", "JOB OR MEMO"), rows)


def balance_object(org: Organisation, balance: Balance) -> dict[str, Any]:
    """Return a balance as `--json` shows it, in micro-USD."""
    return {
        "org": org.name,
        "org_id": org.id,
        "posted_micro": balance.posted_micro,
        "held_micro": balance.held_micro,
        "available_micro": balance.available_micro,
        "credit_limit_micro": balance.credit_limit_micro,
    }


def _move(
    data_dir: Path | None, org: str, micro: int, memo: str | None, idempotency_key: str | None, *, as_json: bool
) -> None:
    async def work(app: App) -> tuple[Organisation, Balance]:
        found = await app.accounts.get_org(org)
        return found, await app.ledger.credit(found.id, micro, idem_key=idempotency_key, memo=memo)

    _show(*with_app(data_dir, work), as_json=as_json)


def _movement(one: Movement) -> dict[str, Any]:
    return {
        "id": one.journal_id,
        "kind": one.kind.value,
        "amount_micro": one.amount_micro,
        "balance_after_micro": one.balance_after_micro,
        "job_id": one.job_id,
        "memo": one.memo,
        "created_at_ms": one.created_at_ms,
    }


def _show(org: Organisation, balance: Balance, *, as_json: bool) -> None:
    if as_json:
        answer(balance_object(org, balance))
        return
    limit_micro = balance.credit_limit_micro
    facts(
        [
            ("organisation", org.name),
            ("posted", usd(balance.posted_micro)),
            ("held", usd(balance.held_micro)),
            ("available", usd(balance.available_micro)),
            ("credit limit", usd(limit_micro) if limit_micro else None),
        ]
    )
