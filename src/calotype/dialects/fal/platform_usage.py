"""Usage in buckets, billing events and the FOCUS report: what jobs delivered and what was captured for them.

A unit price is what was paid for a unit on average, for prices may change within a bucket; there are no discounts.
"""

import csv
import io
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from calotype.accounts.types import KeyRecord, Organisation
from calotype.dialects.fal.answers import standing, tell
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.platform_queries import (
    DAY_MS,
    Query,
    iso,
    page,
    period,
    seal,
    usd_number,
    window,
    wrong,
)
from calotype.jobs.usage import Charge, Place, Span, Used, charges, used
from calotype.kernel.errors import Code, Problem

USUAL_BUCKETS = 1000
MOST_EVENTS = 10_000
USUAL_EVENTS = 1000
MOST_DAYS = 90
AUTH = ("auth_method", "auth_method_structured")
PROVIDER = "Calotype"
FOCUS = (
    "BilledCost", "BillingAccountId", "BillingAccountName", "BillingCurrency", "ChargeCategory", "ChargeDescription",
    "ChargePeriodEnd", "ChargePeriodStart", "ConsumedQuantity", "ConsumedUnit", "ContractedCost", "EffectiveCost",
    "InvoiceIssuerName", "ListCost", "PricingQuantity", "PricingUnit", "ProviderName", "PublisherName", "ResourceId",
    "ResourceName", "ServiceCategory", "ServiceName", "SkuId", "SubAccountId",
)  # fmt: skip
"""Columns of the FinOps Foundation's cost and usage specification that have a meaning here."""

Keys = dict[str, KeyRecord]


async def usage(desk: Desk, x: FalExchange, org: Organisation) -> None:
    """Answer what was used, by model and unit, in buckets of time, as a summary, or both."""
    query = Query(x)
    expand = query.expand("time_series", "summary", *AUTH, default=("time_series",))
    if not {"time_series", "summary"} & set(expand):
        raise wrong("expand", "must name time_series, summary or both.")
    _no_logins(query)
    when = period(query, desk.now_ms())
    span = Span(org.id, when.start_ms, when.end_ms, query.models(desk.catalog), query.many("api_key_id"))
    after = query.cursor(int)
    sums = await desk.office.db.read(lambda tx: used(tx, span, when.grain_ms))
    keys = await _keys(desk, org, expand)
    series: dict[int, list[Used]] = {}
    for one in sums:
        series.setdefault(when.bucket(one.at_ms), []).append(one)
    buckets = [at_ms for at_ms in sorted(series) if after is None or at_ms > after[0]]
    most = query.limit(USUAL_BUCKETS, USUAL_BUCKETS)
    cursor = seal(buckets[most - 1]) if len(buckets) > most else None
    body: dict[str, Any] = {"next_cursor": cursor, "has_more": cursor is not None}
    if "time_series" in expand:
        body["time_series"] = [
            {"bucket": iso(at_ms), "results": _results(series[at_ms], expand, keys)} for at_ms in buckets[:most]
        ]
    if "summary" in expand:
        body["summary"] = _results(sums, expand, keys)
    await tell(x, 200, body)


async def billing_events(desk: Desk, x: FalExchange, org: Organisation) -> None:
    """Answer what each request that succeeded was charged, newest first."""
    query = Query(x)
    expand = query.expand(*AUTH)
    _no_logins(query)
    ids = query.many("request_id")
    usual_ms = DAY_MS if ids is None else MOST_DAYS * DAY_MS
    start_ms, end_ms = window(query, desk.now_ms(), usual_ms=usual_ms, most_days=MOST_DAYS)
    span = Span(org.id, start_ms, end_ms, query.models(desk.catalog), query.many("api_key_id"))
    most = query.limit(USUAL_EVENTS, MOST_EVENTS)
    place = Place(*(query.cursor(int, str) or ()))
    found = await desk.office.db.read(lambda tx: charges(tx, span, most=most + 1, place=place, ids=ids))
    keys = await _keys(desk, org, expand)
    shown = found[:most]
    cursor = seal(shown[-1].finished_at_ms, shown[-1].id) if len(found) > most else None
    await tell(x, 200, page("billing_events", [_event(one, expand, keys) for one in shown], cursor))


async def focus(desk: Desk, x: FalExchange, org: Organisation) -> None:
    """Answer the FOCUS report of a month or of up to 90 days: one line for each day, model, unit and key."""
    query = Query(x)
    query.expand()
    if query.choice("source", ("invoice", "estimate")) is None:
        raise wrong("source", "is needed: invoice or estimate.")
    if query.text("source") == "invoice":
        raise Problem(Code.PLANNED, "Credit is prepaid here and no invoices are written; use source=estimate.")
    start_ms, end_ms = _month(query) or window(query, desk.now_ms(), most_days=MOST_DAYS)
    sums = await desk.office.db.read(lambda tx: used(tx, Span(org.id, start_ms, end_ms), DAY_MS))
    text = io.StringIO()
    table = csv.writer(text, lineterminator="\n")
    table.writerow(FOCUS)
    table.writerows(_focus_row(one, org) for one in sums)
    kind = [(b"content-type", b"text/csv; charset=utf-8")]
    await x.answer(200, [*kind, *standing(x)], text.getvalue().encode())


def _results(sums: Iterable[Used], expand: tuple[str, ...], keys: Keys) -> list[dict[str, Any]]:
    """Add up by model and unit, and by key where it is asked how requests came in."""
    by_key = bool(set(AUTH) & set(expand))
    groups: dict[tuple[str, str, str], list[int]] = {}
    for one in sums:
        group = groups.setdefault((one.model, one.unit, one.key_id if by_key else ""), [0, 0])
        group[0] += one.quantity
        group[1] += one.charged_micro
    return [
        {
            "endpoint_id": model, "unit": unit, "quantity": quantity,
            "unit_price": usd_number(micro) / quantity if quantity else 0.0, **_money(micro),
            "cost": usd_number(micro), "currency": "USD", **_auth(key_id, expand, keys),
        }
        for (model, unit, key_id), (quantity, micro) in sorted(groups.items())
    ]  # fmt: skip


def _event(one: Charge, expand: tuple[str, ...], keys: Keys) -> dict[str, Any]:
    return {
        "request_id": one.id, "endpoint_id": one.model, "timestamp": iso(one.finished_at_ms), "output_units": one.units,
        "unit_price": usd_number(one.charged_micro) / one.units if one.units else None, **_money(one.charged_micro),
        "cost_estimate_nano_usd": one.charged_micro * 1000, **_auth(one.key_id, expand, keys),
    }  # fmt: skip


def _money(micro: int) -> dict[str, Any]:
    cost = usd_number(micro)
    return {"percent_discount": None, "cost_subtotal": cost, "cost_discount": 0.0, "cost_total": cost}


async def _keys(desk: Desk, org: Organisation, expand: tuple[str, ...]) -> Keys:
    if not set(AUTH) & set(expand):
        return {}
    return {key.id: key for key in await desk.office.accounts.list_keys(org.id)}


def _auth(key_id: str, expand: tuple[str, ...], keys: Keys) -> dict[str, Any]:
    key = keys.get(key_id)
    told: dict[str, Any] = {}
    if "auth_method" in expand:
        told["auth_method"] = f"API key: {key.name if key is not None else key_id}"
    if "auth_method_structured" in expand:
        told["auth_method_structured"] = {"detail": "api_key", "api_key_id": key_id}
    return told


def _no_logins(query: Query) -> None:
    if query.many("login_username") is not None:
        raise wrong("login_username", "has no meaning here: every request comes with a key; use api_key_id.")


def _month(query: Query) -> tuple[int, int] | None:
    """Read `billing_month` or `charge_month`, which are the same where credit is prepaid."""
    name = "billing_month" if query.text("billing_month") else "charge_month"
    text = query.text(name)
    if text is None:
        return None
    year, _, month = text.partition("-")
    if not (text.isascii() and len(text) == 7 and year.isdigit() and month.isdigit()):
        raise wrong(name, "must be a month such as 2026-11.")
    number = int(month)
    if not (1 <= number <= 12 and 1970 <= int(year) <= 2999):
        raise wrong(name, "must be a month such as 2026-11.")
    return _first_ms(int(year), number), _first_ms(int(year) + number // 12, number % 12 + 1)


def _first_ms(year: int, month: int) -> int:
    return int(datetime(year, month, 1, tzinfo=UTC).timestamp()) * 1000


def _focus_row(one: Used, org: Organisation) -> list[Any]:
    cost = f"{one.charged_micro / 1_000_000:.6f}"
    said = {
        "BilledCost": cost, "BillingAccountId": org.id, "BillingAccountName": org.name, "BillingCurrency": "USD",
        "ChargeCategory": "Usage", "ChargeDescription": f"{one.jobs} requests",
        "ChargePeriodEnd": iso(one.at_ms + DAY_MS), "ChargePeriodStart": iso(one.at_ms),
        "ConsumedQuantity": one.quantity, "ConsumedUnit": one.unit,
        "ContractedCost": cost, "EffectiveCost": cost, "InvoiceIssuerName": PROVIDER, "ListCost": cost,
        "PricingQuantity": one.quantity, "PricingUnit": one.unit, "ProviderName": PROVIDER, "PublisherName": PROVIDER,
        "ResourceId": one.model, "ResourceName": one.model, "ServiceCategory": "AI and Machine Learning",
        "ServiceName": "Generative media", "SkuId": f"{one.model}/{one.unit}", "SubAccountId": one.key_id,
    }  # fmt: skip
    return [_safe(said[name]) for name in FOCUS]


def _safe(value: Any) -> Any:
    """Keep a spreadsheet from reading a name as a formula."""
    return f"'{value}" if isinstance(value, str) and value[:1] in "=+-@" and value else value
