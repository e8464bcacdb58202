"""The storage clients: S3 and everything that speaks it, Google Cloud Storage, Azure."""

from datetime import timedelta
from typing import Any

from obstore.store import AzureStore, GCSStore, ObjectStore, S3Store
from pydantic import SecretStr

from calotype.settings import StorageSettings

CONNECT_S = 5.0
FIRST_PAUSE_S = 0.1
LAST_PAUSE_S = 2.0


def open_backend(url: str, settings: StorageSettings) -> ObjectStore:
    """Return the storage client: bounded in time and in retries, with credentials from the settings or the cloud's own.

    Raises:
        ValueError: the client does not take these settings; the text says why.

    """
    common: dict[str, Any] = {
        "client_options": {
            "connect_timeout": timedelta(seconds=CONNECT_S),
            "timeout": timedelta(seconds=settings.timeout_s),
            "allow_http": True,  # only an endpoint that the operator wrote with http:// is spoken to so
            "user_agent": "calotype",
        },
        "retry_config": {
            "max_retries": settings.retries,
            "retry_timeout": timedelta(seconds=settings.timeout_s),
            "backoff": {
                "init_backoff": timedelta(seconds=FIRST_PAUSE_S),
                "max_backoff": timedelta(seconds=LAST_PAUSE_S),
                "base": 2,
            },
        },
    }
    try:
        match url.partition(":")[0]:
            case "s3":
                config = _given(
                    endpoint=settings.endpoint, region=settings.region, access_key_id=settings.access_key_id,
                    secret_access_key=settings.secret_access_key, session_token=settings.session_token,
                )  # fmt: skip
                return S3Store.from_url(url, config=config, **common)
            case "gs":
                file = None if settings.service_account_file is None else str(settings.service_account_file)
                return GCSStore.from_url(url, config=_given(service_account=file, base_url=settings.endpoint), **common)
            case "az":
                config = _given(
                    account_name=settings.account, account_key=settings.account_key, endpoint=settings.endpoint
                )
                return AzureStore.from_url(url, config=config, **common)
            case scheme:
                raise ValueError(f"unknown storage {scheme!r}")
    except Exception as error:
        first = str(error).partition("\n")[0]
        raise ValueError(f"The storage cannot be opened: {first}") from None


def _given(**values: str | SecretStr | None) -> Any:
    """Return what is set, secrets in the open."""
    return {
        name: value.get_secret_value() if isinstance(value, SecretStr) else value
        for name, value in values.items()
        if value is not None
    }
