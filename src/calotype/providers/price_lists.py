"""Price lists that upstreams publish by program: fal (`wire/fal.md §11`), OpenRouter (`wire/providers.md §6.5`).

Each conversation asks for some models and returns what the list says of them, in exact units; what cannot be said
exactly is returned as a reason.
"""

from collections.abc import Callable, Sequence
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlencode

import msgspec
from msgspec import Struct

from calotype.catalog.unit_prices import UnitPrice, exact, unit_of
from calotype.kernel.outcome import Failed, FailedKind
from calotype.kernel.steps import HttpRequest, HttpResponse, Steps
from calotype.providers.answers import redacted
from calotype.providers.fal_calls import BASE_URL as FAL_URL
from calotype.providers.fal_calls import bases
from calotype.providers.openrouter import BASE_URL as OPENROUTER_URL
from calotype.settings import ProviderSettings

TIMEOUT_S = 30.0
MAX_BYTES = 32 << 20
MOST_PAGES = 20
NOT_LISTED = "the list does not name it"


class PriceList(Struct, frozen=True):
    """What a list says: prices, and why some models have none, by upstream model."""

    prices: tuple[UnitPrice, ...] = ()
    unread: dict[str, str] = {}


class Source(Struct, frozen=True):
    """A list: how many models may be asked for at once, and the conversation about some of them on a day."""

    at_once: int
    ask: Callable[[str, ProviderSettings, Sequence[str], str], Steps[PriceList | Failed]]


class _Row(Struct, frozen=True):
    """A line of fal's list; the price as it is written, for a binary fraction would not be exact."""

    endpoint_id: str
    unit_price: Decimal
    unit: str
    currency: str


class _Page(Struct, frozen=True):
    prices: list[_Row]
    next_cursor: str | None = None
    has_more: bool = False


def fal(name: str, settings: ProviderSettings, upstreams: Sequence[str], on: str) -> Steps[PriceList | Failed]:
    """Read fal's unit prices of these endpoints."""
    base = bases(name, settings.base_url or FAL_URL).platform
    key = settings.api_key.get_secret_value().strip() if settings.api_key else ""
    query = [("endpoint_id", upstream) for upstream in upstreams]
    rows: list[_Row] = []
    cursor: str | None = None
    for _ in range(MOST_PAGES):
        asked = urlencode([*query, ("cursor", cursor)] if cursor else query)
        answer: HttpResponse = yield _get(f"{base}/models/pricing?{asked}", f"Key {key}")
        if not answer.ok:
            return _refused(name, answer, key)
        try:
            page = msgspec.json.decode(answer.body, type=_Page)
        except msgspec.MsgspecError as error:
            return _unreadable(name, error)
        rows += page.prices
        cursor = page.next_cursor if page.has_more else None
        if cursor is None:
            break
    prices: dict[str, UnitPrice] = {}
    unread = dict.fromkeys(upstreams, NOT_LISTED)
    for row in rows:
        if row.endpoint_id not in unread:
            continue
        unit = unit_of(row.unit)
        price = exact(row.unit_price, unit[1]) if unit else None
        if row.currency != "USD" or unit is None or price is None:
            unread[row.endpoint_id] = (
                f"{row.unit_price} {row.currency[:10]} for {row.unit[:40]!r} is no price we can count"
            )
            continue
        unread.pop(row.endpoint_id)
        prices[row.endpoint_id] = UnitPrice(
            provider=name, base_url=settings.base_url or "", upstream=row.endpoint_id, unit=unit[0], micro=price[0],
            per=price[1], source="fal's price list", on=on,
        )  # fmt: skip
    return PriceList(tuple(prices.values()), unread)


def openrouter(name: str, settings: ProviderSettings, upstreams: Sequence[str], on: str) -> Steps[PriceList | Failed]:
    """Read OpenRouter's prices for tokens of these models; its list is one answer."""
    base = (settings.base_url or OPENROUTER_URL).rstrip("/")
    key = settings.api_key.get_secret_value().strip() if settings.api_key else ""
    answer: HttpResponse = yield _get(f"{base}/models", f"Bearer {key}")
    if not answer.ok:
        return _refused(name, answer, key)
    body = answer.json()
    listed = body.get("data") if isinstance(body, dict) else None
    if not isinstance(listed, list):
        return _unreadable(name, ValueError("no list of models"))
    pricing = {one["id"]: one.get("pricing") for one in listed if isinstance(one, dict) and "id" in one}
    prices: list[UnitPrice] = []
    unread: dict[str, str] = {}
    for upstream in upstreams:
        found = _tokens(pricing[upstream]) if upstream in pricing else NOT_LISTED
        if isinstance(found, str):
            unread[upstream] = found
            continue
        price = UnitPrice(
            provider=name, base_url=settings.base_url or "", upstream=upstream, unit="token", micro=found[0],
            input_micro=found[1], per=found[2], source="OpenRouter's price list", on=on,
        )  # fmt: skip
        prices.append(price)
    return PriceList(tuple(prices), unread)


PRICE_LISTS: dict[str, Source] = {"fal": Source(50, fal), "openrouter": Source(10_000, openrouter)}
"""Kind of provider → its list."""


def _tokens(pricing: Any) -> tuple[int, int, int] | str:
    """Return output and input price for so many tokens, or why there is none."""
    if not isinstance(pricing, dict):
        return "the list has no price for it"
    try:
        usd = {part: Decimal(str(pricing.get(part) or "0")) for part in ("completion", "prompt", "request")}
    except InvalidOperation:
        return "its price is no number"
    if any(value < 0 for value in usd.values()):
        return "its price is that of the model it chooses"
    if usd["request"]:
        return "it costs something for each request beside the tokens"
    found = exact(usd["completion"], 1), exact(usd["prompt"], 1)
    if found[0] is None or found[1] is None:
        return "its price is finer than we can count"
    per = max(1_000_000, found[0][1], found[1][1])
    return found[0][0] * (per // found[0][1]), found[1][0] * (per // found[1][1]), per


def _get(url: str, credential: str) -> HttpRequest:
    headers = {"Authorization": credential, "Accept": "application/json"}
    return HttpRequest(
        "GET", url, headers, read_timeout_s=TIMEOUT_S, total_timeout_s=2 * TIMEOUT_S, max_bytes=MAX_BYTES
    )


def _refused(name: str, answer: HttpResponse, key: str) -> Failed:
    kinds = {400: FailedKind.INVALID, 404: FailedKind.INVALID, 401: FailedKind.AUTH, 403: FailedKind.AUTH}
    kind = kinds.get(answer.status, FailedKind.RETRY)
    words = redacted(answer.body[:400].decode(errors="replace"), [key])
    message = f"The price list of {name} answered with status {answer.status}."
    return Failed(kind, message, detail=words, status=answer.status)


def _unreadable(name: str, error: Exception) -> Failed:
    return Failed(FailedKind.UPSTREAM, f"The price list of {name} could not be read.", detail=redacted(str(error)))
