"""Organisations and API keys as values; secrets are in none of them."""

from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

from calotype.kernel.generation import KeyClass, Principal, Region, Scope
from calotype.kernel.ids import KeyId, OrgId


class OrgStatus(StrEnum):
    """Whether an organisation may start work."""

    ACTIVE = "active"
    LOCKED = "locked"


class Organisation(Struct, frozen=True):
    """A tenant. `default_region` applies where a request names none; `strict_residency` wants routes that name it."""

    id: OrgId
    name: str
    status: OrgStatus = OrgStatus.ACTIVE
    default_region: Region | None = None
    strict_residency: bool = False
    created_at_ms: int = 0

    @property
    def locked(self) -> bool:
        """Whether new work is refused; what was accepted still finishes and can be fetched."""
        return self.status is OrgStatus.LOCKED


class KeyRecord(Struct, frozen=True):
    """An API key without its secret. None means no bound of its own.

    `models` is the allow-list: ids, and prefixes written `name/*`; None allows every model. `budget_of` is the key on
    whose budget it spends, where that is not its own: what both spend and have in progress is bounded together.
    """

    id: KeyId
    org_id: OrgId
    name: str
    key_class: KeyClass = KeyClass.PAID
    scopes: frozenset[Scope] = frozenset({Scope.API})
    models: tuple[str, ...] | None = None
    spend_cap_micro: int | None = None
    requests_per_minute: int | None = None
    max_in_progress: int | None = None
    expires_at_ms: int | None = None
    revoked_at_ms: int | None = None
    created_at_ms: int = 0
    disabled_at_ms: int | None = None
    budget_of: KeyId | None = None

    @property
    def principal(self) -> Principal:
        """Who calls with this key."""
        return Principal(self.org_id, self.id, self.key_class, self.scopes)

    @property
    def budget_id(self) -> KeyId:
        """The key under whose id its spending and its jobs are counted."""
        return self.budget_of or self.id

    def usable(self, now_ms: int) -> bool:
        """Say whether it is neither revoked nor expired, nor switched off."""
        off = self.revoked_at_ms is not None or self.disabled_at_ms is not None
        return not off and (self.expires_at_ms is None or now_ms < self.expires_at_ms)

    def allows(self, model: str, aliases: Iterable[str] = ()) -> bool:
        """Say whether the allow-list has the model: its id, one of its aliases, or a prefix of its id."""
        if self.models is None:
            return True
        for entry in self.models:
            if entry == model or (entry.endswith("*") and model.startswith(entry[:-1])):
                return True
        return any(alias in self.models for alias in aliases)
