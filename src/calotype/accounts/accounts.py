"""Organisations and keys, kept in memory: a request's key is checked without a read, a change is seen within 1 s."""

import asyncio
import hmac
from collections.abc import Iterable

import structlog
from msgspec.structs import replace

from calotype.accounts import store
from calotype.accounts.store import Stored
from calotype.accounts.tokens import Parsed, hash_of, new_id, new_secret, parse, text_of
from calotype.accounts.types import KeyRecord, Organisation, OrgStatus
from calotype.db import Database, Tx
from calotype.kernel.clock import Clock
from calotype.kernel.errors import Code, Problem
from calotype.kernel.generation import KeyClass, Region, Scope
from calotype.kernel.ids import KeyId, OrgId, uuid7

log = structlog.get_logger(__name__)

DEFAULT_ORG = "default"
MOST_KEYS = 100_000
"""Keys kept in memory; the longest unread ones beyond that are read again when used."""
MOST_UNKNOWN = 10_000
UNKNOWN_MS = 1000
"""An id that nobody has is not read again for so long."""
REFRESH_S = 0.5
IDS_PER_READ = 500


class Accounts:
    """Organisations and API keys of one database."""

    def __init__(self, db: Database, clock: Clock, *, most_keys: int = MOST_KEYS, refresh_s: float = REFRESH_S) -> None:
        self._db = db
        self._clock = clock
        self._most_keys = most_keys
        self._refresh_s = refresh_s
        self._keys: dict[str, Stored] = {}
        self._orgs: dict[str, Organisation] = {}
        self._unknown: dict[str, int] = {}
        self._seen = -1

    async def start(self) -> None:
        """Make the organisation `default` if it is missing and read what is in use into memory."""
        if await self._db.read(lambda tx: store.org_by_name(tx, DEFAULT_ORG)) is None:
            org = Organisation(OrgId(uuid7()), DEFAULT_ORG, created_at_ms=self._clock.now_ms())
            await self._db.write(lambda tx: store.insert_org(tx, org))
        keys = await self._db.read(lambda tx: store.newest_keys(tx, self._most_keys))
        self._keys = {stored.record.id: stored for stored in keys}
        self._seen = -1
        await self.refresh()

    async def refresh(self) -> bool:
        """Read again what changed elsewhere; return whether anything did. Costs one row when nothing did."""
        seen = await self._db.read(store.changes)
        if seen == self._seen:
            return False
        orgs = await self._db.read(store.all_orgs)
        ids = list(self._keys)
        for start in range(0, len(ids), IDS_PER_READ):
            some = ids[start : start + IDS_PER_READ]
            found = await self._db.read(lambda tx, some=some: store.keys_by_id(tx, some))  # type: ignore[misc]
            self._keys.update((stored.record.id, stored) for stored in found)
        self._orgs.update((org.id, org) for org in orgs)  # not in their place: one may have been made since
        self._unknown.clear()
        self._seen = seen
        return True

    async def refresh_forever(self) -> None:
        """Keep what is in memory at most 1 s behind; runs until cancelled, through outages of the database too."""
        while True:
            await asyncio.sleep(self._refresh_s)
            try:
                await self.refresh()
            except Exception as error:
                log.warning("accounts.refresh_failed", error=type(error).__name__)

    def lookup(self, token: str) -> KeyRecord | None:
        """Return the key of a token from memory; None when only a read can tell (`authenticate`).

        Raises:
            Problem: `invalid_api_key`, the same for a missing, malformed, wrong, revoked or expired key.

        """
        parsed = parse(token)
        if parsed is None:
            raise _invalid()
        stored = self._keys.get(parsed.id)
        if stored is not None:
            return self._verified(stored, parsed)
        until = self._unknown.get(parsed.id)
        if until is not None and self._clock.now_ms() < until:
            raise _invalid()
        return None

    async def authenticate(self, token: str) -> KeyRecord:
        """Return the key of a token; an id not in memory costs one read.

        Raises:
            Problem: `invalid_api_key`, the same for a missing, malformed, wrong, revoked or expired key.

        """
        record = self.lookup(token)
        if record is not None:
            return record
        parsed = parse(token)
        if parsed is None:
            raise _invalid()
        stored, org = await self._db.read(lambda tx: _key_and_org(tx, parsed.id))
        if stored is None or org is None:
            self._remember_unknown(parsed.id)
            raise _invalid()
        self._orgs[org.id] = org
        self._keep(stored)
        return self._verified(stored, parsed)

    async def key(self, key_id: str) -> KeyRecord:
        """Return a key that may be used, for somebody who holds leave of ours to use it but not its text.

        Raises:
            Problem: `invalid_api_key`.

        """
        stored = self._keys.get(key_id)
        if stored is None:
            stored, org = await self._db.read(lambda tx: _key_and_org(tx, key_id))
            if stored is None or org is None:
                raise _invalid()
            self._orgs[org.id] = org
            self._keep(stored)
        if not stored.record.usable(self._clock.now_ms()):
            raise _invalid()
        return stored.record

    def organisation(self, org_id: str) -> Organisation:
        """Return an organisation from memory: that of any key `lookup` answered.

        Raises:
            Problem: `not_found`.

        """
        org = self._orgs.get(org_id)
        if org is None:
            raise Problem(Code.NOT_FOUND, "There is no such organisation.", field="organisation")
        return org

    async def create_org(
        self, name: str, *, default_region: Region | None = None, strict_residency: bool = False
    ) -> Organisation:
        """Make an organisation.

        Raises:
            Problem: `conflict` when the name is taken, `invalid_input` when there is none.

        """
        name = name.strip()
        if not 1 <= len(name) <= 100:
            raise Problem(Code.INVALID_INPUT, "name must be a text of 1 to 100 characters.", field="name")
        org = Organisation(
            id=OrgId(uuid7()),
            name=name,
            default_region=default_region,
            strict_residency=strict_residency,
            created_at_ms=self._clock.now_ms(),
        )
        if not await self._db.write(lambda tx: store.insert_org(tx, org)):
            raise Problem(Code.CONFLICT, f"An organisation named {name!r} exists already.", field="name")
        self._orgs[org.id] = org
        return org

    async def get_org(self, id_or_name: str) -> Organisation:
        """Read an organisation by id or name.

        Raises:
            Problem: `not_found`.

        """
        org = await self._db.read(lambda tx: store.org_by_id(tx, id_or_name) or store.org_by_name(tx, id_or_name))
        if org is None:
            raise Problem(Code.NOT_FOUND, "There is no such organisation.", field="organisation")
        self._orgs[org.id] = org
        return org

    async def list_orgs(self) -> list[Organisation]:
        """Read every organisation, oldest first."""
        return await self._db.read(store.all_orgs)

    async def lock_org(self, id_or_name: str, *, locked: bool = True) -> Organisation:
        """Refuse new work of an organisation, or allow it again.

        Raises:
            Problem: `not_found`.

        """
        org = await self.get_org(id_or_name)
        status = OrgStatus.LOCKED if locked else OrgStatus.ACTIVE
        await self._db.write(lambda tx: store.set_status(tx, org.id, status))
        self._orgs[org.id] = replace(org, status=status)
        return self._orgs[org.id]

    async def set_residency(
        self, id_or_name: str, *, default_region: Region | None, strict_residency: bool
    ) -> Organisation:
        """Set where an organisation's requests run.

        Raises:
            Problem: `not_found`.

        """
        org = await self.get_org(id_or_name)
        await self._db.write(lambda tx: store.set_residency(tx, org.id, default_region, strict_residency))
        self._orgs[org.id] = replace(org, default_region=default_region, strict_residency=strict_residency)
        return self._orgs[org.id]

    async def create_key(
        self,
        org: str = DEFAULT_ORG,
        *,
        name: str,
        key_class: KeyClass = KeyClass.PAID,
        scopes: Iterable[Scope] = (Scope.API,),
        models: Iterable[str] | None = None,
        spend_cap_micro: int | None = None,
        requests_per_minute: int | None = None,
        max_in_progress: int | None = None,
        expires_at_ms: int | None = None,
        budget_of: KeyId | None = None,
    ) -> tuple[KeyRecord, str]:
        """Make a key and return it with its text, which is shown this once and not stored.

        Raises:
            Problem: `not_found` for the organisation, `invalid_input` for a bound below 1 or an empty list.

        """
        bounds = {"requests_per_minute": requests_per_minute, "max_in_progress": max_in_progress}
        allowed, granted = None if models is None else tuple(models), frozenset(scopes)
        for field, value in bounds.items():
            if value is not None and value < 1:
                raise Problem(Code.INVALID_INPUT, f"{field} must be at least 1.", field=field)
        if spend_cap_micro is not None and spend_cap_micro < 0:
            raise Problem(Code.INVALID_INPUT, "spend_cap_micro must be at least 0.", field="spend_cap_micro")
        if allowed is not None and not all(allowed):
            raise Problem(Code.INVALID_INPUT, "models must list ids such as gpt-image-2 or local/*.", field="models")
        if not granted:
            raise Problem(Code.INVALID_INPUT, "scopes must name at least one of API, ADMIN.", field="scopes")
        record = KeyRecord(
            id=new_id(),
            org_id=(await self.get_org(org)).id,
            name=name,
            key_class=key_class,
            scopes=granted,
            models=allowed,
            spend_cap_micro=spend_cap_micro,
            requests_per_minute=requests_per_minute,
            max_in_progress=max_in_progress,
            expires_at_ms=expires_at_ms,
            created_at_ms=self._clock.now_ms(),
            budget_of=budget_of,
        )
        secret = new_secret()
        stored = Stored(record, hash_of(secret))
        await self._db.write(lambda tx: store.insert_key(tx, record, stored.secret_hash))
        self._unknown.pop(record.id, None)
        self._keep(stored)
        return record, text_of(record.id, secret, key_class)

    async def key_from(
        self, maker: KeyRecord, *, name: str, requests_per_minute: int | None = None
    ) -> tuple[KeyRecord, str]:
        """Make a key of scope API that may do no more than the one that makes it, and return it with its text.

        A maker with a spend cap or a bound on jobs in progress shares its budget with all that it makes: together they
        are bounded as it is alone. A rate may be lower than the maker's.

        Raises:
            Problem: `invalid_input` for a rate below 1.

        """
        bounded = maker.spend_cap_micro is not None or maker.max_in_progress is not None
        return await self.create_key(
            maker.org_id, name=name, key_class=maker.key_class, models=maker.models,
            spend_cap_micro=maker.spend_cap_micro, max_in_progress=maker.max_in_progress,
            requests_per_minute=maker.requests_per_minute if requests_per_minute is None else requests_per_minute,
            expires_at_ms=maker.expires_at_ms, budget_of=maker.budget_id if bounded else None,
        )  # fmt: skip

    async def change_key(
        self,
        key_id: str,
        *,
        org_id: str,
        name: str | None = None,
        requests_per_minute: int | None = None,
        enabled: bool | None = None,
    ) -> KeyRecord:
        """Change a key of an organisation; what is None stays. A key that is switched off can be switched on again.

        Raises:
            Problem: `not_found`, also for a revoked key; `invalid_input` for a rate below 1.

        """
        if requests_per_minute is not None and requests_per_minute < 1:
            raise Problem(Code.INVALID_INPUT, "requests_per_minute must be at least 1.", field="requests_per_minute")
        now_ms = self._clock.now_ms()

        def write(tx: Tx) -> Stored | None:
            stored = store.key_by_id(tx, key_id)
            if stored is None or stored.record.org_id != org_id or stored.record.revoked_at_ms is not None:
                return None
            record = stored.record
            disabled_at_ms = record.disabled_at_ms
            if enabled is not None:
                disabled_at_ms = None if enabled else disabled_at_ms or now_ms
            record = replace(
                record,
                name=record.name if name is None else name,
                requests_per_minute=requests_per_minute or record.requests_per_minute,
                disabled_at_ms=disabled_at_ms,
            )
            store.update_key(tx, record)
            return Stored(record, stored.secret_hash)

        stored = await self._db.write(write)
        if stored is None:
            raise Problem(Code.NOT_FOUND, "There is no such key.", field="id")
        self._keep(stored)
        return stored.record

    async def list_keys(self, org_id: str | None = None) -> list[KeyRecord]:
        """Read the keys of an organisation, or of all of them, oldest first."""
        return await self._db.read(lambda tx: store.keys_of(tx, org_id))

    async def revoke(self, key_id: str, *, org_id: str | None = None) -> KeyRecord:
        """Revoke a key for good; with `org_id` only a key of that organisation. Again is the same.

        Raises:
            Problem: `not_found`.

        """
        now_ms = self._clock.now_ms()

        def write(tx: Tx) -> Stored | None:
            stored = store.key_by_id(tx, key_id)
            if stored is None or (org_id is not None and stored.record.org_id != org_id):
                return None
            store.revoke_key(tx, key_id, now_ms)
            return store.key_by_id(tx, key_id)

        stored = await self._db.write(write)
        if stored is None:
            raise Problem(Code.NOT_FOUND, "There is no such key.", field="id")
        self._keep(stored)
        return stored.record

    def _verified(self, stored: Stored, parsed: Parsed) -> KeyRecord:
        record = stored.record
        right = hmac.compare_digest(stored.secret_hash, hash_of(parsed.secret))
        named = parsed.test is None or parsed.test == (record.key_class is KeyClass.TEST)
        if not (right and named and record.usable(self._clock.now_ms())):
            raise _invalid()
        return record

    def _keep(self, stored: Stored) -> None:
        """Hold a key in memory, letting the oldest go beyond the bound."""
        self._keys.pop(stored.record.id, None)
        while len(self._keys) >= self._most_keys:
            del self._keys[next(iter(self._keys))]
        self._keys[stored.record.id] = stored

    def _remember_unknown(self, key_id: str) -> None:
        while len(self._unknown) >= MOST_UNKNOWN:
            del self._unknown[next(iter(self._unknown))]
        self._unknown[key_id] = self._clock.now_ms() + UNKNOWN_MS


def _key_and_org(tx: Tx, key_id: str) -> tuple[Stored | None, Organisation | None]:
    stored = store.key_by_id(tx, key_id)
    return stored, store.org_by_id(tx, stored.record.org_id) if stored else None


def _invalid() -> Problem:
    return Problem(Code.INVALID_API_KEY, "The API key is missing, wrong, expired or revoked.")
