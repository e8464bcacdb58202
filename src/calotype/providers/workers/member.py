"""What this process knows of one worker: its health, what it has, what it did last. Nothing here survives a restart."""

import time
from collections.abc import Callable

from calotype.providers.workers.types import Health, Order, Probe, Worker, WorkerState

MISSES = 3
"""Silences in a row after which a worker counts as unreachable; a model load can swallow one or two (§6)."""
FAULTS = 2
"""Failures in a row that are the worker's own, after which others are preferred."""
FIRST_REST_S, LONGEST_REST_S = 30.0, 600.0
QUARANTINE_S = 60.0
"""How long a worker is not tried with a template that it could not load."""
KNOWN_S = 60.0
"""How long what a worker has on its disk is believed."""


class Member:
    """One worker of a fleet as it stands now."""

    def __init__(self, worker: Worker, headers: dict[str, str], clock: Callable[[], float] = time.monotonic) -> None:
        self.worker = worker
        self.headers = headers
        self.trouble: str | None = None
        """Why it cannot be used although it may be well: its secret is missing."""
        self.probe: Probe | None = None
        self.taken = 0
        self.reserving = 0
        self.foreign = 0
        """Jobs of others that it had in hand when it was last asked."""
        self.model_set = worker.model_set
        self.last_used_s = float("-inf")
        self.stuck: str | None = None
        """The request that it works on beyond its time and would not let go."""
        self.number: int | None = None
        """The place in its queue that its newest answer named, by which a restart shows (§5)."""
        self.numbered_at_ms = 0
        self.classes: dict[str, tuple[float, bool]] = {}
        self.folders: dict[str, tuple[float, frozenset[str]]] = {}
        self._clock = clock
        self._misses = 0
        self._sick = 0
        self._refused = 0
        self._silent_since_s: float | None = None
        self._faults = 0
        self._rests_until_s = float("-inf")
        self._rest_s = FIRST_REST_S
        self._quarantined: dict[str, float] = {}

    # -- health -------------------------------------------------------------------------------------------------------

    @property
    def health(self) -> Health:
        """How it fares."""
        if self.trouble is not None or max(self._misses, self._sick) >= MISSES:
            return Health.UNREACHABLE
        if self.stuck is not None or self._misses or self._sick or self._clock() < self._rests_until_s:
            return Health.DEGRADED
        return Health.HEALTHY if self.probe is not None else Health.UNKNOWN

    @property
    def usable(self) -> bool:
        """Whether it may be given work at all."""
        return self.worker.state is WorkerState.ACTIVE and self.health is not Health.UNREACHABLE and self.stuck is None

    @property
    def silent_s(self) -> float:
        """How long it has not answered anything."""
        return 0.0 if self._silent_since_s is None else self._clock() - self._silent_since_s

    @property
    def refuses(self) -> bool:
        """Whether its last silences were refused connections: the program is not running."""
        return self._refused >= MISSES

    def heard(self, probe: Probe | None = None) -> None:
        """Note that it answered; a probe replaces what it said before."""
        self._misses = self._refused = 0
        self._silent_since_s = None
        if probe is not None and "error" in probe.facts:  # somebody answered, but not the program: a proxy before it
            self._sick += 1
        elif probe is not None:
            self._sick = 0
            if self.probe is not None and self.probe.version != probe.version:
                self.classes.clear()
            self.probe = probe
            self.foreign = max(0, probe.depth - self.taken)

    def missed(self, *, refused: bool = False) -> None:
        """Note that it did not answer, or refused the connection."""
        self._misses += 1
        self._refused = self._refused + 1 if refused else 0
        if self._silent_since_s is None:
            self._silent_since_s = self._clock()
        if self._misses >= MISSES:
            self.forget_disk()

    def failed(self) -> None:
        """Note a failure that is its own: after two in a row it rests, longer each time."""
        self._faults += 1
        if self._faults >= FAULTS:
            self._rests_until_s = self._clock() + self._rest_s
            self._rest_s = min(self._rest_s * 2, LONGEST_REST_S)

    def did_well(self) -> None:
        """Note a job that it finished."""
        self._faults = 0
        self._rest_s, self._rests_until_s = FIRST_REST_S, float("-inf")

    def quarantine(self, ref: str) -> None:
        """Do not give it this template for a while: it cannot load what it says it has."""
        self._quarantined[ref] = self._clock() + QUARANTINE_S
        self.forget_disk()

    def quarantined(self, ref: str) -> bool:
        """Say whether it must not be given this template now."""
        return self._clock() < self._quarantined.get(ref, float("-inf"))

    # -- places -------------------------------------------------------------------------------------------------------

    @property
    def places(self) -> int:
        """How many jobs it takes at once."""
        worker = self.worker
        reported = None if self.probe is None else self.probe.capacity
        return worker.max_jobs if reported is None else max(worker.min_jobs, min(worker.max_jobs, reported))

    @property
    def in_hand(self) -> int:
        """How many jobs it has: ours, those about to be sent, and those of others as far as it told."""
        return self.taken + self.reserving + self.foreign

    @property
    def free(self) -> int:
        """How many more jobs it can be given now."""
        return max(0, self.places - self.in_hand)

    # -- what it has --------------------------------------------------------------------------------------------------

    def forget_disk(self) -> None:
        """Ask anew what it has."""
        self.classes.clear()
        self.folders.clear()

    def unknown(self, order: Order) -> tuple[list[str], list[str]]:
        """Return the node classes and models folders that must be asked for before this order can be judged."""
        now_s = self._clock()
        never = (float("-inf"), False)
        classes = [
            name for name in sorted(order.classes)
            if not self.classes.get(name, never)[1] and now_s - self.classes.get(name, never)[0] > KNOWN_S
        ]  # fmt: skip
        folders = [
            name for name in sorted(order.models)
            if name not in self.folders or now_s - self.folders[name][0] > KNOWN_S
        ]  # fmt: skip
        return classes, folders

    def learn(self, classes: dict[str, bool], folders: dict[str, frozenset[str]]) -> None:
        """Note which classes it has, and which files are in its folders."""
        now_s = self._clock()
        self.classes |= {name: (now_s, has) for name, has in classes.items()}
        self.folders |= {name: (now_s, files) for name, files in folders.items()}

    def lacks(self, order: Order) -> tuple[str, ...]:
        """Return what it lacks for an order, as far as it was asked: files as `folder/name`, classes, the version."""
        found: list[str] = []
        if order.version and self.probe is not None and _version(self.probe.version) < _version(order.version):
            found.append(f"ComfyUI {order.version} (it has {self.probe.version or 'an unknown one'})")
        found += [
            f"the node {name}" for name in sorted(order.classes) if name in self.classes and not self.classes[name][1]
        ]
        for folder, files in order.models.items():
            if folder in self.folders:
                found += [f"{folder}/{name}" for name in sorted(files - self.folders[folder][1])]
        models = None if self.probe is None else self.probe.models
        if self.worker.kind == "http" and models is not None and order.ref not in models:
            found.append(f"the model {order.ref}")
        return tuple(found)


def _version(text: str) -> tuple[int, ...]:
    parts = text.lstrip("v").split(".")
    numbers = ["".join(char for char in part if char.isdigit()) for part in parts]
    return tuple(int(number) for number in numbers if number)
