"""The composition root: builds every part of the house and hands it its neighbours."""

import asyncio
import contextlib
import fcntl
import json
import os
from collections.abc import Awaitable, Callable
from typing import IO, Any

import structlog

from calotype import __version__
from calotype.accounts import Accounts
from calotype.catalog import Catalog
from calotype.catalog.synced import pricing_of
from calotype.catalog.templates import Templates
from calotype.db import Database, Sql, Store
from calotype.db.schema import bring_up
from calotype.desks import content_desk, fal_desk, image_desk, jobs_desk, openai_desk
from calotype.dialects.content import ContentDialect
from calotype.dialects.content import hooks as content_hooks
from calotype.dialects.door import Door
from calotype.dialects.fal import FalDialect
from calotype.dialects.fal.hooks import FalHooks, HookKeys
from calotype.dialects.image import ImageDialect
from calotype.dialects.image import hooks as image_hooks
from calotype.dialects.jobs import JobsDialect
from calotype.dialects.jobs import statuses as jobs_statuses
from calotype.dialects.openai import OpenAIDialect
from calotype.dialects.openai.hooks import renderer
from calotype.docs import documents
from calotype.events.bus import open_bus
from calotype.http import Guard
from calotype.jobs.aside import Aside
from calotype.jobs.backlog import Backlog
from calotype.jobs.callbacks import Callbacks
from calotype.jobs.delivery import Deliverer
from calotype.jobs.engine import Engine, table_cost
from calotype.jobs.feed import Feed
from calotype.jobs.finish import Finisher
from calotype.jobs.forget import forget_due
from calotype.jobs.inputs import InputFiles
from calotype.jobs.intake import Intake
from calotype.jobs.owed import Owed
from calotype.jobs.reconcile import Reconciler
from calotype.jobs.rows import Rows
from calotype.jobs.runner import Runner
from calotype.jobs.step import Stepper
from calotype.jobs.types import FrozenRoute, JobView
from calotype.jobs.views import ViewLoader
from calotype.kernel.clock import Clock, SystemClock
from calotype.kernel.ids import InstanceId, uuid7
from calotype.ledger.ledger import Ledger
from calotype.media.acl import Acls
from calotype.media.backends import open_store
from calotype.media.inputs import Inputs
from calotype.media.secrets import Secrets
from calotype.media.serve import MediaEndpoint
from calotype.media.signing import Signer
from calotype.media.store import StoreError
from calotype.media.sweep import sweep
from calotype.media.uploads import Uploads
from calotype.providers.available import MODELS_FOLDER, Available
from calotype.providers.base import Runtime
from calotype.providers.local.diffusion import pipeline_cards
from calotype.providers.registry import build_runtimes
from calotype.providers.workers.crew import Crew
from calotype.server import Server
from calotype.settings import Settings
from calotype.telemetry import Metrics
from calotype.webhooks import Deliverer as WebhookDeliverer
from calotype.webhooks import WebhookSigner
from calotype.webhooks.receive import CallbackEndpoint

log = structlog.get_logger(__name__)

SWEEP_EVERY_S = 300.0
ORPHANS_EVERY = 288
STOP_GRACE_S = 10.0
_ONE = Sql("SELECT 1")


class EngineRunning(RuntimeError):  # noqa: N818  (names the situation)
    """Another process already runs the engine of this data directory."""


class App:
    """A running Calotype: the parts that commands and tests reach for, and their common life."""

    def __init__(
        self,
        settings: Settings,
        *,
        clock: Clock | None = None,
        runtimes: dict[str, Runtime] | None = None,
        catalog: Catalog | None = None,
    ) -> None:
        self.settings = settings
        self.clock = clock or SystemClock()
        self.instance = InstanceId(uuid7())
        settings.data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
        self.secrets = Secrets(settings.data_dir, _overrides(settings))
        self.metrics = Metrics()
        self.db = Database(settings.database)
        self.store = open_store(settings)
        self.accounts = Accounts(self.db, self.clock)
        self.ledger = Ledger(self.db, self.clock)
        self.catalog = catalog or catalog_of(settings)
        scratch = self.store.temp_path().parent
        self.guard = Guard(settings.security.allowed_private_hosts)
        self.crew = Crew(
            settings, self.db, self.clock, secrets=self.secrets.get("worker_auth"), guard=self.guard,
            templates=Templates.load(settings.cards_dir), scratch_dir=scratch,
        )  # fmt: skip
        self._crewed = runtimes is None
        self.runtimes: dict[str, Runtime] = runtimes or {
            **build_runtimes(settings, scratch_dir=scratch), **self.crew.runtimes,
        }  # fmt: skip
        self.available = Available(self.runtimes, settings.data_dir / MODELS_FOLDER, empty=self.crew.empty)
        self.bus = open_bus(settings.database)
        self.signer = Signer(self.secrets.get("url_signing"))
        self._guards = {name: _guard_for(settings, runtime) for name, runtime in self.runtimes.items()}
        self.uploads = Uploads(
            self.db, self.store, max_bytes=settings.media.max_upload_bytes,
            retention_s=settings.media.upload_retention_s, clock=self.clock,
        )  # fmt: skip
        self.acls = Acls(self.db, self.clock)
        inputs = Inputs(
            self.store, self.guard, self.uploads, self.signer, max_bytes=settings.media.max_input_bytes,
            timeout_s=settings.media.download_timeout_s, public_url=settings.public_url, clock=self.clock,
            acls=self.acls,
        )  # fmt: skip
        self.inputs = InputFiles(inputs, self.uploads, self.store)
        self.feed = Feed()
        results = Uploads(
            self.db, self.store, max_bytes=settings.media.max_output_bytes, retention_s=settings.media.retention_s,
            clock=self.clock,
        )  # fmt: skip
        self.aside = Aside(results, self.store)
        self.deliverer = Deliverer(
            self.store, settings.media, self._guard_of, self.feed.awaited, aside=self.aside
        )  # fmt: skip
        owed, self.backlog = Owed(self.clock, self.instance), Backlog(settings.limits)
        rows = Rows(self.db, self.clock, bus=self.bus, owed=owed, lease_s=settings.engine.lease_s, on_end=self._ended)
        self.callbacks = Callbacks(self.secrets.get("url_signing"), settings.public_url, lambda: self.base_url)
        finish = Finisher(
            self.clock, self.runtimes, deliverer=self.deliverer, rows=rows, lease_s=settings.engine.lease_s,
            table_cost=self._table_cost,
        )  # fmt: skip
        self.stepper = Stepper(
            self.db, self.clock, self.instance, self.runtimes, inputs=self.inputs, bus=self.bus,
            settings=settings.engine, rows=rows, finish=finish, feed=self.feed, callback_url=self.callbacks.url,
        )  # fmt: skip
        self.runner = Runner(
            self.db, self.clock, self.instance, stepper=self.stepper, bus=self.bus, settings=settings.engine,
            caps=lambda: {name: runtime.max_in_progress for name, runtime in self.runtimes.items()},
            cancellable=self._cancellable,
        )  # fmt: skip
        self.reconciler = Reconciler(self.db, self.clock, self.instance, owed, self.backlog)
        views = ViewLoader(self.db, self.aside)
        intake = Intake(
            self.db, self.clock, instance=self.instance, settings=settings, catalog=self.catalog,
            runtimes=self.runtimes, available=self.available, inputs=self.inputs, backlog=self.backlog,
            runner=self.runner, payloads=self.stepper.payloads, views=views, feed=self.feed, bus=self.bus,
        )  # fmt: skip
        self.engine = Engine(
            self.db, self.clock, intake=intake, views=views, limits=settings.limits, store=self.store,
            runner=self.runner, progress=self.stepper.progress, feed=self.feed, reconciler=self.reconciler,
            bus=self.bus, on_end=self._ended,
        )  # fmt: skip
        self.door = Door(self.accounts, settings.limits, self.guard, self.secrets.get("fingerprint")[0])
        self.asgi = self._server()
        self.url: str | None = None
        self._lock: IO[str] | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._started = False

    def _server(self) -> Server:
        settings = self.settings
        hook_keys = HookKeys(self.secrets.get("webhook_signing"))
        media = MediaEndpoint(
            self.store, self.signer, self.clock, presign_s=settings.media.redirect_s, acls=self.acls,
            reader=self.door.reader,
        )  # fmt: skip
        desk, fal, jobs = openai_desk(self), fal_desk(self, hook_keys, media), jobs_desk(self)
        pictures, contents = image_desk(self), content_desk(self)
        self.webhooks = WebhookDeliverer(
            self.db, self.clock, self.instance, guard=self.guard, settings=settings.webhooks, metrics=self.metrics,
            aside=self.aside, signer=WebhookSigner(self.secrets.get("webhook_signing")),
            renderers={
                "openai": renderer(lambda: desk.urls(self.base_url)),
                "jobs": jobs_statuses.renderer(lambda: jobs.urls(self.base_url)),
                "image": image_hooks.renderer(pictures, lambda: self.base_url),
                "content": content_hooks.renderer(contents, lambda: self.base_url),
            },
            styles={"fal": FalHooks(hook_keys, lambda: fal.urls(self.base_url))},
        )  # fmt: skip
        self.crew.watch(self.metrics)
        self.metrics.watch("calotype_jobs_active", "Jobs this process works on.", lambda: self.engine.load["active"])
        self.metrics.watch(
            "calotype_writes_waiting", "Commands waiting for the writer.", lambda: self.db.writer.waiting
        )
        self.metrics.watch("calotype_write_batches_total", "Committed batches.", lambda: self.db.writer.batches)
        self.metrics.watch("calotype_write_commands_total", "Committed commands.", lambda: self.db.writer.commands)
        return Server(
            openai=OpenAIDialect(desk), fal=FalDialect(fal), jobs=JobsDialect(jobs),
            image=ImageDialect(pictures), content=ContentDialect(contents),
            callbacks=CallbackEndpoint(
                self.db, self.clock, callbacks=self.callbacks, runtimes=self.runtimes, bus=self.bus
            ),
            media=media,
            metrics=self.metrics, ready=self.problems,
            documents=lambda: documents(self.catalog, version=__version__, url=self.base_url),
            cors_origins=settings.security.cors_origins, start=self.start, stop=self.stop,
        )  # fmt: skip

    # -- life ------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Bring the database up to date, take the engine's lock and begin to work.

        Raises:
            EngineRunning: another process runs this data directory.

        """
        self._take_lock()
        await asyncio.to_thread(bring_up, self.settings.database)
        self.db.start()
        self._started = True
        await self.accounts.start()
        await self.bus.start()
        if self._crewed:
            await self.crew.start()
        alone = self.db.store is Store.SQLITE
        if alone:  # what lies in the temporary folder is a dead process's
            await self.store.sweep_temp(self.clock.now_ms())
        await self.reconciler.start(alone=alone)
        await self.runner.start(alone=alone)
        await self.webhooks.start(alone=alone)
        self._tasks = [
            asyncio.create_task(self.accounts.refresh_forever()),
            asyncio.create_task(self._sweep_forever()),
        ]
        log.info("started", version=__version__, instance=self.instance, store=self.db.store.value)

    async def stop(self) -> None:
        """Finish the work in hand within a grace, then let everything go."""
        if not self._started:
            return
        self._started = False
        await self.runner.stop(STOP_GRACE_S)
        await self.webhooks.stop()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self.reconciler.stop()
        await self.bus.close()
        for runtime in self.runtimes.values():
            await runtime.close()
        for guard in (self.guard, *self._guards.values()):
            await guard.close()
        await self.store.close()
        await asyncio.to_thread(self.db.close)
        self._release_lock()
        log.info("stopped")

    async def open(self) -> None:
        """Open only the database, for commands that run beside a server."""
        await asyncio.to_thread(bring_up, self.settings.database)
        self.db.start()
        await self.accounts.start()

    async def shut(self) -> None:
        """Close what `open` opened."""
        await self.store.close()
        await asyncio.to_thread(self.db.close)

    def announce(self, url: str) -> None:
        """Leave the running server's address beside its lock, so that commands on this machine find it."""
        self.url = url
        path = self.settings.data_dir / "engine.json"
        temporary = path.with_suffix(".tmp")
        temporary.write_text(json.dumps({"url": url, "pid": os.getpid(), "instance": self.instance}))
        temporary.chmod(0o600)
        temporary.replace(path)

    def _take_lock(self) -> None:
        path = self.settings.data_dir / "engine.lock"
        lock = path.open("a+")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            lock.close()
            raise EngineRunning(f"another process already serves the data directory {self.settings.data_dir}") from None
        self._lock = lock

    def _release_lock(self) -> None:
        if self._lock is not None:
            with contextlib.suppress(FileNotFoundError):
                (self.settings.data_dir / "engine.json").unlink()
            self._lock.close()
            self._lock = None

    async def _sweep_forever(self) -> None:
        turn = 0
        while True:
            await asyncio.sleep(SWEEP_EVERY_S)
            turn += 1
            try:
                await forget_due(self.db, self.clock)
                await sweep(self.db, self.store, clock=self.clock, orphans=turn % ORPHANS_EVERY == 0)
            except Exception:
                log.exception("sweep_broke")

    async def problems(self) -> dict[str, str]:
        """Say what keeps this server from taking requests; empty when nothing does."""
        found: dict[str, str] = {}
        checks: dict[str, Callable[[], Awaitable[Any]]] = {
            "database": lambda: self.db.read(lambda tx: tx.row(_ONE)),
            "storage": self.store.check,
        }
        for name, check in checks.items():
            try:
                async with asyncio.timeout(5):
                    await check()
            except StoreError as error:
                found[name] = error.message
            except Exception as error:
                found[name] = type(error).__name__
        if not self._started:
            found["runner"] = "stopped"
        elif self.clock.now_ms() - self.runner.healthy_at_ms > 30_000 and not self.runner.active:
            found["runner"] = "stalled"
        return found

    @property
    def base_url(self) -> str:
        """Where callers reach this server, without a slash at the end."""
        if self.url and not self.settings.public_url:
            return self.url.rstrip("/")
        return url_of(self.settings)

    # -- what parts ask each other -----------------------------------------------------------------------------------

    def _guard_of(self, provider: str) -> Guard:
        return self._guards.get(provider, self.guard)

    def _cancellable(self, provider: str) -> bool:
        runtime = self.runtimes.get(provider)
        return runtime is not None and runtime.cancellable

    def _table_cost(self, job: Any, route: FrozenRoute, outputs: int, usage: dict[str, int]) -> int | None:
        return table_cost(self.catalog, job, route, outputs, usage)

    def _ended(self, view: JobView, route: FrozenRoute) -> None:
        self.engine.ended(view)
        job = view.job
        self.backlog.ended(job.org_id)
        self.metrics.ended(
            route.provider, job.operation.value, job.state.value,
            seconds=((job.finished_at_ms or 0) - job.created_at_ms) / 1000, charged_micro=job.charged_micro or 0,
        )  # fmt: skip
        if job.webhook_url is not None:
            self.webhooks.wake()


def catalog_of(settings: Settings) -> Catalog:
    """Return the cards in force: the built-in ones, those of pipelines on this machine, and the operator's."""
    found = pipeline_cards(settings.data_dir / MODELS_FOLDER, settings.local)
    return Catalog.load(settings.cards_dir, settings.providers, pricing_of(settings), found)


def url_of(settings: Settings) -> str:
    """Return where clients reach this server, as far as the settings know."""
    return (settings.public_url or f"http://{settings.host}:{settings.port}").rstrip("/")


def _guard_for(settings: Settings, runtime: Runtime) -> Guard:
    """Return the guard for a provider's outputs: its own host is exempt, for the operator named it."""
    return Guard([*settings.security.allowed_private_hosts, *runtime.output_hosts])


def _overrides(settings: Settings) -> dict[str, str | None]:
    signing, webhook = settings.security.signing_secret, settings.security.webhook_secret
    worker = settings.security.worker_secret
    return {
        "url_signing": signing.get_secret_value() if signing else None,
        "webhook_signing": webhook.get_secret_value() if webhook else None,
        "worker_auth": worker.get_secret_value() if worker else None,
    }
