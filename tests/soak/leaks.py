"""Where a secret may not be: in any file of the installation, any row of its database, any refusal."""

import re
from collections.abc import Iterable
from pathlib import Path

import psycopg
from psycopg import sql

from soak.soak_house import SECRETS, SoakHouse
from soak.storm import SECRET, Sent, Tenant

_CALLBACK = re.compile(rb"/callbacks/([A-Za-z0-9_%-]{40,60})")
_PHI = re.compile(rf"{SECRET}\d{{5}}:".encode())


def leaks(house: SoakHouse, sent: list[Sent], tenants: list[Tenant]) -> list[str]:
    """Return what was found and where: credentials, callers' keys, prompts of PHI, callback addresses."""
    secrets = {secret.encode() for secret in SECRETS.values()}
    secrets |= {secret.encode().partition(b":")[2] for secret in SECRETS.values() if ":" in secret}
    secrets |= {key.encode() for tenant in tenants for key in tenant.keys}
    tokens = callbacks(house)
    assert tokens, "no upstream was given an address"
    found = []
    for place, text in _texts(house, sent):
        found += [f"{secret.decode()} in {place}" for secret in secrets if secret in text]
        found += [f"callback {token.decode()} in {place}" for token in tokens if token in text]
        found += [f"PHI {prompt.decode()} in {place}" for prompt in set(_PHI.findall(text))]
    return found


def callbacks(house: SoakHouse) -> set[bytes]:
    """Return the tokens of the addresses that upstreams were given."""
    texts = [f"{submit.query} ".encode() + submit.body for _, submit in house.upstreams.submits]
    return {token for text in texts for token in _CALLBACK.findall(text.replace(b"%2F", b"/"))}


def _texts(house: SoakHouse, sent: list[Sent]) -> Iterable[tuple[str, bytes]]:
    for path in sorted(house.folder.rglob("*")):
        if path.is_file():
            yield str(path.relative_to(house.folder)), _read(path)
    yield from ((f"the answer to request {one.n}", one.refusal.encode()) for one in sent if one.refusal)
    if house.url.startswith("postgresql"):
        yield from _tables(house.url)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:  # a temporary file of the running server
        return b""


def _tables(url: str) -> Iterable[tuple[str, bytes]]:
    with psycopg.connect(url) as db:
        names = db.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        for (name,) in names:
            rows = db.execute(sql.SQL("SELECT t::text FROM {} t").format(sql.Identifier(name)))
            yield f"table {name}", "\n".join(row for (row,) in rows).encode()
