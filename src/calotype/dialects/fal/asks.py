"""From a model request to what the engine takes: input, headers and query of a submit or a direct call (§4, §5.1)."""

import contextlib
from typing import Any

import msgspec

from calotype.catalog import Card
from calotype.dialects.door import Caller, json_object
from calotype.dialects.fal.desk import NAME, Desk, FalExchange
from calotype.dialects.fal.endpoints import endpoint_id
from calotype.dialects.fal.inputs import fit
from calotype.dialects.fal.lifecycle import LIFECYCLE, fal_tags, lifecycle
from calotype.jobs.intake import MAX_TAGS, Ask
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Context, Generation, Retention

LOW = -1
WEBHOOK = "fal_webhook"
START_TIMEOUTS = ("x-fal-request-start-timeout", "x-fal-request-timeout")
"""The newer name wins."""
STORE_IO = "x-fal-store-io"
NO_RETRY = "x-fal-no-retry"
LEAST_START_S = 0.1
MOST_START_S = 7 * 24 * 3600.0


async def ask_of(desk: Desk, x: FalExchange, path: str, *, at_once: bool, caller: Caller | None = None) -> Ask:
    """Read a model request; `path` is the endpoint id as the path had it, `caller` who it is where that is known.

    Raises:
        Problem: `invalid_api_key`, `rate_limited`, `model_not_found`, `invalid_input`.

    """
    caller = caller or await desk.door.enter(x)
    endpoint = endpoint_id(path)
    x.card = desk.catalog.find(endpoint)
    body = await desk.door.body(x)
    in_query = x.scope["method"] == "GET"
    given = _query_fields(x) if in_query else json_object(body) if body.strip() else {}
    return await asked(desk, x, caller, endpoint, given, body, at_once=at_once, in_query=in_query)


async def asked(
    desk: Desk,
    x: FalExchange,
    caller: Caller,
    endpoint: str,
    given: dict[str, Any],
    body: bytes,
    *,
    at_once: bool,
    in_query: bool = False,
) -> Ask:
    """Return what the engine takes for an input that was read already; `body` is how it came.

    Raises:
        Problem: `model_not_found`, `invalid_input`.

    """
    card = x.card = desk.catalog.find(endpoint)
    webhook = given.pop(WEBHOOK, None) if WEBHOOK not in card.fields else None
    fitted = fit(card, given)
    fields = _typed(fitted.fields, card) if in_query else fitted.fields
    x.names = fitted.names
    fields = await _own_files(desk, x, fields, card, caller)
    context = await _context(desk, x, caller, body, x.query.get(WEBHOOK) or webhook)
    wants: dict[str, Any] = {"endpoint": endpoint}
    if fitted.names:
        wants["names"] = fitted.names
    if fitted.sync_mode:
        wants["sync_mode"] = True
        if at_once:
            wants["inline"] = True
    if (start_s := start_timeout_s(x)) is not None:
        wants["start_timeout_s"] = start_s
    return Ask(
        generation=Generation(fitted.operation, card.id, fields),
        context=msgspec.structs.replace(context, warnings=context.warnings + fitted.warnings),
        key=caller.key, org=caller.org, operation=fitted.operation, at_once=at_once, wants=wants,
        rounds=1 if (x.header(NO_RETRY) or "").lower() in ("1", "true", "yes") else None,
    )  # fmt: skip


def start_timeout_s(x: FalExchange) -> float | None:
    """Return the time within which a request must begin; a value that is no such time is ignored."""
    for name in START_TIMEOUTS:
        text = x.header(name)
        if text is None:
            continue
        try:
            seconds = float(text)
        except ValueError:
            continue
        if LEAST_START_S < seconds <= MOST_START_S:
            return seconds
    return None


async def _context(desk: Desk, x: FalExchange, caller: Caller, body: bytes, webhook: Any) -> Context:
    context = desk.door.context(caller, x, NAME, body)
    changes: dict[str, Any] = {}
    if webhook is not None:
        if not isinstance(webhook, str):
            raise Problem(Code.INVALID_INPUT, "fal_webhook must be a URL.", field=WEBHOOK)
        changes["webhook"] = desk.door.webhook(webhook, WEBHOOK)
    if (x.header("x-fal-queue-priority") or "").lower() == "low":
        changes["priority"] = LOW
    wanted = await lifecycle(desk, x, caller.org.id, LIFECYCLE)
    changes["retention"] = Retention(
        media_s=None if wanted.lifetime_s is None else min(wanted.lifetime_s, desk.bounds.media_s),
        store_payload=x.header(STORE_IO) != "0",
        acl=wanted.acl.text(),
    )
    changes["tags"] = fal_tags(x, MAX_TAGS - len(context.tags)) | context.tags
    return msgspec.structs.replace(context, **changes)


async def _own_files(desk: Desk, x: FalExchange, fields: dict[str, Any], card: Card, caller: Caller) -> dict[str, Any]:
    """Put the ids of files that were uploaded here in the place of their URLs."""
    taken = dict(fields)
    for name in card.media_fields:
        value = fields.get(name)
        if isinstance(value, str):
            taken[name] = await desk.input_of(value, x, caller.org.id)
        elif isinstance(value, list):
            taken[name] = [await desk.input_of(one, x, caller.org.id) if isinstance(one, str) else one for one in value]
    return taken


def _query_fields(x: FalExchange) -> dict[str, Any]:
    return {name: text for name, text in x.query.items() if not name.startswith("fal_")}


def _typed(fields: dict[str, Any], card: Card) -> dict[str, Any]:
    """Read the fields of a query, where all is text, as the model's schema means them."""
    typed = dict(fields)
    for name, text in fields.items():
        if isinstance(text, str) and card.schema.properties.get(name, {}).get("type") != "string":
            with contextlib.suppress(msgspec.MsgspecError):
                typed[name] = msgspec.json.decode(text)
    return typed
