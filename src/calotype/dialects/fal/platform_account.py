"""Keys, credit, allowed models and the server's own facts in the Platform API (`wire/products.md E4`, `E5`)."""

import csv
import io
from typing import Annotated, Any

from msgspec import Meta, Struct

from calotype.accounts.tokens import parse
from calotype.accounts.types import KeyRecord
from calotype.dialects.door import Caller
from calotype.dialects.fal.answers import standing, tell
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.model_schema import category
from calotype.dialects.fal.platform_queries import Query, body_as, iso, page, seal, usd_number, wrong
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import Scope

MOST_PAGE = 100


class NewKey(Struct):
    """What a new key is called."""

    alias: Annotated[str, Meta(min_length=1, max_length=255)]


async def list_keys(desk: Desk, x: FalExchange, caller: Caller) -> None:
    """Answer the organisation's keys that can be used, without their secrets."""
    query = Query(x)
    query.expand("creator_info")
    now_ms = desk.now_ms()
    found = [key for key in await desk.office.accounts.list_keys(caller.org.id) if key.usable(now_ms)]
    found.sort(key=lambda key: (key.created_at_ms, key.id))
    if (after := query.cursor(int, str)) is not None:
        found = [key for key in found if (key.created_at_ms, key.id) > (after[0], after[1])]
    most = query.limit(MOST_PAGE, MOST_PAGE)
    shown = found[:most]
    cursor = seal(shown[-1].created_at_ms, shown[-1].id) if len(found) > most else None
    await tell(x, 200, page("keys", [_key(key) for key in shown], cursor))


async def create_key(desk: Desk, x: FalExchange, caller: Caller) -> None:
    """Make a key of scope API with the bounds and the budget of the key that asks; its secret is shown this once."""
    given = body_as(await desk.door.body(x), NewKey)
    if not given.alias.isprintable():
        raise wrong("alias", "holds characters that cannot be shown.")
    record, text = await desk.office.accounts.key_from(caller.key, name=given.alias)
    parsed = parse(text)
    assert parsed is not None, "a new key can be read"
    body = {"key_id": record.id, "key_secret": parsed.secret, "key": f"{record.id}:{parsed.secret}"}
    await tell(x, 201, body)


async def delete_key(desk: Desk, x: FalExchange, caller: Caller) -> None:
    """Revoke a key for good."""
    try:
        await desk.office.accounts.revoke(x.rest, org_id=caller.org.id)
    except Problem as problem:
        if problem.code is not Code.NOT_FOUND:
            raise
        raise Problem(Code.NOT_FOUND, "There is no such key.", field="key_id") from None
    await x.answer(204, standing(x), b"")


async def billing(desk: Desk, x: FalExchange, caller: Caller) -> None:
    """Answer whose account this is and, with `expand=credits`, what may still be spent."""
    body: dict[str, Any] = {"username": caller.org.name}
    if "credits" in Query(x).expand("credits"):
        balance = await desk.office.ledger.balance(caller.org.id)
        left_micro = balance.posted_micro - balance.held_micro
        body["credits"] = {"current_balance": usd_number(left_micro), "currency": "USD"}
    await tell(x, 200, body)


async def access_controls(desk: Desk, x: FalExchange, caller: Caller) -> None:
    """Answer which models the key may call, as a table."""
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(("Endpoint ID", "Title", "Category", "Enterprise Status", "UI Access", "API Access"))
    for card in desk.catalog.cards():
        allowed = "ALLOWED" if caller.key.allows(card.id, card.aliases) else "BLOCKED"
        table.writerow((card.id, card.title, category(card), "", allowed, allowed))
    kind = [(b"content-type", b"text/csv; charset=utf-8")]
    await x.answer(200, [*kind, *standing(x)], text.getvalue().encode())


async def meta(desk: Desk, x: FalExchange) -> None:
    """Answer from which addresses webhooks come, as far as the operator told."""
    await tell(x, 200, {"webhook_ip_ranges": list(desk.office.webhook_ranges)})


def _key(key: KeyRecord) -> dict[str, Any]:
    scope = Scope.ADMIN if Scope.ADMIN in key.scopes else Scope.API
    return {"key_id": key.id, "alias": key.name, "scope": scope.value, "created_at": iso(key.created_at_ms)}
