"""The answers of the OpenAI dialect as types: what `/openapi.json` describes, and what tests hold real answers to."""

from typing import Any, Literal

from msgspec import UNSET, Struct, UnsetType

from calotype.dialects.openai.images import ImageDatum
from calotype.dialects.openai.videos import VideoDatum


class ErrorDetail(Struct, forbid_unknown_fields=True):
    """Why a request was refused or failed; `param` names the field to change, `data` holds facts such as prices."""

    message: str
    type: str
    code: str
    param: str | None
    data: dict[str, Any] | UnsetType = UNSET


class Error(Struct, forbid_unknown_fields=True):
    """The body of every answer that is not a success."""

    error: ErrorDetail


class Images(Struct, forbid_unknown_fields=True):
    """Pictures, in the order they were made; everything behind `data` is our own addition."""

    created: int
    data: list[ImageDatum]
    usage: dict[str, Any] | UnsetType = UNSET
    model: str | UnsetType = UNSET
    label: str | UnsetType = UNSET
    warnings: list[str] | UnsetType = UNSET


class Message(Struct):
    """What a model said; models that think tell it in `reasoning`."""

    role: Literal["assistant"]
    content: str | None
    refusal: str | None = None
    reasoning: str | UnsetType = UNSET
    tool_calls: list[dict[str, Any]] | UnsetType = UNSET


class Choice(Struct, forbid_unknown_fields=True):
    """One of the answers that were asked for."""

    index: int
    message: Message
    logprobs: dict[str, Any] | None
    finish_reason: Literal["stop", "length", "tool_calls", "content_filter", "function_call"]


class TokenUsage(Struct, forbid_unknown_fields=True):
    """The tokens of a conversation; the details are parts of them."""

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int
    prompt_tokens_details: dict[str, int]
    completion_tokens_details: dict[str, int]


class ChatCompletion(Struct, forbid_unknown_fields=True):
    """A conversation's next turn; with `stream` its pieces come as events of `chat.completion.chunk`."""

    id: str
    object: Literal["chat.completion"]
    created: int
    model: str
    choices: list[Choice]
    usage: TokenUsage
    label: str | UnsetType = UNSET
    warnings: list[str] | UnsetType = UNSET


class Embedding(Struct, forbid_unknown_fields=True):
    """A text as a vector: numbers, or base64 of 32-bit numbers in little endian."""

    object: Literal["embedding"]
    index: int
    embedding: list[float] | str


class Embeddings(Struct, forbid_unknown_fields=True):
    """Texts as vectors, in the order of the request."""

    object: Literal["list"]
    data: list[Embedding]
    model: str
    usage: dict[str, int]
    warnings: list[str] | UnsetType = UNSET


class Page(Struct, forbid_unknown_fields=True):
    """A page of a document, the first being 0."""

    index: int
    markdown: str


class Document(Struct, forbid_unknown_fields=True):
    """What a document says, page by page; `raw` is what the provider itself answered."""

    pages: list[Page]
    page_count: int
    model: str
    usage_info: dict[str, int | None]
    raw: Any
    warnings: list[str] | UnsetType = UNSET


class Transcription(Struct, forbid_unknown_fields=True):
    """What was said in a recording; `verbose_json` adds the length and times."""

    text: str
    usage: dict[str, Any]
    model: str
    task: str | UnsetType = UNSET
    language: str | UnsetType = UNSET
    duration: float | UnsetType = UNSET
    segments: list[dict[str, Any]] | UnsetType = UNSET
    words: list[dict[str, Any]] | UnsetType = UNSET
    label: str | UnsetType = UNSET
    warnings: list[str] | UnsetType = UNSET


class VideoError(Struct, forbid_unknown_fields=True):
    """Why a video failed."""

    code: str
    message: str
    param: str | UnsetType = UNSET


class Video(Struct, forbid_unknown_fields=True):
    """The job of a video; poll it until `status` is `completed` or `failed`."""

    id: str
    object: Literal["video"]
    model: str
    status: Literal["queued", "in_progress", "completed", "failed"]
    progress: int
    created_at: int
    completed_at: int | None
    expires_at: int | None
    prompt: str | None
    seconds: str
    size: str
    remixed_from_video_id: str | None
    error: VideoError | None
    data: list[VideoDatum] | None
    label: str | UnsetType = UNSET
    warnings: list[str] | UnsetType = UNSET


class Videos(Struct, forbid_unknown_fields=True):
    """A page of videos, newest first."""

    object: Literal["list"]
    data: list[Video]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Deleted(Struct, forbid_unknown_fields=True):
    """What was deleted."""

    id: str
    object: Literal["video.deleted", "file"]
    deleted: bool


class Model(Struct, forbid_unknown_fields=True):
    """A model that requests can name."""

    id: str
    object: Literal["model"]
    created: int
    owned_by: str
    title: str
    description: str
    operations: list[str]
    output: str
    status: str
    preview: bool
    tags: list[str]
    aliases: list[str]
    label: str | UnsetType = UNSET
    shutdown_date: str | UnsetType = UNSET
    replacement: str | UnsetType = UNSET


class Models(Struct, forbid_unknown_fields=True):
    """Every model in use."""

    object: Literal["list"]
    data: list[Model]


class Rate(Struct, forbid_unknown_fields=True, rename={"class_": "class"}):
    """What one unit of a model costs, in micro-USD with the margin; `when` says for which inputs."""

    id: str
    alias: str | None
    provider: str
    modality: str
    region: str
    class_: Literal["phi", "general", "staged", "no_route", "free"]
    unit: str
    per: int
    price_micro: int
    when: Any = UNSET


class Pricing(Struct, forbid_unknown_fields=True):
    """The public rate card."""

    object: Literal["list"]
    currency: str
    margin_bps: int
    updated_at: int
    data: list[Rate]


class FileObject(Struct, forbid_unknown_fields=True):
    """An uploaded file; its id can stand where a request takes a URL."""

    id: str
    object: Literal["file"]
    bytes: int
    created_at: int
    expires_at: int
    filename: str
    purpose: str
    status: str
    content_type: str


class Files(Struct, forbid_unknown_fields=True):
    """A page of files."""

    object: Literal["list"]
    data: list[FileObject]
    first_id: str | None
    last_id: str | None
    has_more: bool
