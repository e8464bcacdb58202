"""Prices that were read from upstreams' own lists: kept in the data directory, read when the catalogue is loaded."""

import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
from msgspec import Struct

from calotype.catalog.files import CardError
from calotype.catalog.prices import Pricing
from calotype.catalog.unit_prices import UnitPrice
from calotype.settings import Settings

FILE = "synced-prices.json"


class Kept(Struct, forbid_unknown_fields=True):
    """The file."""

    prices: list[UnitPrice] = []
    version: int = 1


def read(data_dir: Path) -> tuple[UnitPrice, ...]:
    """Return the prices that were kept; none where there is no file.

    Raises:
        CardError: the file is not ours.

    """
    path = data_dir / FILE
    try:
        return tuple(msgspec.json.decode(path.read_bytes(), type=Kept).prices)
    except FileNotFoundError:
        return ()
    except msgspec.MsgspecError as error:
        raise CardError(FILE, "prices", f"cannot be read: {error}; calotype prices sync writes it anew") from None


def write(data_dir: Path, prices: Iterable[UnitPrice]) -> Path:
    """Keep these prices and no others: whole and durable, or not at all."""
    data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    path = data_dir / FILE
    ordered = sorted(prices, key=lambda one: (one.provider, one.upstream))
    body = msgspec.json.format(msgspec.json.encode(Kept(ordered)), indent=2)
    part = path.with_name(f".{FILE}.{os.getpid()}")
    with part.open("wb") as file:
        file.write(body + b"\n")
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)
    return path


def pricing_of(settings: Settings, kept: Iterable[UnitPrice] | None = None) -> Pricing:
    """Return how costs become prices under these settings; `kept` stands for the file.

    A price that was read from another address than the provider's present one does not count.

    Raises:
        CardError: the file is not ours.

    """
    bases = {name: provider.base_url or "" for name, provider in settings.providers.items()}
    synced = {(one.provider, one.upstream): one for one in (read(settings.data_dir) if kept is None else kept)}
    live = {key: one for key, one in synced.items() if bases.get(one.provider) == one.base_url}
    return Pricing(settings.margin_bps, dict(settings.prices), settings.credit_micro, live)
