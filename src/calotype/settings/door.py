"""The one door through which configuration enters: environment, then `calotype.toml`, then defaults.

Every setting travels from here as an argument; no other module reads the environment. Nested values use two
underscores (`CALOTYPE_MEDIA__REHOST=off`). The providers' usual variables (`OPENAI_API_KEY` …) work too.
"""

import contextlib
import os
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, field_validator
from pydantic_settings import BaseSettings, PydanticBaseSettingsSource, SettingsConfigDict, TomlConfigSettingsSource

from calotype.settings.sections import (
    EngineSettings,
    LimitSettings,
    LocalSettings,
    MediaSettings,
    ProviderSettings,
    SecuritySettings,
    StorageSettings,
    WebhookSettings,
    WorkerSettings,
)
from calotype.settings.usual import USUAL_VARIABLES, UsualVariables

_STORAGE_URL = re.compile(r"(?:s3|gs|az)://[\w.-]+(?:/[\w./-]*)?\Z")


class Settings(BaseSettings):
    """Everything an operator can set."""

    model_config = SettingsConfigDict(
        env_prefix="CALOTYPE_", env_nested_delimiter="__", extra="forbid", frozen=True, validate_default=True
    )

    data_dir: Path = Path("calotype-data")
    """Where the database, media, secrets and weights of this server lie."""
    database_url: str | None = None
    """`sqlite:///…` or `postgresql://…`; unset means SQLite inside the data directory."""
    public_url: str | None = None
    """The address by which clients and upstreams reach the server; media URLs begin with it."""
    storage_url: str | None = None
    """`s3://bucket/prefix`, `gs://…` or `az://container/prefix`; unset means the data directory."""
    host: str = "127.0.0.1"
    """The address to listen on."""
    port: int = Field(default=8700, ge=0, le=65535)
    """The port; 0 takes a free one."""
    margin_bps: int = Field(default=1000, ge=0, le=100_000)
    """What is added to a provider's cost, in basis points: 1000 is ten per cent."""
    credit_micro: int = Field(default=30_000, ge=1)
    """What a credit of the jobs API is worth, in micro-USD."""
    strict_residency: bool = False
    """Whether a region that is asked for is served only by routes that name it."""
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """The least that is logged."""
    log_format: Literal["auto", "json", "console"] = "auto"
    """`auto` is lines for people on a terminal, else JSON."""
    cards_dir: Path | None = None
    """A folder of the operator's own model cards; a card there replaces the built-in one of the same id."""
    prices: dict[str, int] = {}
    """Model id → flat retail price in micro-USD per unit of the card's rule; wins over cost plus margin."""
    providers: dict[str, ProviderSettings] = {}
    workers: dict[str, WorkerSettings] = {}
    """Workers of your own by name; `calotype workers add` registers others."""
    media: MediaSettings = MediaSettings()
    storage: StorageSettings = StorageSettings()
    security: SecuritySettings = SecuritySettings()
    limits: LimitSettings = LimitSettings()
    engine: EngineSettings = EngineSettings()
    local: LocalSettings = LocalSettings()
    webhooks: WebhookSettings = WebhookSettings()

    @field_validator("storage_url")
    @classmethod
    def _known_storage(cls, value: str | None) -> str | None:
        if value is not None and not _STORAGE_URL.match(value):
            raise ValueError("use s3://bucket/prefix, gs://bucket/prefix or az://container/prefix")
        return value

    @field_validator("providers", "workers", mode="before")
    @classmethod
    def _lower_names(cls, value: Any) -> Any:
        return {str(name).lower(): item for name, item in value.items()} if isinstance(value, dict) else value

    @property
    def database(self) -> str:
        """The database URL in force."""
        return self.database_url or f"sqlite:///{self.data_dir.absolute() / 'calotype.db'}"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003  (the signature is the library's)
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the doors: arguments, environment, the TOML file, the providers' usual variables."""
        return (init_settings, env_settings, _file(settings_cls), UsualVariables(settings_cls))


def _file(settings_cls: type[BaseSettings]) -> PydanticBaseSettingsSource:
    """Read the file of settings.

    Raises:
        ValueError: it is not TOML, or the variable names a file that is not there.

    """
    named = os.environ.get("CALOTYPE_CONFIG")
    if named and not Path(named).exists():
        raise ValueError(f"CALOTYPE_CONFIG names {named}, and there is no such file")
    path = named or "calotype.toml"
    try:
        return TomlConfigSettingsSource(settings_cls, path)
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not TOML: {error}") from None


@contextlib.contextmanager
def settings_from(variables: Mapping[str, str]) -> Iterator[None]:
    """Let settings come from these variables alone while the block runs: from no others, and from no file."""
    kept = dict(os.environ)
    for name in kept:
        if name.upper().startswith("CALOTYPE_") or name in USUAL_VARIABLES or name.startswith("FAL_"):
            del os.environ[name]
    os.environ.update({"CALOTYPE_CONFIG": os.devnull, **variables})
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(kept)


_OF_CLIENTS = frozenset({"CONFIG", "URL", "KEY", "API_KEY"})
"""What else of our name stands in environments: the file of settings, and what clients and examples read."""


def unknown_variables() -> list[str]:
    """Return the variables that are written as settings and set nothing, such as `CALOTYPE_PROT`."""
    known = _OF_CLIENTS | {name.upper() for name in Settings.model_fields}
    ours = (name for name in sorted(os.environ) if name.upper().startswith("CALOTYPE_"))
    return [name for name in ours if name.upper().removeprefix("CALOTYPE_").partition("__")[0] not in known]


def secret_variable(name: str) -> str | None:
    """Return an environment variable that something registered names as the place of its secret."""
    return os.environ.get(name)
