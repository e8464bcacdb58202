"""A look at one worker, and a job of no weight on it: for commands, beside the fleets and their queue."""

import asyncio
import time
import uuid
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct

from calotype.catalog.templates import Template, render
from calotype.http import Upstream
from calotype.kernel.outcome import Failed
from calotype.kernel.steps import TransportError
from calotype.providers.driver import drive
from calotype.providers.workers.auth import Keyring, NoSecret
from calotype.providers.workers.comfyui import FOLDER, Accepted, Refused, items_of
from calotype.providers.workers.comfyui import server_of as comfyui
from calotype.providers.workers.comfyui_failures import failure, refusal
from calotype.providers.workers.comfyui_runtime import ComfyTongue
from calotype.providers.workers.comfyui_work import order_of
from calotype.providers.workers.fleet import Tongue
from calotype.providers.workers.http_runtime import HttpTongue
from calotype.providers.workers.member import Member
from calotype.providers.workers.types import Health, Worker

TEST_CARD = "test-card"
"""The template that needs no weights."""
TONGUES: dict[str, Tongue] = {"comfyui": ComfyTongue(), "http": HttpTongue()}
RUN_S = 60.0
LOOK_S = 0.1
MAX_BYTES = 64 << 20


class Seen(Struct, frozen=True):
    """How a worker answered a look, with the time that took; `error` says why it did not."""

    worker: Worker
    health: Health
    jobs: int = 0
    places: int = 0
    version: str = ""
    device: str | None = None
    models: tuple[str, ...] | None = None
    seconds: float = 0.0
    error: str | None = None


class Trial(Struct, frozen=True):
    """How a test run went: the seconds of each stage, what each template lacks here, and what went wrong."""

    seen: Seen
    stages: dict[str, float] = {}
    templates: dict[str, tuple[str, ...]] = {}
    size_bytes: int = 0
    error: str | None = None


async def look(worker: Worker, keyring: Keyring, *, jobs: int = 0) -> Seen:
    """Ask a worker how it is."""
    member = _member(worker, keyring)
    if isinstance(member, str):
        return Seen(worker, Health.UNREACHABLE, jobs, worker.max_jobs, error=member)
    upstream = Upstream(worker.name)
    try:
        return await _look(member, upstream, jobs)
    finally:
        await upstream.close()


async def _look(member: Member, upstream: Upstream, jobs: int) -> Seen:
    worker, began_s = member.worker, time.monotonic()
    try:
        probe = await drive(TONGUES[worker.kind].probe(member), upstream)
    except TransportError as error:
        return Seen(worker, Health.UNREACHABLE, jobs, worker.max_jobs, error=str(error))
    seconds = time.monotonic() - began_s
    if "error" in probe.facts:
        return Seen(worker, Health.DEGRADED, jobs, worker.max_jobs, seconds=seconds, error=str(probe.facts["error"]))
    member.heard(probe)
    models = None if probe.models is None else tuple(sorted(probe.models))
    device = probe.facts.get("name")
    return Seen(
        worker, Health.HEALTHY, max(jobs, probe.depth), member.places, probe.version,
        None if device is None else str(device), models, seconds,
    )  # fmt: skip


async def run(worker: Worker, keyring: Keyring, templates: Mapping[str, Template], scratch: Path) -> Trial:
    """Look at a worker, find out which templates it can run and, where it is a ComfyUI server, draw a test card."""
    member = _member(worker, keyring)
    if isinstance(member, str):
        return Trial(Seen(worker, Health.UNREACHABLE, error=member), error=member)
    upstream = Upstream(worker.name)
    try:
        seen = await _look(member, upstream, 0)
        if seen.error is not None or worker.kind != "comfyui":
            return Trial(seen, {"probe": seen.seconds}, error=seen.error)
        began_s = time.monotonic()
        lacking = await _lacking(member, upstream, templates)
        stages = {"probe": seen.seconds, "inspect": time.monotonic() - began_s}
        card = max((one for one in templates.values() if one.id == TEST_CARD), key=lambda one: one.version)
        if lacking[card.ref]:
            return Trial(seen, stages, lacking, error=f"{card.ref}: it lacks {', '.join(lacking[card.ref])}")
        found = await _drawn(member, upstream, card, stages, scratch)
        if isinstance(found, str):
            return Trial(seen, stages, lacking, error=found)
        return Trial(seen, stages, lacking, found)
    except TransportError as error:
        return Trial(Seen(worker, Health.UNREACHABLE, error=str(error)), error=str(error))
    finally:
        await upstream.close()


async def _lacking(member: Member, upstream: Upstream, templates: Mapping[str, Template]) -> dict[str, tuple[str, ...]]:
    found: dict[str, tuple[str, ...]] = {}
    for ref, template in sorted(templates.items()):
        order = order_of(template, {})
        await drive(TONGUES["comfyui"].inspect(member, *member.unknown(order)), upstream)
        found[ref] = member.lacks(order)
    return found


async def _drawn(
    member: Member, upstream: Upstream, card: Template, stages: dict[str, float], scratch: Path
) -> int | str:
    """Draw a test card and return its size, or what went wrong; note the seconds of each stage."""
    server, prompt_id = comfyui(member), str(uuid.uuid4())
    began_s = time.monotonic()

    def passed(stage: str) -> None:
        nonlocal began_s
        now_s = time.monotonic()
        stages[stage], began_s = now_s - began_s, now_s

    graph, _ = render(card, {}, folder=f"{FOLDER}/{prompt_id}")
    answer = await drive(server.prompt(graph, prompt_id, f"calotype-test-{prompt_id[:8]}"), upstream)
    if isinstance(answer, Refused):
        answer = refusal(answer, {}).failed
    if not isinstance(answer, Accepted):
        return _said(answer)
    passed("submit")
    end_s = began_s + RUN_S
    while True:
        where = await drive(server.where(prompt_id), upstream)
        if isinstance(where, Failed):
            return _said(where)
        if where.place == "ended":
            break
        if time.monotonic() > end_s:
            await drive(server.cancel(prompt_id), upstream)
            return f"it was not done within {RUN_S:.0f} s"
        await asyncio.sleep(LOOK_S)
    passed("run")
    items = items_of(where.entry, list(card.output_nodes))
    if not items:
        return _said(failure(where.entry, {}).failed)
    file = scratch / f"worker-test-{prompt_id}"
    response = await drive(server.fetch(items[0], file, MAX_BYTES), upstream)
    size = response.saved.path.stat().st_size if response.saved is not None and response.ok else 0
    await asyncio.to_thread(file.unlink, missing_ok=True)
    passed("fetch")
    await drive(server.forget([prompt_id]), upstream)
    return size or f"its file could not be fetched: HTTP {response.status}"


def _said(failed: Failed) -> str:
    return failed.message if failed.detail is None else f"{failed.message} ({failed.detail})"


def _member(worker: Worker, keyring: Keyring) -> Member | str:
    try:
        return Member(worker, keyring.headers(worker))
    except NoSecret as error:
        return str(error)
