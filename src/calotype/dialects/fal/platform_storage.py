"""Files in the Platform API: who may read one, a URL for one reader, and what holds for coming files."""

from typing import Annotated, Any

from msgspec import Meta, Struct

from calotype.accounts.types import Organisation
from calotype.dialects.fal.answers import tell
from calotype.dialects.fal.desk import Desk, FalExchange
from calotype.dialects.fal.platform_queries import Query, body_as, wrong
from calotype.kernel.errors import Code, Problem
from calotype.media.acl import MAX_RULES, MAX_USER_CHARS, Acl, OwnFile, StorageSetting
from calotype.media.signing import Grant


class Settings(Struct):
    """What an organisation wants for its coming files; null stands for the server's own lifetime."""

    expiration_duration_seconds: Annotated[int, Meta(ge=1, le=2**40)] | None = None
    initial_acl: Acl = Acl()


class Signing(Struct):
    """How long a URL shall work."""

    expiration_seconds: Annotated[int, Meta(ge=1, le=604_800)]


async def get_settings(desk: Desk, x: FalExchange, org: Organisation) -> None:
    """Answer what holds for coming files."""
    await tell(x, 200, _told(await desk.office.acls.setting(org.id)))


async def put_settings(desk: Desk, x: FalExchange, org: Organisation) -> None:
    """Set what holds for files of requests that say nothing else."""
    given = body_as(await desk.door.body(x), Settings)
    setting = StorageSetting(given.expiration_duration_seconds, _bounded(given.initial_acl, "initial_acl"))
    await desk.office.acls.set_setting(org.id, setting)
    await tell(x, 200, _told(setting))


async def get_acl(desk: Desk, x: FalExchange, org: Organisation) -> None:
    """Answer who may read a file."""
    await tell(x, 200, _acl((await _file(desk, x, org))[1].acl))


async def put_acl(desk: Desk, x: FalExchange, org: Organisation) -> None:
    """Say who may read a file; it holds for every URL of it that was answered before."""
    grant, _ = await _file(desk, x, org)
    acl = _bounded(body_as(await desk.door.body(x), Acl), "rules")
    await desk.office.acls.set(grant.key, org.id, acl)
    await tell(x, 200, _acl(acl))


async def sign(desk: Desk, x: FalExchange, org: Organisation) -> None:
    """Answer a URL that opens a file whoever may read it otherwise, until then or until the file goes."""
    grant, file = await _file(desk, x, org)
    given = body_as(await desk.door.body(x), Signing)
    until_ms = min(file.expires_at_ms, desk.now_ms() + given.expiration_seconds * 1000)
    await tell(x, 200, {"signed_url": x.bases.media + desk.signed_path(grant, until_ms)})


async def _file(desk: Desk, x: FalExchange, org: Organisation) -> tuple[Grant, OwnFile]:
    """Return the organisation's own file that `url` names; another's does not exist."""
    url = Query(x).text("url")
    if not url:
        raise wrong("url", "is needed: the address of a file of yours.")
    grant = await desk.file_behind(url, org.id)
    file = None if grant is None else await desk.office.acls.file(grant.key, org.id)
    if grant is None or file is None:
        raise Problem(Code.NOT_FOUND, "You have no such file.", field="url")
    return grant, file


def _bounded(acl: Acl, field: str) -> Acl:
    if not acl.bounded:
        raise wrong(field, f"takes up to {MAX_RULES} rules with a user of 1 to {MAX_USER_CHARS} characters each.")
    return acl


def _acl(acl: Acl) -> dict[str, Any]:
    return {"default": acl.default, "rules": [{"user": one.user, "decision": one.decision} for one in acl.rules]}


def _told(setting: StorageSetting) -> dict[str, Any]:
    return {"expiration_duration_seconds": setting.lifetime_s, "initial_acl": _acl(setting.acl)}
