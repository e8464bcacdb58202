"""The catalogue as values: what `/catalog.json` answers and the pages are written from (`wire/products.md C1`)."""

from typing import Any

from calotype.dialects.content.answers import JOBS, price_text
from calotype.dialects.content.desk import Desk
from calotype.dialects.content.entries import ENTRIES, Entry

MIME = "application/json"
_TEXT = {"type": "string"}
_SOLD: dict[str, Any] = {"provider": _TEXT, "modelClass": _TEXT, "retailPrice": _TEXT}
_ASSET = {
    "type": "object",
    "required": ["url"],
    "properties": {
        "url": {"type": "string", "format": "uri"}, "width": {"type": "integer"}, "height": {"type": "integer"},
        "contentType": _TEXT,
    },
}  # fmt: skip
_JOB: dict[str, Any] = {
    "jobId": _TEXT,
    "status": {"type": "string", "enum": ["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED"]},
    "statusUrl": _TEXT,
    "resultUrl": _TEXT,
}
_MATCH: dict[str, Any] = {
    "slug": _TEXT, "method": _TEXT, "path": _TEXT, "score": {"type": "number"},
    "matchedTerms": {"type": "array", "items": _TEXT},
}  # fmt: skip
_EXAMPLE_JOB = "eyJ2IjoxLCJyZXF1ZXN0SWQiOiIwMTlhOWMxZS03YTVjLTdkMGUtOGE0Zi0yYjZjMWQzZTVmNzAifQ.c2lnbmF0dXJl"


def summary(desk: Desk, entry: Entry, base: str) -> dict[str, Any]:
    """Return what a page says about an entry in its head."""
    return {
        "slug": entry.slug,
        "category": entry.category,
        "title": entry.title,
        "description": entry.description,
        "price": desk.price(entry),
        "priceMicro": desk.price_micro(entry),
        "method": entry.method,
        "route": entry.route,
        "status": "Live" if desk.live(entry) else "Planned",
        "mimeType": MIME,
        "rateLimit": f"{entry.per_minute}/minute",
        "cache": entry.cache,
        "tags": list(entry.tags),
        "apiUrl": base + entry.route,
        "pageUrl": f"{base}/catalog/{entry.slug}",
        "docsUrl": f"{base}/docs",
    }


def whole(desk: Desk, entry: Entry, base: str) -> dict[str, Any]:
    """Return everything a page says: examples and schemas too."""
    return {
        **summary(desk, entry, base),
        "exampleRequest": entry.example,
        "exampleResponse": example_response(entry, desk.price_micro(entry), base),
        "inputSchema": entry.input,
        "outputSchema": output_schema(entry),
    }


def listing(desk: Desk, base: str) -> dict[str, Any]:
    """Return all entries."""
    return {"count": len(ENTRIES), "entries": [summary(desk, entry, base) for entry in ENTRIES]}


def output_schema(entry: Entry) -> dict[str, Any]:
    """Return the JSON Schema of what an entry answers."""
    if entry.answers == "matches":
        match = {"type": "object", "required": list(_MATCH), "properties": _MATCH}
        known: dict[str, Any] = {
            "query": _TEXT, "count": {"type": "integer"}, "matches": {"type": "array", "items": match},
        }  # fmt: skip
    elif entry.answers == "job":
        known = {**_JOB, **_SOLD}
    else:
        count = {"requestedCount": {"type": "integer"}} if entry.count is not None else {}
        known = {"requestId": _TEXT, "assets": {"type": "array", "items": _ASSET}, **count, **_SOLD}
    return {"type": "object", "required": list(known), "properties": known}


def example_response(entry: Entry, price_micro: int, base: str) -> dict[str, Any]:
    """Return an answer as it looks, with the price in force."""
    if entry.answers == "matches":
        slug = "content-video-product-motion"
        route = next(one.route for one in ENTRIES if one.slug == slug)
        match = {
            "slug": slug, "method": "POST", "path": route, "score": 15.0, "matchedTerms": ["product", "video"],
        }  # fmt: skip
        return {"query": "product video", "count": 1, "matches": [match]}
    sold = {"provider": "fal", "modelClass": entry.model_class, "retailPrice": price_text(price_micro)}
    if entry.answers == "job":
        place = {"jobId": _EXAMPLE_JOB, "status": "IN_QUEUE", "statusUrl": JOBS + _EXAMPLE_JOB}
        return {**place, "resultUrl": f"{JOBS}{_EXAMPLE_JOB}/result", **sold}
    asset = {"url": f"{base}/v1/media/…/0.png", "width": 1024, "height": 1024, "contentType": "image/png"}
    body: dict[str, Any] = {"requestId": f"{entry.prefix}-1795000000000-3e5f70", "assets": [asset] * (entry.count or 1)}
    if entry.count is not None:
        body["requestedCount"] = entry.count
    return body | sold
