"""The answers of the image dialect as types: what `/openapi.json` describes, and what tests hold real answers to."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType


class ImageErrorDetail(Struct, forbid_unknown_fields=True):
    """Why a request was refused or failed; `details` holds the field, the house's own code and further facts."""

    code: str
    message: str
    details: dict[str, Any]


class ImageError(Struct, forbid_unknown_fields=True):
    """The body of every answer of this dialect that is not a success."""

    error: ImageErrorDetail


class ImagePicture(Struct, forbid_unknown_fields=True):
    """One picture: a short-lived URL, or of `imagen-*` its bytes."""

    mimeType: str  # noqa: N815  (the wire's own name)
    url: str | UnsetType = UNSET
    base64: str | UnsetType = UNSET
    width: int | UnsetType = UNSET
    height: int | UnsetType = UNSET


class ImageMade(Struct, forbid_unknown_fields=True):
    """What was made and what it cost."""

    id: str
    model: str
    provider: str
    images: list[ImagePicture]
    cost_usd: float
    seed: int | UnsetType = UNSET
    label: str | UnsetType = UNSET


class ImageAnswer(Struct, forbid_unknown_fields=True):
    """A finished picture."""

    success: Literal[True]
    data: ImageMade
    warnings: list[str] | UnsetType = UNSET


class ImageFilm(Struct, forbid_unknown_fields=True):
    """How a film stands."""

    model: str
    provider: str
    status: Literal["processing", "completed", "failed"]
    operation_id: str
    poll_url: str
    progress: int | UnsetType = UNSET
    url: str | UnsetType | None = UNSET
    cost_usd: float | UnsetType = UNSET
    error: ImageErrorDetail | UnsetType = UNSET
    label: str | UnsetType = UNSET


class ImageFilmAnswer(Struct, forbid_unknown_fields=True):
    """A film that is made in the background."""

    success: Literal[True]
    data: ImageFilm
    warnings: list[str] | UnsetType = UNSET


class ImagePrice(Struct, forbid_unknown_fields=True):
    """What so many units cost, in USD with the margin."""

    unit: str
    per: int
    usd: float
    when: dict[str, Any] | UnsetType = UNSET


class ImageModel(Struct, forbid_unknown_fields=True):
    """A model, the call it belongs to, and the parameters of this dialect that it takes."""

    id: str
    title: str
    call: Literal["generate", "edit", "video"]
    provider: str
    available: bool
    status: str
    parameters: list[str]
    prices: list[ImagePrice]


class ImageModelList(Struct, forbid_unknown_fields=True):
    """Every model that makes pictures or films."""

    models: list[ImageModel]


class ImageModels(Struct, forbid_unknown_fields=True):
    """The answer that lists models."""

    success: Literal[True]
    data: ImageModelList


class ImageNewKey(Struct, forbid_unknown_fields=True):
    """A key as it is shown this once."""

    keyId: str  # noqa: N815
    key: str
    name: str


class ImageNewKeyAnswer(Struct, forbid_unknown_fields=True):
    """The answer that makes a key."""

    success: Literal[True]
    data: ImageNewKey


class ImageKey(Struct, forbid_unknown_fields=True, rename={"class_": "class"}):
    """A key without its secret."""

    keyId: str  # noqa: N815
    name: str
    rateLimit: int | None  # noqa: N815
    enabled: bool
    class_: str
    scopes: list[str]
    createdAt: str  # noqa: N815
    expiresAt: str | None  # noqa: N815


class ImageKeyAnswer(Struct, forbid_unknown_fields=True):
    """The answer that shows a key."""

    success: Literal[True]
    data: ImageKey


class ImageKeyList(Struct, forbid_unknown_fields=True):
    """The keys of an organisation."""

    keys: list[ImageKey]


class ImageKeys(Struct, forbid_unknown_fields=True):
    """The answer that lists keys."""

    success: Literal[True]
    data: ImageKeyList


class ImageSpent(Struct, forbid_unknown_fields=True):
    """What one group of requests cost."""

    name: str
    requests: int
    succeeded: int
    failed: int
    cost_micro: int
    cost_usd: float


class ImageUsage(Struct, forbid_unknown_fields=True, rename={"since": "from", "until": "to"}):
    """What was asked for and spent in a stretch of time."""

    since: str
    until: str
    requests: int
    succeeded: int
    failed: int
    cost_micro: int
    cost_usd: float
    group_by: str
    groups: list[ImageSpent]


class ImageUsageAnswer(Struct, forbid_unknown_fields=True):
    """The answer that tells usage."""

    success: Literal[True]
    data: ImageUsage


class ImageHealth(Struct):
    """Whether the server works; `problems` names what keeps it from working."""

    success: bool
    data: dict[str, Any]
