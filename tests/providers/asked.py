"""Requests handed to a running server's engine as a dialect does, and what became of them."""

from typing import Any

from msgspec import Struct

from calotype.jobs.intake import Ask
from calotype.jobs.types import JobView
from calotype.kernel.errors import Problem
from calotype.kernel.generation import Context, DataClass, Generation, KeyClass, Operation, Region
from calotype.kernel.outcome import Delta
from running import Account


class Ended(Struct, frozen=True):
    """How a request ended: the job, and the pieces that were shown before."""

    view: JobView
    deltas: tuple[dict[str, Any], ...]

    @property
    def data(self) -> dict[str, Any]:
        """What the job made that is no file."""
        assert self.view.problem is None, self.view.problem
        assert self.view.job.result is not None
        data: dict[str, Any] = self.view.job.result.data
        return data

    @property
    def problem(self) -> Problem:
        """Why it failed."""
        assert self.view.problem is not None
        return self.view.problem


def ended(
    account: Account,
    operation: Operation,
    model: str,
    fields: dict[str, Any],
    *,
    listen: bool = False,
    region: Region = Region.WORLD,
    phi: bool = False,
    at_once: bool = True,
) -> Ended:
    """Ask for something and wait for its end."""
    return account.house.ask(_ended(account, operation, model, fields, listen, region, phi, at_once))


async def _ended(
    account: Account,
    operation: Operation,
    model: str,
    fields: dict[str, Any],
    listen: bool,
    region: Region,
    phi: bool,
    at_once: bool,
) -> Ended:
    app = account.house.app
    key, _ = await app.accounts.create_key(account.org.id, name="asked", key_class=KeyClass.PAID)
    context = Context(
        principal=key.principal, dialect="openai", region=region, region_explicit=region is not Region.WORLD,
        data_class=DataClass.PHI if phi else DataClass.GENERAL,
    )  # fmt: skip
    ask = Ask(
        generation=Generation(operation, model, fields), context=context, key=key, org=account.org,
        operation=operation, at_once=at_once, wants={"inline": True} if phi else {}, listen=listen,
    )  # fmt: skip
    ticket = await app.engine.accept(ask)
    deltas: list[dict[str, Any]] = []
    view: JobView | None = None
    async for piece in app.engine.follow(ticket):
        if isinstance(piece, Delta):
            deltas.append(piece.data)
        else:
            view = piece
    assert view is not None
    return Ended(view, tuple(deltas))


def submissions(account: Account) -> list[tuple[Any, ...]]:
    """Return state, provider, cost and its source of every attempt, in order."""
    return account.house.rows(
        "SELECT s.state, s.provider, s.cost_micro, s.cost_source FROM submission s JOIN job j ON j.id = s.job_id"
        " WHERE j.org_id = :org ORDER BY s.attempt",
        org=account.org.id,
    )


def stored(account: Account, one: Ended) -> bytes:
    """Return the bytes of the one file that a job made."""
    (artifact,) = one.view.artifacts
    store = account.house.app.store

    async def read() -> bytes:
        return bytes(await store.open(artifact.key))

    return account.house.ask(read())
