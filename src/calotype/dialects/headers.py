"""Headers that answers carry in every dialect: how a job was routed and what it cost, and its warnings."""

import msgspec

from calotype.jobs.types import JobView
from calotype.kernel.generation import DataClass
from calotype.routing import Stamp
from calotype.routing.stamp import routed

Headers = list[tuple[bytes, bytes]]

MAX_WARNINGS_BYTES = 4096
_encode = msgspec.json.Encoder().encode


def stamp_headers(stamp: Stamp) -> Headers:
    """Return the `x-phi-*` headers (`wire/products.md A4`)."""
    return [(name.encode(), value.encode()) for name, value in stamp.headers().items()]


def stamp_of(view: JobView) -> Stamp:
    """Say how a job was routed and what it cost: the quote while it runs, what was captured once it ended.

    An unmetered key is told the price it would have paid.
    """
    job = view.job
    ended = job.ended
    cost = job.quote_micro
    if ended and job.plan.metered:
        cost = job.charged_micro or 0
    elif ended and job.charged_micro is None:
        cost = 0
    return Stamp(
        data_class=job.data_class,
        routed=routed(job.model, job.provider, job.region, job.data_class),
        attempts=job.attempt,
        cost_micro=cost,
        verified=_verified(job.result.usage) if job.result is not None and job.plan.quote.measured else None,
    )


def _verified(usage: dict[str, int]) -> bool:
    """Say whether what was used was counted, and not estimated by a provider's adapter or by us."""
    return bool(usage) and "estimated" not in usage


def refusal_stamp(data_class: DataClass = DataClass.GENERAL) -> Stamp:
    """Return the stamp of a refusal: nothing was tried, nothing is charged."""
    return Stamp(data_class=data_class)


def warning_headers(warnings: tuple[str, ...]) -> Headers:
    """Return `x-calotype-warnings`, a JSON list kept to ASCII and to a bounded size; nothing without warnings."""
    if not warnings:
        return []
    text = _encode(warnings)
    if len(text) > MAX_WARNINGS_BYTES or not text.isascii():
        text = _encode([_ascii(one)[:300] for one in warnings[:10]])
    return [(b"x-calotype-warnings", text)]


def _ascii(text: str) -> str:
    return text.encode("ascii", "replace").decode()
