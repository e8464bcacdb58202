"""SQL of organisations and API keys; every write counts as a change that other processes look for."""

import msgspec

from calotype.accounts.types import KeyRecord, Organisation, OrgStatus
from calotype.db import Sql, Tx
from calotype.kernel.generation import KeyClass, Region, Scope
from calotype.kernel.ids import KeyId, OrgId

_ORG = "id, name, status, default_region, strict_residency, created_at_ms"
_KEY = (
    "id, org_id, name, key_class, scopes, models, spend_cap_micro, requests_per_minute, max_in_progress,"
    " expires_at_ms, revoked_at_ms, created_at_ms, disabled_at_ms, budget_of, secret_hash"
)


def _select(columns: str, table: str, rest: str) -> Sql:
    return Sql(" ".join(("SELECT", columns, "FROM", table, rest)))


def _insert(columns: str, table: str, rest: str = "") -> Sql:
    values = columns.replace(" ", "").replace(",", ", :")
    return Sql("".join(("INSERT INTO ", table, " (", columns, ") VALUES (:", values, ") ", rest)))


_INSERT_ORG = _insert(_ORG, "organisation", "ON CONFLICT (name) DO NOTHING")
_ORG_BY_ID = _select(_ORG, "organisation", "WHERE id = :id")
_ORG_BY_NAME = _select(_ORG, "organisation", "WHERE name = :name")
_ORGS = _select(_ORG, "organisation", "ORDER BY created_at_ms, id")
_SET_STATUS = Sql("UPDATE organisation SET status = :status WHERE id = :id")
_SET_RESIDENCY = Sql(
    "UPDATE organisation SET default_region = :default_region, strict_residency = :strict_residency WHERE id = :id"
)
_INSERT_KEY = _insert(_KEY, "api_key")
_KEY_BY_ID = _select(_KEY, "api_key", "WHERE id = :id")
_KEYS_BY_ID = _select(_KEY, "api_key", "WHERE id {in:ids}")
_KEYS_OF_ORG = _select(_KEY, "api_key", "WHERE org_id = :org_id ORDER BY created_at_ms, id")
_KEYS = _select(_KEY, "api_key", "ORDER BY created_at_ms, id")
_NEWEST_KEYS = _select(_KEY, "api_key", "WHERE revoked_at_ms IS NULL ORDER BY created_at_ms DESC LIMIT :most")
_REVOKE = Sql("UPDATE api_key SET revoked_at_ms = :now_ms WHERE id = :id AND revoked_at_ms IS NULL")
_UPDATE_KEY = Sql(
    "UPDATE api_key SET name = :name, requests_per_minute = :requests_per_minute, disabled_at_ms = :disabled_at_ms"
    " WHERE id = :id"
)
_CHANGED = Sql(
    "INSERT INTO account_change (id, n) VALUES (1, 1) ON CONFLICT (id) DO UPDATE SET n = account_change.n + 1"
)
_CHANGES = Sql("SELECT n FROM account_change WHERE id = 1")


class Stored(msgspec.Struct, frozen=True):
    """A key with the hash of its secret."""

    record: KeyRecord
    secret_hash: str


def insert_org(tx: Tx, org: Organisation) -> bool:
    """Write a new organisation; False when the name is taken."""
    params = {
        "id": org.id,
        "name": org.name,
        "status": org.status.value,
        "default_region": org.default_region.value if org.default_region else None,
        "strict_residency": int(org.strict_residency),
        "created_at_ms": org.created_at_ms,
    }
    if not tx.execute(_INSERT_ORG, params):
        return False
    tx.execute(_CHANGED)
    return True


def org_by_id(tx: Tx, org_id: str) -> Organisation | None:
    """Read one organisation."""
    row = tx.row(_ORG_BY_ID, {"id": org_id})
    return _org(row) if row else None


def org_by_name(tx: Tx, name: str) -> Organisation | None:
    """Read one organisation by its name."""
    row = tx.row(_ORG_BY_NAME, {"name": name})
    return _org(row) if row else None


def all_orgs(tx: Tx) -> list[Organisation]:
    """Read every organisation, oldest first."""
    return [_org(row) for row in tx.rows(_ORGS)]


def set_status(tx: Tx, org_id: str, status: OrgStatus) -> bool:
    """Lock or unlock an organisation; False when there is none."""
    found = tx.execute(_SET_STATUS, {"id": org_id, "status": status.value}) > 0
    tx.execute(_CHANGED)
    return found


def set_residency(tx: Tx, org_id: str, default_region: Region | None, strict: bool) -> bool:
    """Set where an organisation's requests run by default; False when there is none."""
    region = default_region.value if default_region else None
    params = {"id": org_id, "default_region": region, "strict_residency": int(strict)}
    found = tx.execute(_SET_RESIDENCY, params) > 0
    tx.execute(_CHANGED)
    return found


def insert_key(tx: Tx, record: KeyRecord, secret_hash: str) -> None:
    """Write a new key."""
    params = {
        "id": record.id,
        "org_id": record.org_id,
        "name": record.name,
        "key_class": record.key_class.value,
        "scopes": msgspec.json.encode(sorted(record.scopes)).decode(),
        "models": None if record.models is None else msgspec.json.encode(record.models).decode(),
        "spend_cap_micro": record.spend_cap_micro,
        "requests_per_minute": record.requests_per_minute,
        "max_in_progress": record.max_in_progress,
        "expires_at_ms": record.expires_at_ms,
        "revoked_at_ms": record.revoked_at_ms,
        "created_at_ms": record.created_at_ms,
        "disabled_at_ms": record.disabled_at_ms,
        "budget_of": record.budget_of,
        "secret_hash": secret_hash,
    }
    tx.execute(_INSERT_KEY, params)
    tx.execute(_CHANGED)


def key_by_id(tx: Tx, key_id: str) -> Stored | None:
    """Read one key."""
    row = tx.row(_KEY_BY_ID, {"id": key_id})
    return _key(row) if row else None


def keys_by_id(tx: Tx, ids: list[str]) -> list[Stored]:
    """Read some keys."""
    return [_key(row) for row in tx.rows(_KEYS_BY_ID, {"ids": ids})]


def keys_of(tx: Tx, org_id: str | None) -> list[KeyRecord]:
    """Read the keys of an organisation, or all of them, oldest first."""
    rows = tx.rows(_KEYS) if org_id is None else tx.rows(_KEYS_OF_ORG, {"org_id": org_id})
    return [_key(row).record for row in rows]


def newest_keys(tx: Tx, most: int) -> list[Stored]:
    """Read the keys in use, at most `most` of them."""
    return [_key(row) for row in tx.rows(_NEWEST_KEYS, {"most": most})]


def update_key(tx: Tx, record: KeyRecord) -> None:
    """Write what of a key may change: its name, its rate and whether it is switched off."""
    params = {
        "id": record.id,
        "name": record.name,
        "requests_per_minute": record.requests_per_minute,
        "disabled_at_ms": record.disabled_at_ms,
    }
    tx.execute(_UPDATE_KEY, params)
    tx.execute(_CHANGED)


def revoke_key(tx: Tx, key_id: str, now_ms: int) -> None:
    """Revoke a key; the first revocation stays."""
    tx.execute(_REVOKE, {"id": key_id, "now_ms": now_ms})
    tx.execute(_CHANGED)


def changes(tx: Tx) -> int:
    """Return how many changes there have been."""
    row = tx.row(_CHANGES)
    return int(row[0]) if row else 0


def _org(row: tuple[object, ...]) -> Organisation:
    org_id, name, status, region, strict, created = row
    return Organisation(
        id=OrgId(str(org_id)),
        name=str(name),
        status=OrgStatus(str(status)),
        default_region=Region(str(region)) if region else None,
        strict_residency=bool(strict),
        created_at_ms=int(str(created)),
    )


def _key(row: tuple[object, ...]) -> Stored:
    values = dict(zip(KeyRecord.__struct_fields__, row, strict=False))
    models = values["models"]
    values["scopes"] = frozenset(msgspec.json.decode(str(values["scopes"]), type=list[Scope]))
    values["models"] = None if models is None else msgspec.json.decode(str(models), type=tuple[str, ...])
    values["key_class"] = KeyClass(str(values["key_class"]))
    values["id"] = KeyId(str(values["id"]))
    return Stored(msgspec.convert(values, KeyRecord), str(row[-1]))
