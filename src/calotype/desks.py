"""The desks of the dialects that need nothing but what the house already has."""

from typing import TYPE_CHECKING

from calotype import __version__
from calotype.dialects.addresses import Addresses
from calotype.dialects.content.desk import Desk as ContentDesk
from calotype.dialects.content.handles import Handles
from calotype.dialects.image.desk import Desk as ImageDesk
from calotype.jobs.views import ViewLoader

if TYPE_CHECKING:
    from calotype.app import App


def image_desk(app: "App") -> ImageDesk:
    """Return the desk of the image dialect."""
    return ImageDesk(
        door=app.door, engine=app.engine, catalog=app.catalog, available=app.available, accounts=app.accounts,
        db=app.db, store=app.store, clock=app.clock, addresses=_addresses(app), healthy=app.problems,
        version=__version__,
    )  # fmt: skip


def content_desk(app: "App") -> ContentDesk:
    """Return the desk of the content dialect."""
    return ContentDesk(
        door=app.door, engine=app.engine, views=ViewLoader(app.db), catalog=app.catalog, available=app.available,
        addresses=_addresses(app), handles=Handles(app.secrets.get("content_jobs")),
    )  # fmt: skip


def _addresses(app: "App") -> Addresses:
    return Addresses(app.signer, app.settings.media.url_lifetime_s, app.settings.public_url)
