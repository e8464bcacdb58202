"""The door of the waist: a request is taken in one commit, or refused before a byte leaves.

Accept decides everything first (policy, routes, input, price, idempotency, funds) and commits it. A synchronous call
is the same job, run at once by the process that accepted it.
"""

import asyncio
from collections.abc import Container
from typing import Any

from msgspec import Struct

from calotype.accounts.types import KeyRecord, Organisation
from calotype.catalog import Card, Catalog, Route, quote
from calotype.db import Database
from calotype.events.bus import Bus
from calotype.jobs.accept import Accept, Accepted
from calotype.jobs.backlog import Backlog
from calotype.jobs.feed import Feed, Listener
from calotype.jobs.inputs import InputFiles, check_phi_files
from calotype.jobs.runner import Runner
from calotype.jobs.types import FrozenRoute, JobPlan, JobRow, JobView
from calotype.jobs.views import ViewLoader
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Context, DataClass, Generation, KeyClass, Operation
from calotype.kernel.ids import InstanceId, JobId, new_job_id
from calotype.kernel.job import JobState
from calotype.providers.base import Runtime
from calotype.routing import plan
from calotype.settings import Settings

ROUNDS_AT_ONCE = 2
ROUNDS_QUEUED = 5
"""A caller who waits is told soon that nobody takes the job; a queued job has the patience of about half a minute."""
READERS = (Operation.TRANSCRIPTION, Operation.OCR)
"""What takes files of PHI requests: their results are words alone."""
MAX_TAGS = 20
MAX_TAG_CHARS = 200


class Ask(Struct, frozen=True):
    """A request as a dialect hands it in: what, under which rules, by whom, and how it wants its answer.

    `at_once` runs the job in this process without a turn in the queue. `known_fields` are those the dialect has a
    meaning for: one the model does not take is dropped with a warning, any other unknown field is refused. `wants` is
    the dialect's own note to itself; `wants["inline"]` asks for the outputs' bytes in the answer. `listen` asks for the
    pieces of the result as they come (`Engine.follow`). `wants["fleeting"]` asks not to store the outputs, whose bytes
    are answered directly, while the caller waits for them in this process; `wants["session"]` names the realtime
    session that it is a frame of. `rounds` is how often the routes are walked while none takes the job; None leaves
    that to the house.
    """

    generation: Generation
    context: Context
    key: KeyRecord
    org: Organisation
    operation: Operation
    at_once: bool = True
    known_fields: frozenset[str] = frozenset()
    wants: dict[str, Any] = {}
    listen: bool = False
    rounds: int | None = None


class Ticket(Struct, frozen=True):
    """An accepted request: its job, whether it was joined to an earlier one, and the work if it runs right here."""

    job: JobRow
    joined: bool
    memory_id: str | None
    task: "asyncio.Task[JobView | None] | None" = None
    listener: Listener | None = None


class Intake:
    """Accepts requests and starts their jobs."""

    def __init__(
        self,
        db: Database,
        clock: Clock,
        *,
        instance: InstanceId,
        settings: Settings,
        catalog: Catalog,
        runtimes: dict[str, Runtime],
        available: Container[str],
        inputs: InputFiles,
        backlog: Backlog,
        runner: Runner,
        payloads: dict[JobId, dict[str, Any]],
        views: ViewLoader,
        feed: Feed,
        bus: Bus,
    ) -> None:
        self._db = db
        self._clock = clock
        self._instance = instance
        self._settings = settings
        self._catalog = catalog
        self._runtimes = runtimes
        self._available = available
        self._inputs = inputs
        self._backlog = backlog
        self._runner = runner
        self._payloads = payloads
        self._views = views
        self._feed = feed
        self._bus = bus

    async def accept(self, ask: Ask) -> Ticket:
        """Take a request or refuse it; nothing has left the machine and nothing is charged when this raises.

        Raises:
            Problem: any refusal of the surface contract.

        """
        generation, context = ask.generation, ask.context
        now_ms = self._clock.now_ms()
        where = plan(
            self._catalog, generation.model, context, ask.key, ask.org, available=self._available, now_ms=now_ms,
            operation=ask.operation, fields=generation.input, strict_residency=self._settings.strict_residency,
        )  # fmt: skip
        card = where.card
        given, ignored = _fitting(generation.input, card, ask.known_fields)
        checked = card.check(given)
        media = {name: kind for name, kind in card.schema.media.items() if name in checked.input}
        if media or "messages" in checked.input:
            self._inputs.check(checked.input, media)
        phi = where.data_class is DataClass.PHI
        if phi:
            self._check_phi(ask, checked.input, media)
        price = quote(card, where.routes[0], checked.input, self._catalog.pricing)
        _check_tags(context)
        self._backlog.check(ask.org.id)
        metered = ask.key.key_class is KeyClass.PAID
        job_plan = JobPlan(
            routes=tuple(_frozen(route) for route in where.routes),
            quote=price,
            media_fields=media,
            warnings=context.warnings + where.warnings + ignored + checked.warnings,
            label=card.label,
            metered=metered,
            request_id=context.request_id,
            media_s=context.retention.media_s,
            store_payload=context.retention.store_payload,
            acl=context.retention.acl,
            output=card.output,
            rounds=ask.rounds or (ROUNDS_AT_ONCE if ask.at_once else ROUNDS_QUEUED),
            wants=ask.wants,
        )
        provider = where.routes[0].provider
        inline = ask.at_once and self._has_room(provider)
        fields = checked.input
        if media and not phi:
            fields = await self._inputs.shelve(fields, media, ask.org.id)
        job_id = new_job_id()
        lease_ms = self._runner.lease_ms
        accept = Accept(
            job_id=job_id, org_id=ask.org.id, key_id=ask.key.id, dialect=context.dialect, operation=ask.operation,
            model=card.id, data_class=where.data_class, region=where.region, priority=max(-1, min(1, context.priority)),
            plan=job_plan, input=None if phi else fields, hold_micro=price.hold_micro if metered else 0,
            instance=self._instance, inline=inline, mine=phi, now_ms=now_ms, lease_ms=lease_ms,
            deadline_at_ms=now_ms + int(max(self._settings.engine.job_deadline_s, card.deadline_s or 0) * 1000),
            idempotency_key=context.idempotency_key, fingerprint=context.fingerprint, retry=context.retry,
            budget_id=ask.key.budget_id, spend_cap_micro=ask.key.spend_cap_micro, max_open_jobs=ask.key.max_in_progress,
            webhook_url=None if context.webhook is None else context.webhook.url, customer=context.customer,
            tags=context.tags or None,
        )  # fmt: skip
        committed = asyncio.ensure_future(self._db.submit(accept))
        self._backlog.began(ask.org.id)
        if phi:
            self._payloads[job_id] = fields
        try:
            answer = await asyncio.shield(committed)
        except asyncio.CancelledError:  # the caller is gone, the job is not: it begins as soon as it is durable
            committed.add_done_callback(lambda future: self._begin_unasked(future, accept, fields))
            raise
        except BaseException:
            self._drop(accept)
            raise
        if answer.joined:
            self._drop(accept)
            view = await self._views.load(answer.job_id)
            if view is None:
                raise Problem(Code.JOB_NOT_FOUND, "The job of this request is gone.")
            return Ticket(view.job, joined=True, memory_id=accept.memory_id)
        return self._begin(accept, fields, pieces=ask.listen, end=self._may_be_here_alone(ask))

    def _begin(self, accept: Accept, fields: dict[str, Any], *, pieces: bool = False, end: bool = False) -> Ticket:
        """Start a job that was just committed: at once in this process, or by waking the runner."""
        job = _row(accept, fields)
        listener = self._feed.listen(job.id, pieces=pieces) if pieces or end else None
        if accept.inline or accept.mine:
            task = self._runner.launch(job, recorded=accept.inline)
            return Ticket(job, joined=False, memory_id=accept.memory_id, task=task, listener=listener)
        self._bus.due()
        return Ticket(job, joined=False, memory_id=accept.memory_id, listener=listener)

    def _may_be_here_alone(self, ask: Ask) -> bool:
        """Say whether the result may be handed to its caller without being stored."""
        passed_on = ask.at_once and self._settings.media.rehost != "always" and bool(ask.wants.get("inline"))
        return passed_on or bool(ask.wants.get("fleeting"))

    def _begin_unasked(self, committed: "asyncio.Future[Accepted]", accept: Accept, fields: dict[str, Any]) -> None:
        if not committed.cancelled() and committed.exception() is None and not committed.result().joined:
            self._begin(accept, fields)
        else:
            self._drop(accept)

    def _drop(self, accept: Accept) -> None:
        """Forget a request that made no job."""
        self._payloads.pop(accept.job_id, None)
        self._backlog.ended(accept.org_id)

    def _has_room(self, provider: str) -> bool:
        runtime = self._runtimes.get(provider)
        if runtime is None or len(self._runner.active) >= self._settings.engine.steps_in_progress * 4:
            return False
        return self._runner.has_room(provider, runtime.max_in_progress)

    def _check_phi(self, ask: Ask, fields: dict[str, Any], media: dict[str, str]) -> None:
        if not ask.at_once or not ask.wants.get("inline"):
            raise Problem(
                Code.PHI_BLOCKED,
                "PHI results are only answered directly and never stored: ask for response_format b64_json.",
                field="response_format",
            )
        if media and ask.operation not in READERS:
            raise Problem(Code.PHI_BLOCKED, "Files are not accepted with PHI requests.", field=next(iter(media)))
        check_phi_files(fields, media)
        if ask.context.webhook is not None:
            raise Problem(Code.PHI_BLOCKED, "Webhooks are not sent for PHI requests.", field="webhook_url")


_frozen_routes: dict[int, tuple[Route, FrozenRoute]] = {}


def _frozen(route: Route) -> FrozenRoute:
    """Freeze a route once; cards are immutable, so the same object always freezes to the same value."""
    known = _frozen_routes.get(id(route))
    if known is None or known[0] is not route:
        frozen = FrozenRoute(
            route.provider,
            route.upstream,
            fields=route.fields,
            constants=route.constants,
            streams=route.streams,
            realtime=route.realtime,
        )
        known = _frozen_routes[id(route)] = (route, frozen)
    return known[1]


def _fitting(fields: dict[str, Any], card: Card, known: frozenset[str]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Give fields the model's own names, drop those the dialect knows but the model does not take, and say so."""
    fields = card.schema.renamed(fields)
    unfit = [name for name in fields if name not in card.fields and name in known]
    if not unfit:
        return fields, ()
    kept = {name: value for name, value in fields.items() if name not in unfit}
    return kept, tuple(f"{name} has no effect on {card.id} and was ignored" for name in unfit)


def _check_tags(context: Context) -> None:
    if len(context.tags) > MAX_TAGS:
        raise Problem(Code.INVALID_INPUT, f"At most {MAX_TAGS} tags may be given.", field="X-Calotype-Tags")
    for name, value in context.tags.items():
        if not name or len(name) > MAX_TAG_CHARS or len(value) > MAX_TAG_CHARS:
            raise Problem(
                Code.INVALID_INPUT, f"A tag's name and value have 1 to {MAX_TAG_CHARS} characters.",
                field="X-Calotype-Tags",
            )  # fmt: skip
    if context.customer is not None and len(context.customer) > MAX_TAG_CHARS:
        raise Problem(
            Code.INVALID_INPUT, f"The customer has at most {MAX_TAG_CHARS} characters.", field="X-Calotype-Customer"
        )


def _row(accept: Accept, fields: dict[str, Any]) -> JobRow:
    """Return the row that was just committed, without reading it back."""
    held = accept.inline or accept.mine
    return JobRow(
        id=accept.job_id, org_id=accept.org_id, key_id=accept.key_id,
        state=JobState.SUBMITTING if accept.inline else JobState.QUEUED, dialect=accept.dialect,
        operation=accept.operation, model=accept.model, data_class=accept.data_class, region=accept.region,
        priority=accept.priority, plan=accept.plan, input=fields if accept.input is not None else None,
        provider=accept.plan.routes[0].provider, route=0, attempt=1 if accept.inline else 0, outcome=None, result=None,
        error=None, progress=0, cancel_requested=False, lease_by=accept.instance if held else None,
        lease_n=1 if held else 0, next_at_ms=accept.now_ms + accept.lease_ms if held else accept.now_ms,
        deadline_at_ms=accept.deadline_at_ms, webhook_url=accept.webhook_url, customer=accept.customer,
        tags=accept.tags, quote_micro=accept.plan.quote.hold_micro, charged_micro=None,
        created_at_ms=accept.now_ms, started_at_ms=accept.now_ms if accept.inline else None, finished_at_ms=None,
    )  # fmt: skip
