"""What fal says about an account without any work (`wire/fal.md §11`): its balance to an administrator's key only."""

from calotype.kernel.outcome import FailedKind
from calotype.kernel.steps import HttpRequest, HttpResponse, Steps
from calotype.providers.base import Check
from calotype.providers.fal_answers import REFUSALS, failed

TIMEOUT_S = 15.0
ANY_MODEL = "fal-ai/flux/dev"


def account(platform: str, authorized: dict[str, str]) -> Steps[Check]:
    """Ask the Platform API for the balance; a key that may not see it is tried on the price list."""
    billing: HttpResponse = yield _get(f"{platform}/account/billing?expand=credits", authorized)
    if billing.ok:
        return Check.of(billing.status, _balance(billing))
    if failed(REFUSALS, billing, "").kind is FailedKind.QUOTA:
        return Check(True, "ok", note="the account is locked or out of credit")
    prices: HttpResponse = yield _get(f"{platform}/models/pricing?endpoint_id={ANY_MODEL}", authorized)
    return Check.of(prices.status, note="only an administrator's key sees the balance" if prices.ok else "")


def _balance(answer: HttpResponse) -> str | None:
    body = answer.json()
    known = body.get("credits") if isinstance(body, dict) else None
    left = known.get("current_balance") if isinstance(known, dict) else None
    return f"{left:,.2f} {known.get('currency', 'USD')}" if known and isinstance(left, int | float) else None


def _get(url: str, authorized: dict[str, str]) -> HttpRequest:
    return HttpRequest("GET", url, authorized, read_timeout_s=TIMEOUT_S, total_timeout_s=60.0, max_bytes=1 << 20)
