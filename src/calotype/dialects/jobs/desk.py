"""What every handler of the dialect needs, in one place."""

from collections.abc import Container, Mapping
from typing import Any

import msgspec

from calotype.catalog import Catalog
from calotype.db import Database
from calotype.dialects.addresses import Addresses
from calotype.dialects.door import Caller, Door, Exchange, json_object
from calotype.dialects.jobs.credits import CreditRate
from calotype.dialects.jobs.services import LATE_MODELS
from calotype.jobs.engine import Engine
from calotype.jobs.intake import Ask
from calotype.jobs.statement import Statement
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Generation, KeyClass, Operation
from calotype.limits import Gcra
from calotype.media.signing import Signer
from calotype.media.uploads import Uploads

NAME = "jobs"
PER_MINUTE = 60
"""Requests of a key that has no rate of its own, and no server's (`wire/products.md B1`); looks at a job are free."""
STEERING = frozenset({"webhook_url", "allow_preview"})
"""Fields that every request may have and that are no model's input."""


class Desk(Addresses):
    """The dialect's neighbours, and the signed URLs it hands out."""

    def __init__(
        self,
        *,
        door: Door,
        engine: Engine,
        catalog: Catalog,
        available: Container[str],
        db: Database,
        signer: Signer,
        uploads: Uploads,
        url_lifetime_s: int,
        public_url: str | None,
        platforms: tuple[str, ...],
    ) -> None:
        super().__init__(signer, url_lifetime_s, public_url)
        self.door = door
        self.engine = engine
        self.catalog = catalog
        self.available = available
        self.db = db
        self.uploads = uploads
        self.platforms = platforms
        self.rate = CreditRate(catalog.pricing.credit_micro, LATE_MODELS)
        self.statement = Statement(db, self.rate.late)
        self._gcra = Gcra()

    async def enter(self, x: Exchange, *, counted: bool = True) -> Caller:
        """Verify the key of a request and take one from its rate.

        Raises:
            Problem: `invalid_api_key` or `rate_limited`.

        """
        caller = await self.door.enter(x, counted=False)
        if counted:
            self._count(caller, x)
        return caller

    def _count(self, caller: Caller, x: Exchange) -> None:
        own = caller.key.requests_per_minute or self.door.limits.requests_per_minute
        if own is not None or caller.key.key_class is KeyClass.TEST:
            self.door.count(caller.key, x.scope)
            return
        wait_s = self._gcra.take(caller.key.id, PER_MINUTE, PER_MINUTE)
        if wait_s is not None:
            sentence = f"A key may send {PER_MINUTE} requests a minute; try again in {wait_s:.1f} s."
            raise Problem(Code.RATE_LIMITED, sentence, retry_after_s=wait_s, data={"requests_per_minute": PER_MINUTE})

    def refuse_lists(self, caller: Caller) -> None:
        """Refuse to list jobs to the key that everybody shares.

        Raises:
            Problem: `forbidden`.

        """
        if caller.key.key_class is KeyClass.TEST:
            raise Problem(Code.FORBIDDEN, "A test key lists no jobs; ask for a job by its id.")

    async def body(self, x: Exchange) -> tuple[bytes, dict[str, Any]]:
        """Read a body that must be a JSON object, as it came and as it is.

        Raises:
            Problem: `invalid_input`, `payload_too_large`, `unsupported_media_type`.

        """
        kind = x.headers.get(b"content-type", b"").lower()
        if kind.startswith((b"multipart/", b"application/x-www-form")):
            raise Problem(Code.UNSUPPORTED_MEDIA_TYPE, "Send the request as application/json.", field="Content-Type")
        raw = await self.door.body(x)
        return raw, json_object(raw)

    def ask(
        self,
        x: Exchange,
        caller: Caller,
        raw: bytes,
        model: str,
        operation: Operation,
        given: Mapping[str, Any],
        known: frozenset[str],
        *,
        at_once: bool,
        wants: dict[str, Any] | None = None,
    ) -> Ask:
        """Return what the engine takes; `raw` is the body by which the request is known when it comes again.

        Raises:
            Problem: `invalid_input` for a header, and for a webhook that may not be called.

        """
        context = self.door.context(caller, x, NAME, raw)
        changes: dict[str, Any] = {}
        if (url := given.get("webhook_url")) is not None:
            if not isinstance(url, str):
                raise Problem(Code.INVALID_INPUT, "webhook_url must be a URL.", field="webhook_url")
            changes["webhook"] = self.door.webhook(url, "webhook_url")
        if (preview := given.get("allow_preview")) is not None:
            if not isinstance(preview, bool):
                raise Problem(Code.INVALID_INPUT, "allow_preview must be true or false.", field="allow_preview")
            changes["allow_preview"] = preview
        fields = {name: value for name, value in given.items() if name not in STEERING}
        return Ask(
            generation=Generation(operation, model, fields),
            context=msgspec.structs.replace(context, **changes) if changes else context,
            key=caller.key, org=caller.org, operation=operation, at_once=at_once, known_fields=known,
            wants=wants or {},
        )  # fmt: skip

    def ask_now(
        self,
        x: Exchange,
        caller: Caller,
        raw: bytes,
        model: str,
        operation: Operation,
        given: Mapping[str, Any],
        known: frozenset[str],
    ) -> Ask:
        """Return the same for what is answered at once, in the job's result or, of a PHI request, nowhere written."""
        return self.ask(x, caller, raw, model, operation, given, known, at_once=True, wants={"inline": True})

    def model_of(self, body: dict[str, Any], usual: str) -> str:
        """Take the model's name out of a body; the name that people read stands for the usual model.

        Raises:
            Problem: `invalid_input` for something that is no text.

        """
        word = body.pop("model", None)
        if word is None or word == "":
            return usual
        if not isinstance(word, str):
            raise Problem(Code.INVALID_INPUT, "model must be a text.", field="model", data={"rule": "type"})
        first = self.catalog.get(usual)
        return usual if first is not None and word == first.title else word


def whole(x: Exchange, name: str, usual: int, most: int) -> int:
    """Read a whole number of the query, from 1 to `most`.

    Raises:
        Problem: `invalid_input` naming the parameter.

    """
    text = x.query.get(name, str(usual))
    if not (text.isascii() and text.isdigit() and len(text) < 6) or not 1 <= int(text) <= most:
        raise Problem(Code.INVALID_INPUT, f"{name} is a whole number from 1 to {most}.", field=name)
    return int(text)
