"""The desks of the dialects: each gets the parts of the house that it needs."""

from typing import TYPE_CHECKING

from calotype import __version__
from calotype.dialects.addresses import Addresses
from calotype.dialects.content.desk import Desk as ContentDesk
from calotype.dialects.content.handles import Handles
from calotype.dialects.fal.desk import Bounds
from calotype.dialects.fal.desk import Desk as FalDesk
from calotype.dialects.fal.hooks import HookKeys
from calotype.dialects.fal.office import Office
from calotype.dialects.fal.tickets import Tickets
from calotype.dialects.image.desk import Desk as ImageDesk
from calotype.dialects.jobs.desk import Desk as JobsDesk
from calotype.dialects.openai.desk import Desk as OpenAIDesk
from calotype.jobs.positions import Positions
from calotype.jobs.views import ViewLoader
from calotype.media.serve import MediaEndpoint
from calotype.providers.local.platforms import PLATFORMS

if TYPE_CHECKING:
    from calotype.app import App


def openai_desk(app: "App") -> OpenAIDesk:
    """Return the desk of the OpenAI dialect."""
    return OpenAIDesk(
        door=app.door, engine=app.engine, catalog=app.catalog, available=app.available, clock=app.clock,
        signer=app.signer, store=app.store, uploads=app.uploads,
        url_lifetime_s=app.settings.media.url_lifetime_s, public_url=app.settings.public_url,
    )  # fmt: skip


def fal_desk(app: "App", keys: HookKeys, media: MediaEndpoint) -> FalDesk:
    """Return the desk of the fal dialect."""
    settings = app.settings
    ranges = tuple(settings.webhooks.source_ranges)
    return FalDesk(
        door=app.door, engine=app.engine, catalog=app.catalog, positions=Positions(app.db, app.clock), bus=app.bus,
        clock=app.clock, signer=app.signer, store=app.store, uploads=app.uploads, media=media,
        office=Office(app.db, app.accounts, app.ledger, app.acls, app.available, ranges),
        tickets=Tickets(app.secrets.get("fal_tickets"), app.clock), jwks=keys.jwks,
        bounds=Bounds(settings.media.url_lifetime_s, settings.media.retention_s, settings.limits.max_wait_s),
        public_url=settings.public_url,
    )  # fmt: skip


def jobs_desk(app: "App") -> JobsDesk:
    """Return the desk of the jobs dialect."""
    return JobsDesk(
        door=app.door, engine=app.engine, catalog=app.catalog, available=app.available, db=app.db, signer=app.signer,
        uploads=app.uploads, url_lifetime_s=app.settings.media.url_lifetime_s, public_url=app.settings.public_url,
        platforms=PLATFORMS,
    )  # fmt: skip


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
        door=app.door, engine=app.engine, views=ViewLoader(app.db, app.aside), catalog=app.catalog,
        available=app.available, addresses=_addresses(app), handles=Handles(app.secrets.get("content_jobs")),
    )  # fmt: skip


def _addresses(app: "App") -> Addresses:
    return Addresses(app.signer, app.settings.media.url_lifetime_s, app.settings.public_url)
