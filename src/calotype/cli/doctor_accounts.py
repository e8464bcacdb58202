"""What `calotype doctor` asks the providers that are set up: whether they can be reached, know us, and what is left."""

import asyncio
from datetime import date
from typing import Literal

from msgspec import Struct

from calotype.providers.base import Check
from calotype.providers.driver import Driven
from calotype.providers.registry import factory_of
from calotype.settings import ProviderSettings, Settings

PATIENCE_S = 10.0


class Account(Struct, frozen=True):
    """One credential of a provider. `number` counts them from 1; `reachable` is None where nothing was asked."""

    provider: str
    kind: str
    number: int
    key: bool
    reachable: bool | None = None
    credential: Literal["ok", "refused", "unknown"] = "unknown"
    balance: str | None = None
    note: str = ""
    usable: bool = True
    """False where the settings themselves keep the provider from being used."""

    @property
    def sentence(self) -> str:
        """Say it in words."""
        if not self.usable:
            return self.note
        parts = ["key set" if self.key else "no key"]
        if self.reachable is not None:
            parts.append("reachable" if self.reachable else "cannot be reached")
        if self.credential != "unknown":
            parts.append(f"credential {'valid' if self.credential == 'ok' else 'refused'}")
        if self.balance is not None:
            parts.append(f"balance {self.balance}")
        return ", ".join(parts) + (f" ({self.note})" if self.note else "")

    @property
    def warning(self) -> bool:
        """Whether somebody should look although a server can work."""
        return self.reachable is False or (not self.key and self.credential != "ok")


def accounts(settings: Settings, *, ask: bool = True) -> tuple[Account, ...]:
    """Return every credential of every provider that is set up; with `ask` each upstream is asked, all at once.

    This machine and workers have no account: other checks look at them.
    """

    async def look() -> tuple[Account, ...]:
        found = await asyncio.gather(*(_look(name, one, ask=ask) for name, one in sorted(settings.providers.items())))
        return tuple(account for group in found for account in group)

    return asyncio.run(look())


def agreements(settings: Settings, today: date) -> list[tuple[str, bool, str]]:
    """Return for each agreement about PHI the provider's name, whether it is in force, and what it is."""
    found = [(name, one.phi) for name, one in sorted(settings.providers.items()) if one.phi is not None]
    return [
        (f"agreement {name}", today <= phi.expires, f"{phi.reference}, {_until(phi.expires, today)}")
        for name, phi in found
    ]


def _until(last: date, today: date) -> str:
    return f"PHI until {last}" if today <= last else f"ended on {last}: no PHI goes there"


async def _look(name: str, settings: ProviderSettings, *, ask: bool) -> tuple[Account, ...]:
    kind = settings.kind or name
    bare = tuple(Account(name, kind, n, key is not None) for n, key in enumerate(settings.credentials, start=1))
    try:
        factory = factory_of(kind)
        if factory is None:
            return ()
        runtime = factory(name, settings)
    except ValueError as error:
        return (Account(name, kind, 1, bare[0].key, note=str(error), usable=False),)
    try:
        if not ask or not isinstance(runtime, Driven):
            return bare
        async with asyncio.timeout(PATIENCE_S):
            said = await runtime.check()
    except TimeoutError:
        said = (Check(reachable=False, note=f"no answer within {PATIENCE_S:g} s"),) * len(bare)
    finally:
        await runtime.close()
    return tuple(
        one if check is None else Account(
            name, kind, one.number, one.key, check.reachable, check.credential, check.balance, check.note
        )
        for one, check in zip(bare, said, strict=True)
    )  # fmt: skip
