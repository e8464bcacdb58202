"""A house whose every provider is emulated on this machine, for as long as a check takes."""

import asyncio
import base64
import contextlib
import os
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from calotype.accounts.types import KeyRecord, Organisation
from calotype.app import App, catalog_of
from calotype.catalog import Card
from calotype.cli.checking.cases import SAMPLES, Case, cases_of, catalog_for, hosted
from calotype.cli.checking.verdicts import Finding, judged
from calotype.cli.demo import portrait
from calotype.db import Sql
from calotype.jobs.intake import Ask
from calotype.jobs.types import JobView
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Context, Generation, KeyClass, Operation
from calotype.kernel.money import MICRO, usd
from calotype.kernel.outcome import Delta
from calotype.ledger.verify import verify
from calotype.providers.available import MODELS_FOLDER
from calotype.providers.base import PollSchedule
from calotype.providers.registry import LOCAL
from calotype.providers.workers.crew import FLEETS
from calotype.providers.workers.loras import name_of
from calotype.routing.rules import how_to_have
from calotype.sandbox.base import Emulator
from calotype.sandbox.library import Library
from calotype.sandbox.media import png
from calotype.sandbox.serve import EMULATORS, ON_REQUEST, serve
from calotype.settings import (
    EngineSettings,
    ProviderSettings,
    SecuritySettings,
    Settings,
    WorkerSettings,
    settings_from,
)

AT_ONCE = 32
AT_ONE_KIND = 16
"""How many runs at once are kind to the machine, and to upstreams that limit how many they take."""
RUN_S = 120.0
"""The longest one run may take, its turn in a queue included."""
FUNDS_MICRO = 1_000_000 * MICRO
SOON = PollSchedule(first_s=0.05, factor=1.5, max_s=0.5)
PROMPT = {"polls": 1, "nulls": 0}
"""Settings of emulators that let work end at the first look."""
FACE, SMALL = "portrait.png", "small.png"
LORA = f"{SAMPLES}style.safetensors"
"""What examples name; once it is in the shared folder a worker lists it."""
_ERRORS = Sql("SELECT error FROM submission WHERE job_id = :job AND error IS NOT NULL ORDER BY attempt DESC")


class Rehearsal:
    """The house, the account that asks, what there is to run (`cases`) and what must be refused (`gone`)."""

    def __init__(
        self, app: App, emulators: Collection[Emulator], library: Library, cases: Sequence[Case], gone: Sequence[Card]
    ) -> None:
        self.app = app
        self.cases = cases
        self.gone = gone
        self._emulators = emulators
        self._library = library
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._turns_of = {case.route.kind: asyncio.Semaphore(AT_ONE_KIND) for case in cases}
        self._keys: dict[KeyClass, KeyRecord] = {}
        self._org: Organisation | None = None

    async def begin(self) -> None:
        """Open the account."""
        self._org = await self.app.accounts.create_org("models-check")
        for key_class in (KeyClass.PAID, KeyClass.TEST):
            self._keys[key_class] = (
                await self.app.accounts.create_key(self._org.id, name=key_class.value, key_class=key_class)
            )[0]
        await self.app.ledger.credit(self._org.id, FUNDS_MICRO)

    async def run(self, done: Callable[[Finding], None]) -> None:
        """Run everything, some at once; `done` is told of each.

        Those that take long are first, so that the others fill the pauses.
        """

        async def one(case: Case) -> None:
            done(await self._found(case))

        for card in self.gone:
            done(await self._refused(card))
        async with asyncio.TaskGroup() as group:
            for case in self.cases:
                group.create_task(one(case))

    async def books(self, findings: Iterable[Finding]) -> list[Finding]:
        """Check what all runs left: the ledger adds up and nothing is held; each asked its upstream for money once."""
        assert self._org is not None
        balance = await self.app.ledger.balance(self._org.id)
        verdict = await self.app.db.read(verify)
        why = "" if verdict.ok else f"the ledger differs: {verdict.differences[0]}"
        ran = [found for found in findings if found.seconds is not None]
        charged, taken = sum(found.charged_micro or 0 for found in ran), FUNDS_MICRO - balance.posted_micro
        if balance.held_micro:
            why = f"{usd(balance.held_micro)} are still held"
        elif charged != taken and all(found.state == "ok" for found in ran):
            why = f"{usd(taken)} left the account, but the jobs were charged {usd(charged)}"
        found = [Finding("(ledger)", "failed" if why else "ok", why, charged_micro=taken)]
        asked = sum(one.state == "ok" and one.provider != LOCAL for one in ran)
        paid = sum(len(emulator.submits) for emulator in self._emulators)
        if all(one.state == "ok" for one in ran):
            why = "" if paid == asked else f"{asked} runs sent {paid} paid requests"
            found.append(Finding("(paid requests)", "failed" if why else "ok", why))
        return found

    async def _found(self, case: Case) -> Finding:
        if (why := self._left_out(case)) is not None:
            return Finding(case.card.id, "skipped", why, case.operation.value, case.route.provider, case.route.upstream)
        async with self._turns_of[case.route.kind], self._turns:
            began_s = time.monotonic()
            pieces: list[Delta] = []
            try:
                async with asyncio.timeout(RUN_S):
                    view = await self._job(case, pieces)
            except Problem as problem:
                return self._failed(case, f"{problem.code.value}: {problem.message}")
            except TimeoutError:
                return self._failed(case, f"it had not ended after {RUN_S:.0f} s")
            seconds = time.monotonic() - began_s
        rows = await self.app.db.read(lambda tx: tx.rows(_ERRORS, {"job": view.id}))
        detail = rows[0][0] if rows else ""
        return judged(case, view, self.app.catalog.pricing, seconds=seconds, pieces=pieces, detail=detail)

    async def _refused(self, card: Card) -> Finding:
        """Ask for a retired model: 410 with what to use instead, before any money is held."""
        operation = card.operations[0]
        try:
            await self.app.engine.accept(self._ask(operation, card.id, card.example, KeyClass.PAID))
        except Problem as problem:
            if problem.code is Code.MODEL_RETIRED and problem.data.get("replacement") == card.replacement:
                return Finding(card.id, "ok", problem.message, operation.value)
            return Finding(card.id, "failed", f"refused as {problem.code.value}: {problem.message}", operation.value)
        return Finding(card.id, "failed", "it is retired and was accepted", operation.value)

    async def _job(self, case: Case, pieces: list[Delta]) -> JobView:
        ask = self._ask(
            case.operation, case.only.id, case.fields, case.key_class,
            at_once=case.route.kind not in FLEETS,  # those wait for a worker
            listen=case.listen,
        )  # fmt: skip
        async for found in self.app.engine.follow(await self.app.engine.accept(ask)):
            if isinstance(found, JobView):
                return found
            pieces.append(found)
        raise RuntimeError("a job that is followed comes to an end")

    def _ask(
        self, operation: Operation, model: str, fields: dict[str, Any], key_class: KeyClass, *,
        at_once: bool = True, listen: bool = False,
    ) -> Ask:  # fmt: skip
        assert self._org is not None
        key = self._keys[key_class]
        generation = Generation(operation, model, hosted(fields, self._library.url))
        context = Context(key.principal, "check", allow_preview=True)
        return Ask(generation, context, key, self._org, operation, at_once=at_once, listen=listen)

    def _left_out(self, case: Case) -> str | None:
        route = case.route
        if route.provider not in self.app.runtimes:
            return f"no emulator speaks as {route.kind} does"
        lacks = route.lacks(self.app.available)
        return f"not here: {', then '.join(map(how_to_have, lacks))}" if lacks else None

    def _failed(self, case: Case, why: str) -> Finding:
        why = why.replace(case.only.id, case.card.id)
        return Finding(case.card.id, "failed", why, case.operation.value, case.route.provider, case.route.upstream)


@contextlib.asynccontextmanager
async def rehearsal(settings: Settings, cards: Sequence[Card]) -> AsyncIterator[Rehearsal]:
    """Start an emulator of every upstream and a house that is led to them, in a folder that is removed again.

    Of the operator's settings only those count that say what there is and what it costs: cards, prices, instances of
    providers, pipelines. `cards` are those to run, as they are in force under these settings.
    """
    library = Library({FACE: base64.b64decode(portrait().partition(",")[2]), SMALL: png(64, 64, SMALL)})
    names = sorted(EMULATORS.keys() - ON_REQUEST)
    async with contextlib.AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="calotype-check-")))
        emulators = await stack.enter_async_context(serve(names, [0] * len(names)))
        await library.start()
        stack.push_async_callback(library.stop)
        for emulator in emulators.values():
            emulator.settings |= {name: value for name, value in PROMPT.items() if name in emulator.settings}
        emulators["comfyui"].act(f"add_model loras/{name_of(hosted(LORA, library.url))}")
        named = {route.provider: route.kind for card in cards for route in card.routes}
        there = emulated(settings, folder, emulators.values(), library, named)
        own = catalog_of(there)
        wanted = [card for card in map(own.get, [card.id for card in cards]) if card is not None]
        cases = cases_of(wanted)
        app = App(there, catalog=catalog_for(own, cases))
        pauses = {name: runtime.schedule.first_s for name, runtime in app.runtimes.items()}
        cases = tuple(sorted(cases, key=lambda case: -pauses.get(case.route.provider, 0.0)))
        for name, runtime in app.runtimes.items():
            if name != LOCAL:
                runtime.schedule = SOON
        await app.start()
        stack.push_async_callback(app.stop)
        found = Rehearsal(
            app, tuple(emulators.values()), library, cases, [card for card in wanted if card.status == "retired"]
        )
        await found.begin()
        yield found


def emulated(
    settings: Settings, folder: Path, emulators: Iterable[Emulator], library: Library, named: Mapping[str, str]
) -> Settings:
    """Return settings of a house in that folder whose providers all lead to emulators.

    Those are the usual ones, the operator's own, and what cards name beside them (`named`: provider and kind).
    """
    variables = {name: value for emulator in emulators for name, value in emulator.environment().items()}
    weights = settings.data_dir / MODELS_FOLDER
    if weights.is_dir():
        (folder / MODELS_FOLDER).symlink_to(weights.absolute())
    loras = folder / "loras"
    loras.mkdir()
    with settings_from(variables):
        plain = Settings(
            data_dir=folder, cards_dir=settings.cards_dir, margin_bps=settings.margin_bps, local=settings.local,
            credit_micro=settings.credit_micro, prices=settings.prices,
            engine=EngineSettings(worker_processes=os.cpu_count() or 1),
            security=SecuritySettings(allowed_private_hosts=[library.url.partition("://")[2]]),
        )  # fmt: skip
    providers = dict(plain.providers)
    workers = {name: worker.model_copy(update={"loras_dir": loras}) for name, worker in plain.workers.items()}
    like = {provider.kind or name: provider for name, provider in reversed(plain.providers.items())}
    kinds = {**named, **{name: provider.kind or name for name, provider in settings.providers.items()}}
    for name, kind in kinds.items():
        models = settings.providers[name].models if name in settings.providers else {}
        if name in providers:
            providers[name] = providers[name].model_copy(update={"models": {**providers[name].models, **models}})
        elif kind in like:
            providers[name] = like[kind].model_copy(update={"kind": kind, "models": models})
        elif kind in FLEETS and kind in workers and name != kind:
            providers[name] = ProviderSettings(kind=kind, models=models)
            workers[f"{kind}-{name}"] = _belonging(workers[kind], name)
    return plain.model_copy(update={"providers": providers, "workers": workers})


def _belonging(worker: WorkerSettings, provider: str) -> WorkerSettings:
    return worker.model_copy(update={"provider": provider})
