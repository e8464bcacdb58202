"""What every handler of the dialect needs, in one place."""

from collections.abc import Callable, Container
from typing import Any

import pybase64
from msgspec.structs import replace

from calotype.accounts import Accounts
from calotype.catalog import Card, Catalog
from calotype.db import Database
from calotype.dialects.addresses import Addresses
from calotype.dialects.attempts import Attempts
from calotype.dialects.door import Caller, Door, Exchange, RawHeaders, Receive, Scope, Send, json_object
from calotype.dialects.effort import FIELDS as EFFORT_FIELDS
from calotype.dialects.effort import Effort, effort_of
from calotype.dialects.image.offers import maker_of
from calotype.dialects.image.requests import MediaRequest
from calotype.jobs.engine import Engine
from calotype.jobs.intake import Ask
from calotype.jobs.types import JobRow, JobView
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass, Generation, Operation
from calotype.kernel.generation import Scope as KeyScope
from calotype.media.store import Store

NAME = "image"
RATE = 60
"""Requests a minute of a key that has no rate of its own (`wire/products.md D1`)."""
USUAL = Effort(retries=2, timeout_ms=60_000)
"""`wire/products.md D4`."""


class ImageExchange(Exchange):
    """One request of this dialect, with its caller once that is known."""

    __slots__ = ("caller",)

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        super().__init__(scope, receive, send)
        self.caller: Caller | None = None


class Desk:
    """The dialect's neighbours."""

    def __init__(
        self,
        *,
        door: Door,
        engine: Engine,
        catalog: Catalog,
        available: Container[str],
        accounts: Accounts,
        db: Database,
        store: Store,
        clock: Clock,
        addresses: Addresses,
        healthy: Callable[[], Any],
        version: str,
    ) -> None:
        self.door = door
        self.engine = engine
        self.catalog = catalog
        self.available = available
        self.accounts = accounts
        self.db = db
        self.store = store
        self.clock = clock
        self.addresses = addresses
        self.healthy = healthy
        self.version = version
        self.attempts = Attempts(engine, clock)

    async def enter(self, x: ImageExchange, *, counted: bool = True) -> Caller:
        """Verify the key and take one from its rate, which this dialect bounds even where nobody else does.

        Raises:
            Problem: `invalid_api_key` or `rate_limited`.

        """
        caller = x.caller = await self.door.enter(x, counted=False)
        if counted:
            self.door.count(caller.key, x.scope, RATE)
        return caller

    async def administrator(self, x: ImageExchange) -> Caller:
        """Let in keys of scope ADMIN only.

        Raises:
            Problem: `forbidden` for any other key.

        """
        caller = await self.enter(x)
        if KeyScope.ADMIN not in caller.key.scopes:
            raise Problem(Code.FORBIDDEN, "This call needs a key of scope ADMIN.")
        return caller

    async def body(self, x: ImageExchange) -> tuple[bytes, dict[str, Any]]:
        """Read a JSON object.

        Raises:
            Problem: `unsupported_media_type`, `payload_too_large` or `invalid_input`.

        """
        kind = x.headers.get(b"content-type", b"application/json").partition(b";")[0].strip().lower()
        if kind != b"application/json" and not kind.endswith(b"+json"):
            raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "Send application/json.", field="Content-Type")
        raw = await self.door.body(x)
        return raw, json_object(raw)

    def ask(
        self, x: ImageExchange, caller: Caller, raw: bytes, request: MediaRequest, card: Card, operation: Operation,
        fields: dict[str, Any], warnings: tuple[str, ...], *, at_once: bool, inline: bool,
    ) -> Ask:  # fmt: skip
        """Return what the engine takes; `raw` is the body by which the request is known when it comes again.

        Raises:
            Problem: `invalid_input` for a header, and for a webhook that may not be called.

        """
        context = self.door.context(caller, x, NAME, raw)
        if request.webhook_url is not None:
            context = replace(context, webhook=self.door.webhook(request.webhook_url, "webhook_url"))
        context = replace(context, warnings=context.warnings + warnings)
        direct = inline or context.data_class is DataClass.PHI
        return Ask(
            generation=Generation(operation, card.id, fields), context=context, key=caller.key, org=caller.org,
            operation=operation, at_once=at_once, wants={"inline": True} if direct else {},
        )  # fmt: skip

    def provider_of(self, job: JobRow) -> str:
        """Return whose model a job runs, as this dialect names them; of other models who ran it."""
        card = self.catalog.get(job.model)
        return (maker_of(card) if card is not None else None) or job.provider

    def effort(self, headers: RawHeaders, request: MediaRequest) -> Effort:
        """Read how hard the request is to be tried.

        Raises:
            Problem: `invalid_input` naming the field or header.

        """
        return effort_of(headers, {name: getattr(request, name) for name in EFFORT_FIELDS}, USUAL)


async def base64_of(view: JobView, store: Store) -> list[tuple[str, bytes]]:
    """Return the pictures of a job, each with its type, as base64 text."""
    if view.inline:
        return [(one.content_type, one.base64 or pybase64.b64encode(one.data or b"")) for one in view.inline]
    return [(one.content_type, pybase64.b64encode(await store.open(one.key))) for one in view.artifacts if one.stored]
