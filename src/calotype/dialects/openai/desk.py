"""What every handler of the dialect needs, in one place."""

import asyncio
import time
from collections.abc import Container
from typing import Any

import msgspec

from calotype.catalog import Catalog
from calotype.dialects.addresses import Addresses
from calotype.dialects.attempts import Attempts
from calotype.dialects.door import Caller, Door, Exchange
from calotype.dialects.effort import Effort, idle_headers
from calotype.dialects.openai.options import Options
from calotype.jobs.engine import Engine
from calotype.jobs.intake import Ask
from calotype.kernel.clock import Clock
from calotype.kernel.generation import Generation, Operation
from calotype.media.signing import Signer
from calotype.media.store import Store
from calotype.media.uploads import Uploads

NAME = "openai"
STILLS_AT_ONCE = 2
"""Films that stills are taken of at one moment."""


class Desk(Addresses):
    """The dialect's neighbours, and the signed URLs it hands out."""

    def __init__(
        self,
        *,
        door: Door,
        engine: Engine,
        catalog: Catalog,
        available: Container[str],
        clock: Clock,
        signer: Signer,
        store: Store,
        uploads: Uploads,
        url_lifetime_s: int,
        public_url: str | None,
    ) -> None:
        super().__init__(signer, url_lifetime_s, public_url)
        self.door = door
        self.engine = engine
        self.catalog = catalog
        self.available = available
        self.store = store
        self.uploads = uploads
        self.attempts = Attempts(engine, clock)
        self.stills = asyncio.Semaphore(STILLS_AT_ONCE)
        self.started_at = int(time.time())

    def ask(
        self,
        x: Exchange,
        caller: Caller,
        raw: bytes,
        options: Options,
        operation: Operation,
        fields: dict[str, Any],
        known: frozenset[str],
        *,
        at_once: bool = True,
        wants: dict[str, Any] | None = None,
        warnings: tuple[str, ...] = (),
        effort: Effort | None = None,
    ) -> Ask:
        """Return what the engine takes; `raw` is the body by which the request is known when it comes again.

        `effort` is how hard it is tried, for calls that take such wishes.

        Raises:
            Problem: `invalid_input` for a header, and for a webhook that may not be called.

        """
        context = self.door.context(caller, x, NAME, raw)
        changes: dict[str, Any] = {}
        if effort is None:
            warnings += idle_headers(x.headers)
        if warnings:
            changes["warnings"] = context.warnings + warnings
        if options.allow_preview:
            changes["allow_preview"] = True
        if options.webhook_url is not None:
            changes["webhook"] = self.door.webhook(options.webhook_url, "webhook_url")
        return Ask(
            generation=Generation(operation, options.model, fields),
            context=msgspec.structs.replace(context, **changes) if changes else context, key=caller.key, org=caller.org,
            operation=operation, at_once=at_once, known_fields=known, wants=wants or {},
        )  # fmt: skip
