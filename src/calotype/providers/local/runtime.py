"""This machine as a provider: its functions run in worker processes, and its results are files."""

import asyncio
import contextlib
import shutil
import time
import uuid
from collections.abc import Awaitable, Callable, Collection, Mapping
from pathlib import Path
from typing import Any

from calotype.kernel.generation import DataClass
from calotype.kernel.outcome import Delta, Failed, FailedKind, Outcome, Output, Succeeded
from calotype.providers.base import Call, Handle, Idempotency, MediaInputs, PollSchedule, Runtime, unheard
from calotype.providers.local.arguments import calls_of
from calotype.providers.local.messages import BadInput, Broken, Done, Lacking, Refused, Task
from calotype.providers.local.models import MODELS, LocalModel
from calotype.providers.local.pool import Limits, Pool, PoolBusy, WorkerLost

LEFTOVER_AGE_S = 3600.0
SWEEP_EVERY_S = 600.0
_PREFIX = "local-"


class LocalRuntime(Runtime):
    """Runs the models of this machine, as many at once as there are worker processes.

    Results are files right in `scratch_dir`; whoever takes one moves or deletes it, and what nobody took is swept after
    an hour. Doing a call again gives the same bytes and costs nothing.

    Models with a pool of their own (`own_pool`) run in worker processes of the limits `large`.

    A model may want of the machine: `scratch`, a folder of its own for the call; `allowed_hosts`, private hosts that
    may be reached; `models_dir`, where pulled weights lie.
    """

    kind = "local"
    idempotency = Idempotency.KEY
    media_inputs = MediaInputs.FILE
    schedule = PollSchedule()
    output_hosts = frozenset[str]()
    cancellable = True
    callbacks = False

    def __init__(
        self,
        scratch_dir: Path,
        limits: Limits,
        *,
        name: str = "local",
        models: Mapping[str, LocalModel] = MODELS,
        allowed_hosts: Collection[str] = (),
        models_dir: Path | None = None,
        large: Limits | None = None,
    ) -> None:
        self.name = name
        self.max_in_progress = limits.processes + limits.queue
        self._scratch_dir = scratch_dir.absolute()
        self._models = models
        self._machine: dict[str, Any] = {
            "allowed_hosts": sorted(allowed_hosts),
            "models_dir": None if models_dir is None else str(models_dir.absolute()),
        }
        tools = {model.module for model in models.values() if not model.own_pool}
        self.pool = Pool(limits, preload=sorted(tools))
        self.large_pool = Pool(limits if large is None else large)
        self._swept_s = float("-inf")

    async def submit(
        self,
        call: Call,
        on_commit: Callable[[], Awaitable[None]],
        on_progress: Callable[[float], None],
        on_delta: Callable[[Delta], None] = unheard,
    ) -> Outcome:
        """Do the work; cancelling the awaiting task kills the process that does it."""
        model = self._models.get(call.upstream_model)
        if model is None or model.operation is not call.operation:
            return Failed(FailedKind.GONE, "This machine does not have this model.", detail=call.upstream_model)
        if model.reaches_out and call.data_class is not DataClass.GENERAL:
            return Failed(FailedKind.GONE, "This model reaches other machines; it takes general data only.")
        try:
            arguments = calls_of(model, call)
        except BadInput as refusal:
            return Failed(FailedKind.INVALID, refusal.message, field=refusal.field)
        pool = self._pool_of(model)
        if pool.busy:
            return _busy(pool.retry_after_s)
        await on_commit()
        await self._sweep()
        stem = self._scratch_dir / f"{_PREFIX}{uuid.uuid4().hex}"
        paths = tuple(f"{stem}-{n}.{model.extension}" for n in range(len(arguments)))
        given = tuple({**one, **self._given(model, f"{path}.work")} for one, path in zip(arguments, paths, strict=True))
        task = Task(model.function, given, model.extension, paths, shows=call.stream and model.shows)
        delivered = False
        try:
            outcome = await self._run(call.upstream_model, model, task, on_progress, on_delta)
            await asyncio.sleep(0)  # a cancellation that came with the result takes effect while the files are ours
            delivered = isinstance(outcome, Succeeded)
            return outcome
        finally:
            if not delivered:
                await asyncio.shield(asyncio.to_thread(_delete, paths))

    async def poll(self, handle: Handle) -> Outcome:  # noqa: ARG002  (there is nothing to ask for)
        """Never needed: a submit ends with the result."""
        return Failed(FailedKind.UNKNOWN, "This machine keeps no jobs that can be asked for.")

    async def cancel(self, handle: Handle) -> bool:  # noqa: ARG002
        """Cannot be done by handle: cancel the task that awaits the submit."""
        return False

    async def lookup(self, call: Call) -> Outcome | None:  # noqa: ARG002
        """Find nothing: a lost call is done again."""
        return None

    async def callback(self, headers: Mapping[str, str], body: bytes, handle: Handle, upstream_id: str) -> bool:  # noqa: ARG002
        """Expect none: a submit ends with the result."""
        return False

    async def close(self) -> None:
        """Kill the worker processes."""
        await asyncio.gather(self.pool.close(), self.large_pool.close())

    def _pool_of(self, model: LocalModel) -> Pool:
        return self.large_pool if model.own_pool else self.pool

    def _given(self, model: LocalModel, scratch: str) -> dict[str, Any]:
        machine = {**self._machine, "scratch": scratch}
        return {name: machine[name] for name in model.machine}

    async def _run(
        self,
        name: str,
        model: LocalModel,
        task: Task,
        on_progress: Callable[[float], None],
        on_delta: Callable[[Delta], None],
    ) -> Outcome:
        deadline_s = model.deadline_s * len(task.calls)
        try:
            reply = await self._pool_of(model).run(
                task, deadline_s=deadline_s, on_progress=on_progress, on_delta=on_delta
            )
        except PoolBusy as busy:
            return _busy(busy.retry_after_s)
        except WorkerLost as lost:
            return Failed(FailedKind.UPSTREAM, "The worker process stopped unexpectedly.", detail=lost.reason)
        except TimeoutError:
            return Failed(FailedKind.UPSTREAM, "The work took too long.", detail=f"stopped after {deadline_s:.0f} s")
        except OSError as error:
            return Failed(FailedKind.RETRY, "No worker process could be started.", detail=type(error).__name__)
        match reply:
            case Done():
                return _succeeded(name, model, task, reply)
            case Refused():
                return Failed(FailedKind.INVALID, reply.message, field=reply.field)
            case Lacking():
                return Failed(FailedKind.GONE, reply.message)
            case Broken(out_of_memory=True):
                return Failed(FailedKind.UPSTREAM, "The work needs more memory than it may use.", detail=reply.error)
            case Broken(no_room=True):
                return Failed(FailedKind.UPSTREAM, "This server's disk has no room for the result.", detail=reply.error)
            case Broken():
                return Failed(FailedKind.UPSTREAM, "The work failed.", detail=reply.error)

    async def _sweep(self) -> None:
        """Make the folder, and delete now and then results that nobody took: their job ended in a crash."""
        now_s = time.monotonic()
        if now_s - self._swept_s >= SWEEP_EVERY_S:
            self._swept_s = now_s
            await asyncio.to_thread(_delete_leftovers, self._scratch_dir)


def _busy(retry_after_s: float) -> Failed:
    return Failed(FailedKind.RETRY, "This machine is busy and its queue is full.", retry_after_s=retry_after_s)


def _succeeded(name: str, model: LocalModel, task: Task, done: Done) -> Succeeded:
    first = task.calls[0]
    seconds = first.get("seconds")
    outputs = tuple(
        Output(
            path=path,
            content_type=kind or model.content_type,
            width=first.get("width"),
            height=first.get("height"),
            duration_s=seconds,
        )
        for path, kind in zip(task.paths, done.kinds, strict=True)
        if kind is not None
    )
    facts: dict[str, Any] = {"engine": name, "is_ai_model": model.ai, "label": model.label, **done.data}
    if model.seeded:
        facts["seed"] = first["seed"]
    usage = {"duration_ms": round(seconds * 1000) * len(outputs)} if seconds is not None else {}
    return Succeeded(outputs, data=facts, usage={**usage, **done.usage}, warnings=done.warnings)


def _delete(paths: tuple[str, ...]) -> None:
    for path in paths:
        Path(path).unlink(missing_ok=True)
        shutil.rmtree(f"{path}.work", ignore_errors=True)


def _delete_leftovers(scratch_dir: Path) -> None:
    scratch_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    before = time.time() - LEFTOVER_AGE_S
    for path in scratch_dir.glob(f"{_PREFIX}*"):
        with contextlib.suppress(FileNotFoundError):  # somebody else just took it
            if path.stat().st_mtime >= before:
                continue
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink()
