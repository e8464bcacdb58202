"""What is asked and under which rules, in our own terms, after a dialect decoded it."""

from enum import StrEnum
from typing import Any

from msgspec import Struct

from calotype.kernel.ids import KeyId, OrgId


class Operation(StrEnum):
    """What a model does; the family a client's endpoint asks for."""

    TEXT_TO_IMAGE = "text-to-image"
    IMAGE_TO_IMAGE = "image-to-image"
    TEXT_TO_VIDEO = "text-to-video"
    IMAGE_TO_VIDEO = "image-to-video"
    VIDEO_TO_VIDEO = "video-to-video"
    TALKING_AVATAR = "talking-avatar"
    LIP_SYNC = "lip-sync"
    TEXT_TO_SPEECH = "text-to-speech"
    TEXT_TO_MUSIC = "text-to-music"
    TEXT_TO_AUDIO = "text-to-audio"
    AUDIO_TO_AUDIO = "audio-to-audio"
    SPEECH_TO_SPEECH = "speech-to-speech"
    VOICE_CLONING = "voice-cloning"
    TRANSCRIPTION = "transcription"
    CHAT = "chat"
    EMBEDDINGS = "embeddings"
    OCR = "ocr"
    UPSCALE = "upscale"
    BACKGROUND_REMOVAL = "background-removal"
    MODERATION = "moderation"
    MEDIA_TOOL = "media-tool"
    DOWNLOAD = "download"
    WORKFLOW = "workflow"
    TRAINING = "training"
    CHARACTER_CREATION = "character-creation"


class DataClass(StrEnum):
    """How sensitive the payload is; `phi` may only run where the operator declared it safe."""

    GENERAL = "general"
    PHI = "phi"


class Region(StrEnum):
    """Where a request is processed (`wire/products.md A3`)."""

    CH = "CH"
    EU = "EU"
    US = "US"
    UK = "UK"
    ASIA = "ASIA"
    ANZ = "ANZ"
    LATAM = "LATAM"
    MENA = "MENA"
    INDIA = "INDIA"
    WORLD = "WORLD"


class Tier(StrEnum):
    """A soft preference among eligible models (`X-Model-Tier`)."""

    FAST = "fast"
    BASELINE = "baseline"
    THINKING = "thinking"


class KeyClass(StrEnum):
    """What a key may reach: `paid` cloud and local, `test` workers and local only, `unlimited` everything unmetered."""

    PAID = "paid"
    TEST = "test"
    UNLIMITED = "unlimited"


class Scope(StrEnum):
    """What a key may do."""

    API = "API"
    ADMIN = "ADMIN"


class Principal(Struct, frozen=True):
    """Who calls."""

    org_id: OrgId
    key_id: KeyId
    key_class: KeyClass
    scopes: frozenset[Scope] = frozenset({Scope.API})


class WebhookTarget(Struct, frozen=True):
    """Where the end of a job is announced."""

    url: str


class Retention(Struct, frozen=True):
    """How long what the job leaves behind is kept; None means the server's own setting."""

    media_s: int | None = None
    store_payload: bool = True
    acl: str | None = None


class Generation(Struct, frozen=True):
    """What is asked: `input` is checked against the JSON Schema of the model's card before anything is held."""

    operation: Operation
    model: str
    input: dict[str, Any]


class Context(Struct, frozen=True):
    """Under which rules a generation runs.

    `fingerprint` is a keyed hash of method, path and body and joins a re-sent request to its job; `retry` says that
    the client itself marked the request as a retry. `priority` is 1 (high), 0 or -1 (low). `customer` and `tags` are
    the caller's own labels for usage.
    """

    principal: Principal
    dialect: str
    data_class: DataClass = DataClass.GENERAL
    region: Region = Region.WORLD
    region_explicit: bool = False
    tier: Tier | None = None
    idempotency_key: str | None = None
    fingerprint: str | None = None
    retry: bool = False
    webhook: WebhookTarget | None = None
    retention: Retention = Retention()
    allow_preview: bool = False
    priority: int = 0
    customer: str | None = None
    tags: dict[str, str] = {}
    request_id: str = ""
    warnings: tuple[str, ...] = ()
