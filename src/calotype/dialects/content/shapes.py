"""The answers of the content dialect as types: what `/openapi.json` describes, and what tests hold real answers to."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType


class ContentErrorDetail(Struct, forbid_unknown_fields=True):
    """Why a request was refused or failed; `field` names what to change."""

    code: str
    message: str
    field: str | UnsetType = UNSET


class ContentError(Struct, forbid_unknown_fields=True):
    """The body of every answer of this dialect that is not a success."""

    error: ContentErrorDetail


class ContentAsset(Struct, forbid_unknown_fields=True):
    """One file."""

    url: str
    contentType: str  # noqa: N815  (the wire's own name)
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET


class ContentAssets(Struct, forbid_unknown_fields=True):
    """What was made; `requestedCount` says how many a pack has."""

    requestId: str  # noqa: N815
    assets: list[ContentAsset]
    provider: str
    modelClass: str  # noqa: N815
    retailPrice: str  # noqa: N815
    requestedCount: int | UnsetType = UNSET  # noqa: N815


class ContentJob(Struct, forbid_unknown_fields=True):
    """A job; its signed id is all that its addresses ask for."""

    jobId: str  # noqa: N815
    status: Literal["IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED"]
    statusUrl: str  # noqa: N815
    resultUrl: str  # noqa: N815
    provider: str | UnsetType = UNSET
    modelClass: str | UnsetType = UNSET  # noqa: N815
    retailPrice: str | UnsetType = UNSET  # noqa: N815
    error: ContentErrorDetail | UnsetType = UNSET


class ContentMatch(Struct, forbid_unknown_fields=True):
    """An entry that a query fits."""

    slug: str
    method: str
    path: str
    score: float
    matchedTerms: list[str]  # noqa: N815


class ContentMatches(Struct, forbid_unknown_fields=True):
    """What a search found, the best first."""

    query: str
    count: int
    matches: list[ContentMatch]


class ContentEntry(Struct, forbid_unknown_fields=True):
    """What a page of the catalogue says; examples and schemas are on the page of one entry only."""

    slug: str
    category: str
    title: str
    description: str
    price: str
    priceMicro: int  # noqa: N815
    method: str
    route: str
    status: Literal["Live", "Planned"]
    mimeType: str  # noqa: N815
    rateLimit: str  # noqa: N815
    cache: str
    tags: list[str]
    apiUrl: str  # noqa: N815
    pageUrl: str  # noqa: N815
    docsUrl: str  # noqa: N815
    exampleRequest: dict[str, Any] | UnsetType = UNSET  # noqa: N815
    exampleResponse: dict[str, Any] | UnsetType = UNSET  # noqa: N815
    inputSchema: dict[str, Any] | UnsetType = UNSET  # noqa: N815
    outputSchema: dict[str, Any] | UnsetType = UNSET  # noqa: N815


class ContentCatalogue(Struct, forbid_unknown_fields=True):
    """Everything that is sold."""

    count: int
    entries: list[ContentEntry]
