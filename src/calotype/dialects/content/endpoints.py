"""The endpoints of the content dialect, as they are documented: one for each entry of the catalogue."""

from typing import Any

from calotype.dialects.content import shapes
from calotype.dialects.content.entries import ENTRIES, Entry
from calotype.dialects.content.search import SEARCH
from calotype.dialects.endpoints import Endpoint, Parameter

GROUP = "Content"
_TEXT: dict[str, Any] = {"type": "string"}
_MAKES = (400, 402, 403, 404, 410, 413, 415, 422, 429, 501, 502, 503, 504)
_JOB = Parameter("jobId", "The signed id that the creating call answered.", _TEXT, "path")
_SLUG = Parameter("slug", "The entry's name.", _TEXT, "path")


def _sold(entry: Entry) -> Endpoint:
    job = entry.answers == "job"
    words = f"{entry.description} One price for each request, {entry.per_minute} requests a minute; see /catalog."
    words += " `webhook_url` (or X-Webhook-Url) is told the end."
    return Endpoint(
        entry.method, entry.route, GROUP, entry.title, words, status=202 if job else 200, errors=_MAKES,
        answer=shapes.ContentJob if job else shapes.ContentAssets, error=shapes.ContentError, schema=entry.input,
    )  # fmt: skip


ENDPOINTS: tuple[Endpoint, ...] = (
    *(_sold(entry) for entry in ENTRIES if entry.method == "POST"),
    Endpoint(
        "GET", "/v1/content/jobs/{jobId}", GROUP, "Look at a job", "No key is asked for: the signed id is enough.",
        answer=shapes.ContentJob, parameters=(_JOB,), errors=(404,), error=shapes.ContentError, public=True,
    ),
    Endpoint(
        "GET", "/v1/content/jobs/{jobId}/result", GROUP, "Fetch what a job made",
        "While it is made: 202 and how it stands.", answer=shapes.ContentAssets, parameters=(_JOB,), public=True,
        errors=(400, 404, 409, 410, 502, 503, 504), error=shapes.ContentError,
    ),
    Endpoint(
        "GET", SEARCH.route, GROUP, SEARCH.title, SEARCH.description, answer=shapes.ContentMatches, public=True,
        errors=(400, 429), error=shapes.ContentError,
        parameters=(
            Parameter("q", "Words to look for.", SEARCH.input["properties"]["q"]),
            Parameter("limit", "The most matches.", SEARCH.input["properties"]["limit"]),
        ),
    ),
    Endpoint(
        "GET", "/catalog", GROUP, "The catalogue's page", "What is sold here, as HTML.", media_type="text/html",
        public=True,
    ),
    Endpoint(
        "GET", "/catalog.json", GROUP, "The catalogue", "The same as JSON.", answer=shapes.ContentCatalogue,
        public=True,
    ),
    Endpoint(
        "GET", "/catalog/{slug}", GROUP, "An entry's page",
        "With examples and schemas; `.json` behind the name answers the same as JSON.", media_type="text/html",
        more_types=("application/json",), parameters=(_SLUG,), errors=(404,), error=shapes.ContentError, public=True,
    ),
)  # fmt: skip
