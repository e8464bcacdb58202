"""Connections to PostgreSQL; loaded only where a database is one."""

import psycopg
from psycopg.conninfo import conninfo_to_dict, make_conninfo

_TIMEOUTS = {
    "connect_timeout": 10,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
"""A server that vanished without a word is noticed within half a minute; the URL may say otherwise."""


def conninfo_of(url: str) -> str:
    """Return a database URL as libpq reads it: a driver named in it is left out."""
    scheme, colon, rest = url.partition("://")
    return scheme.partition("+")[0] + colon + rest


def open_postgres(url: str) -> "psycopg.Connection[tuple[object, ...]]":
    """Return a new connection in autocommit.

    Raises:
        psycopg.Error: the server cannot be reached, or the URL cannot be read.

    """
    conninfo = conninfo_of(url)
    said = conninfo_to_dict(conninfo)
    timeouts = {name: value for name, value in _TIMEOUTS.items() if name not in said}
    return psycopg.connect(make_conninfo(conninfo, **timeouts), autocommit=True)
