"""Opens what `CALOTYPE_STORAGE_URL` names: this disk, or a bucket."""

from calotype.media.local import LocalStore
from calotype.media.store import Store
from calotype.settings import Settings


def open_store(settings: Settings) -> Store:
    """Return the store that the settings name; nothing is sent yet.

    Raises:
        ValueError: the client does not take these settings; the text says why.

    """
    folder = settings.data_dir / "media"
    if settings.storage_url is None:
        return LocalStore(folder)
    from calotype.media.buckets import open_backend  # noqa: PLC0415  (3 MiB that a local disk never needs)
    from calotype.media.remote import RemoteStore  # noqa: PLC0415

    return RemoteStore(open_backend(settings.storage_url, settings.storage), folder / "tmp")
