"""The application in this process with providers that do as a test says, and requests as dialects hand them in."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from datetime import date
from pathlib import Path
from typing import Any

from calotype.accounts.types import KeyRecord, Organisation
from calotype.app import App
from calotype.jobs.intake import Ask
from calotype.jobs.types import JobView
from calotype.kernel.clock import SystemClock
from calotype.kernel.generation import Context, DataClass, Generation, KeyClass, Operation
from calotype.kernel.outcome import Delta, Outcome, Output, Pending, Succeeded
from calotype.providers.base import Call, Handle, Idempotency, MediaInputs, PollSchedule, unheard
from calotype.sandbox.upstream import picture_of
from calotype.settings import EngineSettings, LimitSettings, MediaSettings, PhiAgreement, ProviderSettings, Settings
from faults.invariants import broken_rules

PRICE_MICRO = 11_000
GRANT_MICRO = 1_000_000
PICTURE = Output(data=picture_of("fern"), content_type="image/png")
DONE = Succeeded((PICTURE,))

Answer = Outcome | Awaitable[Outcome]


class ShiftedClock(SystemClock):
    """The machine's clock, put forward where a test does not want to wait."""

    def __init__(self) -> None:
        self.ahead_ms = 0

    def now_ms(self) -> int:
        return super().now_ms() + self.ahead_ms


class Fake:
    """A provider that answers with what its functions return, and remembers what it was asked."""

    kind = "fake"
    media_inputs = MediaInputs.URL
    callbacks = False
    output_hosts: frozenset[str] = frozenset()

    def __init__(
        self,
        name: str = "a",
        *,
        submit: Callable[[Call], Any] = lambda call: DONE,
        poll: Callable[[Handle], Any] = lambda handle: DONE,
        cancel: Callable[[Handle], Any] = lambda handle: False,
        lookup: Callable[[Call], Any] = lambda call: None,
        idempotency: Idempotency = Idempotency.NONE,
        max_in_progress: int = 1000,
        cancellable: bool = False,
        commits: bool = True,
    ) -> None:
        self.name = name
        self.idempotency = idempotency
        self.schedule = PollSchedule(0.03, 1.2, 0.1)
        self.max_in_progress = max_in_progress
        self.cancellable = cancellable
        self.submits: list[Call] = []
        self.polls: list[Handle] = []
        self.cancels: list[Handle] = []
        self.lookups: list[Call] = []
        self._submit, self._poll, self._cancel, self._lookup = submit, poll, cancel, lookup
        self._commits = commits

    async def submit(
        self,
        call: Call,
        on_commit: Callable[[], Awaitable[None]],
        on_progress: Callable[[float], None],
        on_delta: Callable[[Delta], None] = unheard,
    ) -> Outcome:
        if self._commits:
            await on_commit()
        self.submits.append(call)
        self.on_progress = on_progress
        return await _value(self._submit(call))

    async def poll(self, handle: Handle) -> Outcome:
        self.polls.append(handle)
        return await _value(self._poll(handle))

    async def cancel(self, handle: Handle) -> bool:
        self.cancels.append(handle)
        return await _value(self._cancel(handle))

    async def lookup(self, call: Call) -> Outcome | None:
        self.lookups.append(call)
        return await _value(self._lookup(call))

    async def callback(self, headers: Mapping[str, str], body: bytes, handle: Handle, upstream_id: str) -> bool:
        return False

    async def close(self) -> None:
        return None


async def _value(answer: Any) -> Any:
    if asyncio.iscoroutine(answer) or asyncio.isfuture(answer):
        answer = await answer
    if isinstance(answer, BaseException):
        raise answer
    return answer


def in_turn(*answers: Any) -> Callable[[Any], Any]:
    """Return a function that gives the answers one after the other, the last one for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


def pending(ident: str = "u1") -> Pending:
    return Pending(handle={"id": ident}, upstream_id=ident)


CARD = """[[cards]]
id = "{id}"
title = "Fern"
operation = "text-to-image"
output = "image"
example = {{ prompt = "a fern" }}
routes = [{routes}]

[cards.input]
required = ["prompt"]
properties = {{ prompt = {{ type = "string" }}, n = {{ type = "integer", minimum = 1, maximum = 10, default = 1 }} }}
"""
ROUTE = (
    '{{ provider = "{name}", kind = "{kind}", upstream = "fern-{name}", cost = {{ unit = "image", micro = {micro} }},'
    ' cost_source = "tests" }}'
)


def card(ident: str, *providers: str, micro: int = 10_000, kind: str = "fake") -> str:
    """Write a card whose routes are tried in the order of the providers given (each a little dearer)."""
    routes = ", ".join(ROUTE.format(name=name, kind=kind, micro=micro + 100 * n) for n, name in enumerate(providers))
    return CARD.format(id=ident, routes=routes)


class Home:
    """A running application, one funded organisation and its key."""

    def __init__(self, app: App, clock: ShiftedClock, org: Organisation, key: KeyRecord) -> None:
        self.app = app
        self.clock = clock
        self.org = org
        self.key = key

    def ask(
        self,
        prompt: str = "a fern",
        *,
        model: str = "m",
        n: int = 1,
        at_once: bool = False,
        inline: bool = False,
        phi: bool = False,
        key: KeyRecord | None = None,
        org: Organisation | None = None,
        **context: Any,
    ) -> Ask:
        key = key or self.key
        about = Context(
            principal=key.principal, dialect="openai", data_class=DataClass.PHI if phi else DataClass.GENERAL, **context
        )  # fmt: skip
        return Ask(
            generation=Generation(Operation.TEXT_TO_IMAGE, model, {"prompt": prompt, "n": n}), context=about, key=key,
            org=org or self.org, operation=Operation.TEXT_TO_IMAGE, at_once=at_once,
            wants={"inline": True} if inline else {},
        )  # fmt: skip

    async def send(self, *args: Any, **kwargs: Any) -> str:
        """Accept a request and return its job's id."""
        return (await self.app.engine.accept(self.ask(*args, **kwargs))).job.id

    async def ended(self, job_id: str, within_s: float = 15) -> JobView:
        """Wait for the end of a job and return it as the table has it."""
        return await self.app.engine.wait(job_id, within_s)

    async def state(self, job_id: str) -> str:
        return (await self.app.engine.get(job_id, self.org.id)).state.value

    async def rows(self, sql: str) -> list[tuple[Any, ...]]:
        from calotype.db import Sql

        return await self.app.db.read(lambda tx: tx.rows(Sql(sql)))

    async def balance(self) -> tuple[int, int]:
        found = await self.app.ledger.balance(self.org.id)
        return found.posted_micro, found.held_micro

    async def tenant(self, name: str, micro: int = GRANT_MICRO, **key: Any) -> tuple[Organisation, KeyRecord]:
        """Make another organisation with a key of its own."""
        org = await self.app.accounts.create_org(name)
        record, _ = await self.app.accounts.create_key(org.id, name="jobs", key_class=KeyClass.PAID, **key)
        if micro:
            await self.app.ledger.credit(org.id, micro)
        return org, record

    async def check(self) -> None:
        """Check every rule that holds of any database at any moment."""
        assert await self.app.db.read(broken_rules, snapshot=True) == []


@contextlib.asynccontextmanager
async def at_home(
    url: str,
    folder: Path,
    *fakes: Fake,
    cards: str | None = None,
    phi: tuple[str, ...] = (),
    works: bool = True,
    engine: dict[str, Any] | None = None,
    media: dict[str, Any] | None = None,
    limits: dict[str, Any] | None = None,
    clock: ShiftedClock | None = None,
    name: str = "home",
) -> AsyncIterator[Home]:
    """Run the application on a database; with `works` off nobody claims what is accepted."""
    (folder / "cards").mkdir(exist_ok=True)
    (folder / "cards" / "cards.toml").write_text(cards or card("m", *(fake.name for fake in fakes)))
    agreement = PhiAgreement(reference="tests", expires=date(2999, 1, 1))
    settings = Settings(
        data_dir=folder / name,
        database_url=url,
        cards_dir=folder / "cards",
        providers={
            one.name: ProviderSettings(kind="fake", phi=agreement if one.name in phi else None) for one in fakes
        },
        engine=EngineSettings(**({"lease_s": 1.0, "ambiguous_grace_s": 600.0} | (engine or {}))),
        media=MediaSettings(**(media or {})),
        limits=LimitSettings(**(limits or {})),
    )
    clock = clock or ShiftedClock()
    app = App(settings, clock=clock, runtimes={fake.name: fake for fake in fakes})
    await (app.start() if works else app.open())
    try:
        org = await app.accounts.get_org("default")
        keys = await app.accounts.list_keys(org.id)
        if not keys:
            await app.accounts.create_key(name="jobs", key_class=KeyClass.PAID)
            await app.ledger.credit(org.id, GRANT_MICRO)
            keys = await app.accounts.list_keys(org.id)
        yield Home(app, clock, org, keys[0])
    finally:
        await (app.stop() if works else app.shut())


async def until(true: Callable[[], Any], within_s: float = 15) -> None:
    """Wait for something to become true."""
    end = time.monotonic() + within_s
    while True:
        found = true()
        if asyncio.iscoroutine(found):
            found = await found
        if found:
            return
        assert time.monotonic() < end, f"it did not happen within {within_s} s"
        await asyncio.sleep(0.01)
