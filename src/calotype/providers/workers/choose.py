"""Which worker gets a job. Pure: members in, an order of preference out, or a sentence that says why there is none."""

from collections.abc import Collection, Iterable, Sequence

from calotype.kernel.outcome import Failed, FailedKind
from calotype.providers.workers.member import Member
from calotype.providers.workers.types import Health, Order, WorkerState

BUSY_S = 2.0
AWAY_S = 15.0
"""When to try again where every worker is full, and where none can be reached."""
_GB = 1_000_000_000
"""A card of 16 GB has a little less than 16 GiB."""
_WAIT_S = 5.0
"""What a job already in hand costs the next one, beside a swap of weights."""


def ranked(members: Iterable[Member], order: Order, avoid: Collection[str] = ()) -> list[Member]:
    """Return the members that may take the order now, best first.

    Those not tried yet before those that failed it, healthy before degraded, large before small, then the least wait: a
    swap of weights costs what the template says, each job in hand a little; last, the one that rested longest.
    """
    fit = [member for member in members if suits(member, order) and member.usable and member.free > 0]

    def rank(member: Member) -> tuple[bool, bool, bool, float, float]:
        swap_s = 0.0 if member.model_set == order.model_set else max(order.swap_s, 1.0)
        unwell = member.health not in (Health.HEALTHY, Health.UNKNOWN)
        vram_bytes = 0 if member.probe is None else member.probe.vram_bytes
        small = 0 < vram_bytes < order.vram_gb * _GB
        return (member.worker.id in avoid, unwell, small, swap_s + member.in_hand * _WAIT_S, member.last_used_s)

    return sorted(fit, key=rank)


def suits(member: Member, order: Order) -> bool:
    """Say whether a worker could run the order, by what is known of it."""
    if order.shared_loras and member.worker.loras_dir is None:
        return False
    return not member.quarantined(order.ref) and not member.lacks(order)


def none_fits(members: Sequence[Member], order: Order, provider: str) -> Failed:
    """Say why an order finds no worker: there are none, they lack something, they are away, drain or are full."""
    if not members:
        return Failed(FailedKind.GONE, f"No {provider} worker is set up here.", detail="calotype workers add")
    able = [member for member in members if suits(member, order)]
    if not able:
        return _lacking(members, order)
    if any(member.usable for member in able):
        return Failed(
            FailedKind.RETRY, "Every worker that can run this model is busy.", retry_after_s=BUSY_S, requeue=True
        )
    draining = [member for member in able if member.worker.state is WorkerState.DRAINING]
    if len(draining) == len(able):
        return Failed(
            FailedKind.RETRY, "The workers that can run this model take no new jobs.", detail=_names(draining),
            retry_after_s=AWAY_S,
        )  # fmt: skip
    away = [member for member in able if member not in draining]
    return Failed(
        FailedKind.RETRY, "The workers that can run this model cannot be reached.", detail=_names(away),
        retry_after_s=AWAY_S,
    )  # fmt: skip


def _lacking(members: Sequence[Member], order: Order) -> Failed:
    if order.shared_loras and all(member.worker.loras_dir is None for member in members):
        return Failed(
            FailedKind.INVALID,
            "A LoRA cannot be given by URL here: the workers share no folder with this server; give its file's name.",
            detail="calotype workers add … --loras-dir",
        )
    missing = {member.worker.name: member.lacks(order) for member in members}
    detail = "; ".join(f"{name}: {', '.join(what) or 'could not load it lately'}" for name, what in missing.items())
    least = min((what for what in missing.values() if what), key=len, default=())
    why = f"{', '.join(least)} is missing" if least else "what it needs could not be loaded"
    return Failed(FailedKind.GONE, f"No worker here can run {order.ref}: {why}."[:500], detail=detail[:300])


def _names(members: Sequence[Member]) -> str:
    return ", ".join(f"{member.worker.name}: {member.trouble or member.health.value}" for member in members)
