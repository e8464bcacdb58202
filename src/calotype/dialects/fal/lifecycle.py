"""How long a caller wants files and who may read them, and fal's own tags: by headers, or by what was set before."""

from itertools import islice
from typing import Any

import msgspec

from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.jobs.intake import MAX_TAG_CHARS
from calotype.kernel.steps import NOT_JSON
from calotype.media.acl import Acl, StorageSetting

LIFECYCLE = "x-fal-object-lifecycle-preference"
TAGS = "x-fal-tags"
MOST_TAGS_CHARS = 4096
MOST_S = 1 << 40
"""A longer lifetime is none: the server's own is the longest anyway."""


async def lifecycle(desk: Desk, x: FalExchange, org_id: str, *names: str) -> StorageSetting:
    """Return what the first of these headers says, and what the organisation set for the rest.

    A header that cannot be read is ignored, as everything that is unknown in this dialect.
    """
    setting = await desk.office.acls.setting(org_id)
    lifetime_s, acl = None, None
    for name in names:
        raw = x.headers.get(name.encode())
        if raw is None:
            continue
        try:
            given = msgspec.json.decode(raw, type=dict[str, Any])
        except NOT_JSON:
            continue
        lifetime_s = lifetime_s if lifetime_s is not None else _seconds(given.get("expiration_duration_seconds"))
        acl = acl if acl is not None else acl_of(given.get("initial_acl"))
    return StorageSetting(setting.lifetime_s if lifetime_s is None else lifetime_s, setting.acl if acl is None else acl)


def acl_of(given: Any) -> Acl | None:
    """Read a list of readers as fal writes it; None for anything else."""
    try:
        acl = msgspec.convert(given, Acl)
    except msgspec.ValidationError:
        return None
    return acl if acl.bounded else None


def fal_tags(x: FalExchange, most: int) -> dict[str, str]:
    """Read fal's packed tags, `key=value` with commas between; what is not of that form or too much is left out."""
    text = (x.header(TAGS) or "")[:MOST_TAGS_CHARS]
    pairs = (part.strip().partition("=") for part in text.split(","))
    found = ((name.strip(), value.strip()) for name, equals, value in pairs if equals)
    fitting = {name: value for name, value in found if 0 < len(name) <= MAX_TAG_CHARS >= len(value)}
    return dict(islice(fitting.items(), max(0, most)))


def _seconds(value: Any) -> int | None:
    return value if type(value) is int and 0 < value <= MOST_S else None
