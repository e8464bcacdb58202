"""Every kind of provider by name, and the runtimes that an operator's settings ask for."""

import os
from collections.abc import Callable
from importlib.metadata import entry_points
from pathlib import Path

from calotype.http import Upstream
from calotype.providers.available import MODELS_FOLDER
from calotype.providers.azure import Azure
from calotype.providers.base import Provider, Runtime
from calotype.providers.bfl import Bfl
from calotype.providers.credentials import mark_of
from calotype.providers.driver import Driven
from calotype.providers.fal import Fal
from calotype.providers.google import Google
from calotype.providers.kie import Kie
from calotype.providers.local.diffusion import find_pipelines, model_of
from calotype.providers.local.models import MODELS
from calotype.providers.local.pool import Limits
from calotype.providers.local.runtime import LocalRuntime
from calotype.providers.minimax import MiniMax
from calotype.providers.mistral import Mistral
from calotype.providers.openai import OpenAI
from calotype.providers.openrouter import OpenRouter
from calotype.providers.workers.crew import FLEETS
from calotype.settings import ProviderSettings, Settings

LOCAL = "local"
LEAST_CONNECTIONS = 500
"""What an instance may have open at once however few jobs it may begin: one of them may fetch and send many files."""


class UnknownKind(ValueError):  # noqa: N818  (it names what is wrong)
    """Settings name a kind of provider that does not exist; the message lists those that do."""


def _over_http(adapter: Callable[[str, ProviderSettings], Provider]) -> Callable[[str, ProviderSettings], Runtime]:
    """Make the factory of an adapter: each instance gets connections of its own."""

    def build(name: str, settings: ProviderSettings) -> Runtime:
        keys = settings.credentials
        adapters = [adapter(name, settings.model_copy(update={"api_key": key})) for key in keys]
        marks = [mark_of(key.get_secret_value() if key is not None else "") for key in keys]
        bound = settings.max_in_progress
        if "max_in_progress" not in settings.model_fields_set:
            bound = adapters[0].max_in_progress or bound
        places = settings.pool_size or max(LEAST_CONNECTIONS, bound * len(adapters))
        upstream = Upstream(name, pool_size=places, user_agent=adapters[0].user_agent)
        return Driven(adapters, upstream, max_in_progress=bound, marks=marks)

    return build


KINDS: dict[str, Callable[[str, ProviderSettings], Runtime]] = {
    "azure": _over_http(Azure),
    "bfl": _over_http(Bfl),
    "fal": _over_http(Fal),
    "google": _over_http(Google),
    "kie": _over_http(Kie),
    "minimax": _over_http(MiniMax),
    "mistral": _over_http(Mistral),
    "openai": _over_http(OpenAI),
    "openrouter": _over_http(OpenRouter),
}
"""Kind → factory, for everything that settings can name; `local` and fleets of workers are always there."""
INSTALLED = "calotype.providers"
"""The group of entry points by which installed packages add kinds: a name, and an adapter `(name, settings)`."""


def factory_of(kind: str) -> Callable[[str, ProviderSettings], Runtime] | None:
    """Return what makes the runtimes of a kind: a built-in one, else one that an installed package adds.

    A package cannot take the place of a built-in kind, and none is imported before the settings name its kind.

    Raises:
        UnknownKind: several packages add this kind, or the package that does cannot be imported.

    """
    if kind in KINDS or kind in FLEETS or kind == LOCAL:
        return KINDS.get(kind)
    found = tuple(entry_points(group=INSTALLED, name=kind))
    if not found:
        return None
    if len({point.value for point in found}) > 1:
        raise UnknownKind(f"the kind {kind!r} is added by several packages: {', '.join(one.value for one in found)}")
    try:
        return _over_http(found[0].load())
    except (ImportError, AttributeError) as error:
        raise UnknownKind(f"the kind {kind!r} cannot be loaded from {found[0].value}: {error}") from error


def known_kinds() -> list[str]:
    """Return every kind that settings can name."""
    return sorted({*KINDS, *FLEETS, *entry_points(group=INSTALLED).names})


def build_runtimes(settings: Settings, *, scratch_dir: Path) -> dict[str, Runtime]:
    """Return a runtime for every provider instance in the settings, and `local`; no process or connection is opened.

    `scratch_dir` is where this machine leaves what it made: the store's temporary folder, so that files are moved on.

    Raises:
        UnknownKind: a `kind` that is neither built in nor installed.
        ValueError: a setting that its adapter cannot use.

    """
    runtimes: dict[str, Runtime] = {LOCAL: _local(settings, scratch_dir)}
    for name, provider in settings.providers.items():
        kind = provider.kind or name
        if (kind == LOCAL and name == LOCAL) or (kind in FLEETS and name != LOCAL):
            continue
        factory = None if name == LOCAL else factory_of(kind)
        if factory is None:
            known = ", ".join(known_kinds())
            choice = f"use {LOCAL}, which is this machine's name" if name == LOCAL else f"use one of {known}"
            raise UnknownKind(f"providers.{name}.kind: {kind!r} is not a kind of provider here; {choice}")
        runtimes[name] = factory(name, provider)
    return runtimes


def _local(settings: Settings, scratch_dir: Path) -> Runtime:
    engine, local = settings.engine, settings.local
    models_dir = settings.data_dir / MODELS_FOLDER
    pipelines = {one.upstream: model_of(one, local) for one in find_pipelines(models_dir, local.pipelines)}
    memory_bytes = local.memory_mb * (1 << 20) if local.memory_mb is not None else _most_of_the_memory()
    return LocalRuntime(
        scratch_dir,
        Limits(processes=engine.worker_processes, queue=engine.worker_queue),
        models={**MODELS, **pipelines},
        allowed_hosts=settings.security.allowed_private_hosts,
        models_dir=models_dir,
        large=Limits(local.processes, engine.worker_queue, memory_bytes, written_only=True),
    )


def _most_of_the_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 9 // 10
