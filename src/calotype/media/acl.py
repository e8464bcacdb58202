"""Who may read a file by its URL: a list of its owner's, and what an organisation sets for its coming files.

A file without a list is read by everybody who has its URL; its owner reads it always. `forbid` is told as a refusal,
`hide` as a file that is not there.
"""

from typing import Literal

import msgspec
from msgspec import Struct

from calotype.db import Database, Sql, Tx
from calotype.kernel.clock import Clock, SystemClock

Decision = Literal["allow", "forbid", "hide"]
MAX_RULES = 10
MAX_USER_CHARS = 60
KNOWN_MS = 1000
MOST_KNOWN = 10_000

_OF_KEY = Sql("SELECT acl FROM artifact WHERE key = :key UNION ALL SELECT acl FROM upload WHERE key = :key")
_NAME = Sql("SELECT name FROM organisation WHERE id = :org_id")
_SETTING = Sql("SELECT lifetime_s, acl FROM storage_setting WHERE org_id = :org_id")
_SET_SETTING = Sql(
    "INSERT INTO storage_setting (org_id, lifetime_s, acl) VALUES (:org_id, :lifetime_s, :acl)"
    " ON CONFLICT (org_id) DO UPDATE SET lifetime_s = excluded.lifetime_s, acl = excluded.acl"
)
_FILE = Sql(
    "SELECT acl, expires_at_ms FROM artifact WHERE key = :key AND org_id = :org_id AND deleted_at_ms IS NULL"
    " UNION ALL SELECT acl, expires_at_ms FROM upload WHERE key = :key AND org_id = :org_id"
)
_SET_ARTIFACT = Sql("UPDATE artifact SET acl = :acl WHERE key = :key AND org_id = :org_id")
_SET_UPLOAD = Sql("UPDATE upload SET acl = :acl WHERE key = :key AND org_id = :org_id")


class Rule(Struct, frozen=True, forbid_unknown_fields=True):
    """What holds for one organisation, named by its name or id."""

    user: str
    decision: Decision


class Acl(Struct, frozen=True, forbid_unknown_fields=True):
    """A list: the first rule that names the reader decides, else `default`."""

    default: Decision = "allow"
    rules: tuple[Rule, ...] = ()

    @property
    def bounded(self) -> bool:
        """Whether it is small enough to be kept with a file."""
        return len(self.rules) <= MAX_RULES and all(0 < len(rule.user) <= MAX_USER_CHARS for rule in self.rules)

    def decide(self, names: tuple[str, ...]) -> Decision:
        """Say what holds for a reader who is known under these names."""
        return next((rule.decision for rule in self.rules if rule.user in names), self.default)

    def text(self) -> str | None:
        """Return what is stored: nothing where everybody may read."""
        return None if self == Acl() else msgspec.json.encode(self).decode()


class StorageSetting(Struct, frozen=True):
    """What an organisation wants for files of jobs that say nothing else."""

    lifetime_s: int | None = None
    acl: Acl = Acl()


class OwnFile(Struct, frozen=True):
    """A file as its owner sees it."""

    acl: Acl
    expires_at_ms: int


_decode = msgspec.json.Decoder(Acl).decode


def acl_from(text: str | None) -> Acl:
    """Read a stored list."""
    return Acl() if text is None else _decode(text)


class Acls:
    """The lists of files, and the settings of organisations; these are at most a second old."""

    def __init__(self, db: Database, clock: Clock | None = None) -> None:
        self._db = db
        self._clock = clock or SystemClock()
        self._settings: dict[str, tuple[int, StorageSetting]] = {}

    async def decide(self, key: str, org_id: str | None) -> Decision:
        """Say whether an organisation, or None for nobody we know, may read a file by its plain URL."""
        if org_id is not None and key.partition("/")[0] == org_id:
            return "allow"

        def read(tx: Tx) -> Decision:
            row = tx.row(_OF_KEY, {"key": key})
            if row is None or row[0] is None:
                return "allow"
            found = None if org_id is None else tx.row(_NAME, {"org_id": org_id})
            return acl_from(row[0]).decide(() if org_id is None else (org_id, found[0] if found else org_id))

        return await self._db.read(read)

    async def file(self, key: str, org_id: str) -> OwnFile | None:
        """Return an organisation's file; None for another's, and for one that is gone."""
        row = await self._db.read(lambda tx: tx.row(_FILE, {"key": key, "org_id": org_id}))
        return None if row is None else OwnFile(acl_from(row[0]), row[1])

    async def set(self, key: str, org_id: str, acl: Acl) -> bool:
        """Write a file's list; False where it is not this organisation's."""
        params = {"key": key, "org_id": org_id, "acl": acl.text()}

        def write(tx: Tx) -> int:
            return tx.execute(_SET_ARTIFACT, params) + tx.execute(_SET_UPLOAD, params)

        return await self._db.write(write) > 0

    async def setting(self, org_id: str) -> StorageSetting:
        """Return what an organisation set."""
        now_ms = self._clock.now_ms()
        known = self._settings.get(org_id)
        if known is not None and 0 <= now_ms - known[0] < KNOWN_MS:
            return known[1]
        row = await self._db.read(lambda tx: tx.row(_SETTING, {"org_id": org_id}))
        found = StorageSetting() if row is None else StorageSetting(row[0], acl_from(row[1]))
        self._remember(org_id, now_ms, found)
        return found

    async def set_setting(self, org_id: str, setting: StorageSetting) -> None:
        """Write what an organisation wants."""
        params = {"org_id": org_id, "lifetime_s": setting.lifetime_s, "acl": setting.acl.text()}

        def write(tx: Tx) -> int:
            return tx.execute(_SET_SETTING, params)

        await self._db.write(write)
        self._remember(org_id, self._clock.now_ms(), setting)

    def _remember(self, org_id: str, now_ms: int, setting: StorageSetting) -> None:
        while len(self._settings) >= MOST_KNOWN:
            del self._settings[next(iter(self._settings))]
        self._settings[org_id] = (now_ms, setting)
