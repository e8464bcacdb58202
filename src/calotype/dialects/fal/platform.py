"""The Platform API: its routes, who may use them, and its own shape of errors (`wire/fal.md §11`, `products.md E1`)."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, Literal

from msgspec import Struct

from calotype.dialects.fal import (
    platform_account,
    platform_analytics,
    platform_models,
    platform_requests,
    platform_storage,
    platform_usage,
)
from calotype.dialects.fal.answers import tell
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.errors import allowed, not_offered
from calotype.dialects.fal.places import Service
from calotype.dialects.headers import Headers
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import KeyClass, Scope

Handler = Callable[[Desk, FalExchange], Awaitable[None]]
Need = Literal["nobody", "API", "ADMIN"]
VERSION = "/v1"
DOCUMENT = {Service.API: "/openapi/queue/openapi.json", Service.SITE: "/api/openapi/queue/openapi.json"}
"""Where a model's own document is read; a service's path of the same name below a model id answers it too."""
DOCUMENT_TAIL = "/openapi.json"
ALSO_AT_REST = "/storage/files/"
"""The service of uploads answers what is asked of a file too, in its own shape of errors."""


class Route(Struct, frozen=True):
    """A route: what its handler wants to know of the caller decides how it is called."""

    method: str
    pattern: re.Pattern[str]
    need: Need
    handler: Callable[..., Awaitable[None]]
    knows: Literal["nothing", "caller", "org"] = "org"


def _route(method: str, path: str, need: Need, handler: Callable[..., Awaitable[None]], knows: Any = "org") -> Route:
    return Route(method, re.compile(path.replace("{id}", "(?P<id>[^/]{1,200})") + r"\Z"), need, handler, knows)


ROUTES: tuple[Route, ...] = (
    _route("GET", "/models", "nobody", platform_models.models, "nothing"),
    _route("GET", "/models/pricing", "API", platform_models.pricing, "nothing"),
    _route("POST", "/models/pricing/estimate", "nobody", platform_models.estimate, "nothing"),
    _route("GET", "/models/usage", "ADMIN", platform_usage.usage),
    _route("GET", "/models/analytics", "API", platform_analytics.analytics),
    _route("GET", "/models/billing-events", "ADMIN", platform_usage.billing_events),
    _route("GET", "/models/requests/by-endpoint", "API", platform_requests.by_endpoint),
    _route("GET", "/models/requests/search", "API", platform_requests.search),
    _route("DELETE", "/models/requests/{id}/payloads", "ADMIN", platform_requests.delete_payloads, "caller"),
    _route("GET", "/keys", "ADMIN", platform_account.list_keys, "caller"),
    _route("POST", "/keys", "ADMIN", platform_account.create_key, "caller"),
    _route("DELETE", "/keys/{id}", "ADMIN", platform_account.delete_key, "caller"),
    _route("GET", "/account/billing", "ADMIN", platform_account.billing, "caller"),
    _route("GET", "/account/focus", "ADMIN", platform_usage.focus),
    _route("GET", "/account/model-access-controls", "API", platform_account.access_controls, "caller"),
    _route("GET", "/storage/settings", "API", platform_storage.get_settings),
    _route("PUT", "/storage/settings", "API", platform_storage.put_settings),
    _route("GET", "/storage/files/acl", "API", platform_storage.get_acl),
    _route("PUT", "/storage/files/acl", "API", platform_storage.put_acl),
    _route("POST", "/storage/files/sign", "API", platform_storage.sign),
    _route("GET", "/meta", "nobody", platform_account.meta, "nothing"),
)

NOT_OFFERED: dict[str, str] = {
    "/organization": "An organisation has no teams here; each one is an account of its own.",
    "/assets": "There is no library of media; requests are listed with their files below /models/requests.",
    "/workflows": "Workflows are not kept here.",
    "/serverless": "Programs are not hosted here; machines of one's own are workers, which the operator names.",
    "/compute": "Machines are not rented out here.",
}
"""Parts of fal's API that have no meaning here, and why."""

KINDS: dict[int, str] = {
    401: "authorization_error", 403: "authorization_error", 404: "not_found", 410: "not_found", 429: "rate_limited",
    501: "not_implemented",
}  # fmt: skip


def platform_handler(x: FalExchange, method: str) -> Handler | None:
    """Return who answers a request to the Platform API or for a model's document, None for any other request."""
    service, path = x.place.service, x.place.path
    if method == "GET" and path == DOCUMENT.get(service):
        return _told(platform_models.schema)
    if method == "GET" and service is Service.QUEUE and path.endswith(DOCUMENT_TAIL):
        x.rest = path.removesuffix(DOCUMENT_TAIL).strip("/")
        return _told(platform_models.schema)
    if service is Service.REST and path.startswith(ALSO_AT_REST):
        return _answer
    return _told(_answer) if service is Service.API else None


async def _answer(desk: Desk, x: FalExchange) -> None:
    method = "GET" if x.scope["method"] == "HEAD" else x.scope["method"]
    path = x.place.path
    if x.place.service is Service.API:
        path = path.removeprefix(VERSION) if path.startswith(VERSION + "/") else ""
    found = [(route, match) for route in ROUTES if (match := route.pattern.match(path)) is not None]
    for route, match in found:
        if route.method == method:
            x.rest = match.groupdict().get("id", "")
            await _call(desk, x, route)
            return
    if found:
        raise not_offered(method, *sorted({route.method for route, _ in found}))
    for prefix, reason in NOT_OFFERED.items():
        if path == prefix or path.startswith(prefix + "/"):
            raise Problem(Code.PLANNED, reason)
    raise Problem(Code.NOT_FOUND, f"Path {x.place.path[:200]} not found")


async def _call(desk: Desk, x: FalExchange, route: Route) -> None:
    if route.need == "nobody":
        await route.handler(desk, x)
        return
    caller = await desk.door.enter(x)
    if route.need == "ADMIN" and Scope.ADMIN not in caller.key.scopes:
        raise Problem(Code.FORBIDDEN, "This needs a key of the scope ADMIN.")
    if route.knows == "org" and caller.key.key_class is KeyClass.TEST:
        raise Problem(Code.FORBIDDEN, "A test key is shared: it lists no requests and sets nothing for others.")
    more = {"nothing": (), "caller": (caller,), "org": (caller.org,)}[route.knows]
    await route.handler(desk, x, *more)


def _told(handler: Handler) -> Handler:
    """Tell the problems of a handler in this API's own shape."""

    async def answer(desk: Desk, x: FalExchange) -> None:
        try:
            await handler(desk, x)
        except Problem as problem:
            await refuse(x, problem)

    return answer


async def refuse(x: FalExchange, problem: Problem) -> None:
    """Answer a problem; what does not fit is 400 here."""
    status = 400 if problem.status in (409, 422) else problem.status
    kind = KINDS.get(status, "server_error" if status >= 500 else "validation_error")
    error = {"type": kind, "message": problem.message, "request_id": x.request_id}
    headers: Headers = allowed(problem)
    if problem.retry_after_s is not None:
        headers.append((b"retry-after", str(max(1, round(problem.retry_after_s))).encode()))
    await tell(x, status, {"error": error}, headers)
