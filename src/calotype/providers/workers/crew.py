"""All workers of one server: the list, and a fleet for each provider instance that workers may belong to."""

from collections.abc import Callable, Sequence
from pathlib import Path

from calotype.catalog.templates import Templates
from calotype.db import Database
from calotype.http import Guard
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.providers.workers.auth import Keyring
from calotype.providers.workers.comfyui_runtime import ComfyRuntime
from calotype.providers.workers.http_runtime import HttpRuntime
from calotype.providers.workers.member import Member
from calotype.providers.workers.roster import Roster
from calotype.providers.workers.runtime import Backing, FleetRuntime
from calotype.settings import Settings, secret_variable
from calotype.telemetry import Metrics

FLEETS: dict[str, Callable[[str, Backing], FleetRuntime]] = {"comfyui": ComfyRuntime, "http": HttpRuntime}
"""Kind → factory. An instance of each kind is always there; the settings may name more of them."""


class Crew:
    """The operator's own workers."""

    def __init__(
        self,
        settings: Settings,
        db: Database,
        clock: Clock,
        *,
        secrets: Sequence[bytes],
        templates: Templates,
        guard: Guard,
        scratch_dir: Path,
    ) -> None:
        keyring = keyring_of(settings, secrets)
        backing = Backing(db, clock, keyring, templates, guard, scratch_dir, settings.media.max_output_bytes)
        self.roster = Roster(db, clock, keyring)
        self._settings = settings
        self.runtimes: dict[str, FleetRuntime] = {
            name: FLEETS[kind](name, backing) for name, kind in instances(settings).items()
        }

    async def start(self) -> None:
        """Bring the workers of the settings into the list and begin to look after all of them.

        Raises:
            Problem: a worker of the settings that cannot be.

        """
        for name, worker in self._settings.workers.items():
            provider = worker.provider or worker.kind
            if provider not in self.runtimes or self.runtimes[provider].kind != worker.kind:
                sentence = f"workers.{name}.provider: there is no instance {provider!r} of kind {worker.kind}."
                raise Problem(Code.INVALID_INPUT, sentence)
        await self.roster.keep_to(self._settings.workers)
        for runtime in self.runtimes.values():
            await runtime.start()

    def watch(self, metrics: Metrics) -> None:
        """Show what an autoscaler wants to know: workers in use, their places and the jobs they have."""

        def members() -> list[Member]:
            return [member for runtime in self.runtimes.values() for member in runtime.fleet.members.values()]

        def usable() -> list[Member]:
            return [member for member in members() if member.usable]

        metrics.watch("calotype_workers", "Workers that are registered.", lambda: len(members()))
        metrics.watch("calotype_workers_usable", "Workers that take jobs.", lambda: len(usable()))
        metrics.watch("calotype_worker_places", "Jobs they take at once.", lambda: sum(one.places for one in usable()))
        metrics.watch("calotype_worker_jobs", "Jobs they have in hand.", lambda: sum(one.in_hand for one in members()))

    def empty(self, provider: str) -> bool:
        """Say whether a provider is a fleet without any worker."""
        return provider in self.runtimes and not self.runtimes[provider].present


def instances(settings: Settings) -> dict[str, str]:
    """Return the provider instances that have workers, with their kinds.

    Raises:
        ValueError: an instance is given an address, which only its workers have.

    """
    found = {kind: kind for kind in FLEETS}
    for name, provider in settings.providers.items():
        kind = provider.kind or name
        if kind not in FLEETS:
            continue
        if provider.base_url is not None or provider.api_key is not None:
            raise ValueError(
                f"providers.{name}: its workers have addresses and secrets of their own; write workers.<name>.url, or"
                " run calotype workers add"
            )
        found[name] = kind
    return found


def keyring_of(settings: Settings, secrets: Sequence[bytes]) -> Keyring:
    """Return what finds the secrets of workers on this server."""

    def given(name: str) -> str | None:
        worker = settings.workers.get(name)
        return None if worker is None or worker.token is None else worker.token.get_secret_value()

    return Keyring(secrets, variable=secret_variable, given=given)
