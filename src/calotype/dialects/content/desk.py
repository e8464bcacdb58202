"""What every handler of the dialect needs, in one place."""

from collections.abc import Container
from typing import Any

from msgspec.structs import replace

from calotype.catalog import Card, Catalog, quote
from calotype.dialects.addresses import Addresses
from calotype.dialects.content.answers import price_text
from calotype.dialects.content.entries import BY_SLUG, Entry
from calotype.dialects.content.handles import Handles
from calotype.dialects.door import Caller, Door, Exchange, counted_as
from calotype.jobs.engine import Engine
from calotype.jobs.intake import Ask
from calotype.jobs.types import JobView
from calotype.jobs.views import ViewLoader
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import DataClass, Generation

NAME = "content"


class Desk:
    """The dialect's neighbours, and what an entry is worth."""

    def __init__(
        self,
        *,
        door: Door,
        engine: Engine,
        views: ViewLoader,
        catalog: Catalog,
        available: Container[str],
        addresses: Addresses,
        handles: Handles,
    ) -> None:
        self.door = door
        self.engine = engine
        self.catalog = catalog
        self.available = available
        self.addresses = addresses
        self.handles = handles
        self._views = views

    def live(self, entry: Entry) -> bool:
        """Say whether an entry can be bought: its card has a route that runs here and has a price."""
        if entry.answers == "matches":
            return True
        card = self.card_of(entry)
        return card is not None and any(route.runs(self.available) and route.priced for route in card.routes)

    def price_micro(self, entry: Entry) -> int:
        """Return what one request costs: the quote of the card's own example, for it depends on nothing else."""
        card = self.card_of(entry)
        if card is None or not card.routes:
            return 0
        priced = [route for route in card.routes if route.priced]
        running = [route for route in priced if route.runs(self.available)]
        if not priced:
            return 0
        return quote(card, (running or priced)[0], card.check(card.example).input, self.catalog.pricing).hold_micro

    def price(self, entry: Entry) -> str:
        """Write the same as text."""
        return price_text(self.price_micro(entry))

    def card_of(self, entry: Entry) -> Card | None:
        """Return the card behind an entry."""
        return self.catalog.get(entry.slug)

    async def buyer(self, x: Exchange, entry: Entry) -> Caller:
        """Verify the key that pays, and take one from its rate and from its rate for this entry.

        Raises:
            Problem: `planned` before anybody is asked to pay, `invalid_api_key` or `rate_limited`.

        """
        if not self.live(entry):
            raise Problem(Code.PLANNED, f"{entry.slug} is planned and cannot be bought yet; nothing was charged.")
        caller = await self.door.enter(x)
        name = f"{counted_as(caller.key, x.scope)}:{entry.slug}"
        self.door.take(name, entry.per_minute, entry.per_minute, f"{entry.slug} takes")
        return caller

    def visitor(self, x: Exchange, entry: Entry) -> None:
        """Take one from the rate of an address, for what needs no key.

        Raises:
            Problem: `rate_limited`.

        """
        client = x.scope.get("client")
        name = f"{entry.slug}@{client[0] if client else ''}"
        self.door.take(name, entry.per_minute, entry.per_minute, f"{entry.slug} takes")

    def ask(
        self, x: Exchange, caller: Caller, raw: bytes, entry: Entry, given: dict[str, Any], filled: dict[str, Any],
        told_to: str | None,
    ) -> Ask:  # fmt: skip
        """Return what the engine takes; the end is `told_to` an address, where the body names one.

        Raises:
            Problem: `invalid_input` for a header or such an address, `phi_blocked` for PHI: answers here are URLs.

        """
        context = self.door.context(caller, x, NAME, raw)
        if context.data_class is DataClass.PHI:
            sentence = "Results are answered as URLs here, and PHI is never stored; use another dialect."
            raise Problem(Code.PHI_BLOCKED, sentence, field="X-PHI")
        if told_to is not None:
            context = replace(context, webhook=self.door.webhook(told_to, "webhook_url"))
        if (platform := filled.get("platform")) is not None:
            context = replace(context, tags={"platform": platform} | context.tags)
        card = self.card_of(entry)
        if entry.operation is None or card is None:
            raise Problem(Code.NOT_FOUND, f"{entry.slug} makes nothing.")
        return Ask(
            generation=Generation(entry.operation, card.id, entry.asked(given, filled)), context=context,
            key=caller.key, org=caller.org, operation=entry.operation, at_once=entry.answers == "assets",
        )  # fmt: skip

    async def job_of(self, handle: str) -> tuple[JobView, Entry]:
        """Return the job of a signed id, whoever shows it: the id is the credential.

        Raises:
            Problem: `job_not_found`.

        """
        job_id = self.handles.read(handle)
        view = None if job_id is None else await self._views.load(job_id)
        entry = None if view is None else BY_SLUG.get(view.job.model)
        if view is None or entry is None or view.job.dialect != NAME:
            raise Problem(Code.JOB_NOT_FOUND, "There is no such job.", field="jobId")
        return view, entry
