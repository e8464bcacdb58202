"""The groups of settings, each with its bounds."""

import re
from datetime import date
from ipaddress import ip_address
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, ConfigDict, Field, SecretStr, field_validator

from calotype.kernel.generation import KeyClass, Region

PIPELINE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,49}(?:/[A-Za-z0-9][A-Za-z0-9._-]{0,49})?")
"""A folder's name, or two as `owner/name`."""


def is_loopback(url: str | None) -> bool:
    """Say whether an address leads to this very machine, where only emulators and local servers are."""
    try:
        host = urlsplit(url or "").hostname or ""
        return host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        return False


class Section(BaseModel):
    """A group of settings; an unknown name inside it is an error, not silence."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class PhiAgreement(Section):
    """The operator's declaration that a provider may process PHI: the agreement's reference and its last day."""

    reference: str = Field(min_length=1)
    expires: date


class ProviderSettings(Section):
    """One named provider instance.

    `kind` names the adapter; it may be left out where the instance's name is itself a kind. `phi` is the operator's
    declaration and is off unless an agreement is named.
    """

    kind: str | None = None
    """What it speaks; it may be left out where the name is itself a kind."""
    api_key: SecretStr | None = None
    """Its credential."""
    api_keys: list[SecretStr] = []
    """Further credentials of the same kind: calls take turns, and one that is refused or used up rests a while."""
    base_url: str | None = None
    """Where it answers; unset means the kind's own address."""
    upload_base_url: str | None = None
    """Where files of the input are uploaded to, for kinds that have another host for them."""
    webhook_secret: SecretStr | None = None
    """What the upstream signs its callbacks with, where the account sets one."""
    moderation_words: list[str] = []
    """Further words by which a refusal's text is known as one of content policy, for kinds that have no code for it."""
    regions: list[str] = ["*"]
    """Where it processes what it is sent; `*` serves general data of any region and names none."""
    phi: PhiAgreement | None = None
    """Your agreement that it may process PHI: its reference and last day, `2027-12-31`; without one it gets none."""
    key_classes: list[KeyClass] | None = None
    """The classes of keys it serves; unset leaves that to the kind."""
    max_in_progress: int = Field(default=1000, ge=1, le=100_000)
    """Jobs it is given at one time."""
    idempotency: Literal["key", "none"] | None = None
    """Whether it honours the idempotency key it is sent; unset leaves that to the kind."""
    models: dict[str, str] = {}
    """Model id in our catalogue → upstream model, for models the instance adds routes to."""
    headers: dict[str, str] = {}
    """Sent with every request, where the kind allows it: who asks (an organisation, a project, a name), no secrets."""
    zero_retention: bool = False
    """Always ask for hosts that keep nothing, where the upstream has a choice; PHI is never sent to any other."""
    connect_timeout_s: float = Field(default=5.0, gt=0, le=60)
    """How long a connection may take."""
    read_timeout_s: float = Field(default=180.0, gt=0, le=3600)
    """How long it may be silent before and within an answer."""
    pool_size: int | None = Field(default=None, ge=1, le=100_000)
    """Connections to the upstream at one time; unset gives each job in progress one of its own."""

    @property
    def credentials(self) -> list[SecretStr | None]:
        """Every credential once, in the order they are written; one None where there is none."""
        given = [key for key in (self.api_key, *self.api_keys) if key is not None]
        return list({key.get_secret_value(): key for key in given}.values()) or [None]

    @field_validator("regions")
    @classmethod
    def _known_regions(cls, value: list[str]) -> list[str]:
        known = {"*", *(region.value for region in Region)}
        for name in value:
            if name not in known:
                raise ValueError(f"unknown region {name!r}: use {', '.join(sorted(known))}")
        return value


class WorkerSettings(Section):
    """A worker of the operator's own that stands in the settings; others are added by `calotype workers add`."""

    url: str
    kind: Literal["comfyui", "http"] = "comfyui"
    provider: str | None = None
    """The provider instance whose regions and declarations hold for it; by default the one named as its kind."""
    token: SecretStr | None = None
    header: str | None = None
    """The header that holds the token alone; unset means `Authorization: Bearer`."""
    min_jobs: int = Field(default=1, ge=1, le=64)
    max_jobs: int = Field(default=2, ge=1, le=64)
    labels: list[str] = []
    loras_dir: Path | None = None
    """Its `loras` folder as this machine sees it, for LoRAs that callers name by URL."""
    note: str = ""


class MediaSettings(Section):
    """Where produced and uploaded files live and for how long."""

    rehost: Literal["always", "off"] = "always"
    """Whether results are stored here, or the URLs of upstreams passed on where that is possible."""
    url_lifetime_s: int = Field(default=3600, ge=60, le=7 * 24 * 3600)
    """How long the link to a file opens it."""
    retention_s: int = Field(default=7 * 24 * 3600, ge=3600)
    """How long produced files are kept."""
    upload_retention_s: int = Field(default=24 * 3600, ge=600)
    """How long uploaded files are kept."""
    max_output_bytes: int = Field(default=512 * 1024 * 1024, ge=1024)
    """The largest file that is taken from an upstream or a local model."""
    max_input_bytes: int = Field(default=100 * 1024 * 1024, ge=1024)
    """The largest file that is fetched for a request."""
    max_upload_bytes: int = Field(default=512 * 1024 * 1024, ge=1024)
    """The largest file that a caller may upload."""
    download_timeout_s: float = Field(default=120.0, gt=0, le=3600)
    """How long fetching one file may take."""
    presign: Literal["redirect", "proxy"] = "redirect"
    """How files in object storage are served: by a redirect to a short-lived URL of the storage, or through us."""
    presign_lifetime_s: int = Field(default=900, ge=10, le=7 * 24 * 3600)
    """How long such a URL of the storage lives; never longer than the link."""

    @property
    def redirect_s(self) -> int | None:
        """How long a URL of the storage may live, None where everything is served through us."""
        return self.presign_lifetime_s if self.presign == "redirect" else None


class StorageSettings(Section):
    """Address and credentials of the object storage that `CALOTYPE_STORAGE_URL` names.

    What is not set comes from the cloud's usual variables (`AWS_…`, `GOOGLE_…`, `AZURE_…`) or its machine identity.
    """

    endpoint: str | None = None
    """Where the storage answers, for those that are not Amazon's, Google's or Azure's own."""
    region: str | None = None
    """Of S3; some others want `auto` or `us-east-1`."""
    access_key_id: str | None = None
    """Of S3."""
    secret_access_key: SecretStr | None = None
    """Of S3."""
    session_token: SecretStr | None = None
    """Of S3, with temporary credentials."""
    service_account_file: Path | None = None
    """Of Google."""
    account: str | None = None
    """Of Azure."""
    account_key: SecretStr | None = None
    """Of Azure."""
    timeout_s: float = Field(default=60.0, gt=0, le=600)
    """Of one request; a large file is many."""
    retries: int = Field(default=3, ge=0, le=10)
    """How often a request that failed is repeated."""


class SecuritySettings(Section):
    """What the server may reach and what it signs with."""

    allowed_private_hosts: list[str] = []
    """`host` or `host:port` entries that input URLs and webhooks may reach although they are private."""
    signing_secret: SecretStr | None = None
    """Signs media URLs, tickets and job ids and keys the hashes of requests; servers that share a database need one."""
    webhook_secret: SecretStr | None = None
    """Signs webhooks; servers that share a database need one."""
    worker_secret: SecretStr | None = None
    """Seals the secrets of workers in the database; servers that share a database need the same one."""
    cors_origins: list[str] = ["*"]
    """The pages that may read answers with JavaScript."""


class LimitSettings(Section):
    """Bounds on what callers may ask of one server; two that share a database let each key have its rate twice."""

    max_body_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """The largest body of a request that is no upload."""
    requests_per_minute: int | None = Field(default=None, ge=1)
    """Of a key that has no rate of its own; unset is no limit."""
    test_requests_per_minute: int = Field(default=60, ge=1)
    """The same of test keys."""
    max_open_jobs_per_org: int = Field(default=10_000, ge=1)
    """How many jobs of an organisation may wait or run; counted every few seconds."""
    max_open_jobs: int = Field(default=1_000_000, ge=1)
    """How many jobs may wait or run in all."""
    max_wait_s: float = Field(default=600.0, gt=0, le=3600)
    """How long a call waits for its job, which goes on."""
    realtime_sessions_per_key: int = Field(default=16, ge=1)
    """How many realtime sessions of fal's dialect a key may have open in one process."""
    realtime_idle_s: float = Field(default=60.0, gt=0, le=3600)
    """How long such a session may wait for its next frame."""


class EngineSettings(Section):
    """How the job runner works."""

    lease_s: float = Field(default=10.0, ge=1, le=300)
    """How long a process that died keeps its jobs from others."""
    job_deadline_s: float = Field(default=3600.0, ge=10)
    """A job that has not ended by then fails and is refunded."""
    claim_batch: int = Field(default=64, ge=1, le=1000)
    """Jobs taken from the queue at once."""
    steps_in_progress: int = Field(default=512, ge=1, le=10_000)
    """Jobs of the queue that a process works on at one time."""
    ambiguous_grace_s: float = Field(default=600.0, ge=1)
    """How long a request whose answer was lost is looked for, where the provider offers a way."""
    worker_processes: int = Field(default=1, ge=1, le=64)
    """Processes in which local models run."""
    worker_queue: int = Field(default=64, ge=1)
    """Local jobs that may wait for one of them before they are told to come later."""


class PipelineSettings(Section):
    """A text-to-image pipeline on this machine's disk; a text alone is its path."""

    path: Path
    """A folder as diffusers saves it, its export for OpenVINO, or an entry of a hub's cache (`models--owner--name`)."""
    title: str | None = Field(default=None, min_length=1, max_length=100)
    licence: str | None = None
    steps: int | None = Field(default=None, ge=1, le=150)
    """Where a request names none; as are guidance_scale and size. Unset leaves it to the pipeline."""
    guidance_scale: float | None = Field(default=None, ge=0, le=50)
    size: str | None = None


class LocalSettings(Section):
    """Pipelines of the operator's own that this machine runs, and what they may use of it."""

    pipelines: dict[str, PipelineSettings] = {}
    """Name → folder; the model is `local/diffusers:<name>` or `local/openvino:<name>`."""
    processes: int = Field(default=1, ge=1, le=8)
    """How many pictures are made at once; each process keeps a pipeline loaded."""
    memory_mb: int | None = Field(default=None, ge=512)
    """What each process may hold in this machine's memory; unset means nine tenths of it."""
    deadline_s: float = Field(default=900.0, ge=1, le=24 * 3600)
    """For one picture, loading included."""
    device: Literal["auto", "cpu", "gpu"] = "auto"
    """Where pipelines run; `auto` takes a GPU where there is one."""
    precision: Literal["auto", "float32", "float16", "bfloat16"] = "auto"
    """Of diffusers; `auto` is half precision on a GPU and float32 on the processor."""
    threads: int | None = Field(default=None, ge=1, le=256)
    """Of the processor; unset means all."""

    @field_validator("pipelines", mode="before")
    @classmethod
    def _paths(cls, value: Any) -> Any:
        if not isinstance(value, dict):
            return value
        return {name: {"path": one} if isinstance(one, str | Path) else one for name, one in value.items()}

    @field_validator("pipelines")
    @classmethod
    def _names(cls, value: dict[str, PipelineSettings]) -> dict[str, PipelineSettings]:
        for name in value:
            if not PIPELINE_NAME.fullmatch(name):
                raise ValueError(f"{name!r} is not a name: use letters, digits and . _ -, or owner/name")
        return value


class WebhookSettings(Section):
    """How ends of jobs are announced."""

    attempts: int = Field(default=10, ge=1, le=30)
    """How often an event is sent until its receiver takes it."""
    timeout_s: float = Field(default=10.0, gt=0, le=60)
    """How long a receiver may take to answer."""
    first_retry_s: float = Field(default=5.0, gt=0)
    """The pause before the second attempt; it doubles with each."""
    concurrency: int = Field(default=32, ge=1, le=1000)
    """Deliveries at one time."""
    source_ranges: list[str] = []
    """The networks from which this server's webhooks reach the world, for receivers that ask (`/fal/api/v1/meta`)."""
