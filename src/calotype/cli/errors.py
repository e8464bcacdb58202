"""Turns the failures a command can expect into one sentence; anything else is a defect and shows its traceback."""

import sqlite3
import ssl

import psycopg
from pydantic import ValidationError
from pydantic_settings import SettingsError
from sqlalchemy.exc import ArgumentError, DBAPIError

from calotype.app import EngineRunning
from calotype.catalog import CardError
from calotype.cli.terminal import Failure
from calotype.db.migrate import UnknownRevisionError
from calotype.kernel.errors import Problem
from calotype.providers.registry import UnknownKind

EXPECTED = (
    Failure, Problem, EngineRunning, CardError, UnknownKind, UnknownRevisionError, ValidationError, SettingsError,
    DBAPIError, ArgumentError, psycopg.Error, sqlite3.Error, ssl.SSLError, OSError, ValueError, TimeoutError,
)  # fmt: skip


def sentence(error: BaseException) -> str:
    """Say what went wrong in one sentence, with the field where one is to blame."""
    match error:
        case Problem():
            return error.message if error.field is None else f"{error.message} (field: {error.field})"
        case EngineRunning():
            return f"{str(error)[:1].upper()}{str(error)[1:]}; stop it first or choose another --data-dir."
        case UnknownRevisionError():
            return f"The database is newer than this program: {error}."
        case ValidationError():
            return "; ".join(_setting(one["loc"], one["msg"]) for one in error.errors())
        case SettingsError():
            return f"The settings cannot be read: {error}"
        case DBAPIError():
            return f"The database cannot be used: {_first_line(error.orig or error)}"
        case psycopg.Error() | sqlite3.Error():
            return f"The database cannot be used: {_first_line(error)}"
        case ArgumentError():
            return "CALOTYPE_DATABASE_URL cannot be read: write sqlite:///path or postgresql://user@host/name."
        case ssl.SSLError():
            return f"TLS failed: {_first_line(error)}"
        case OSError() if error.strerror:
            return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
        case _:
            return str(error) or type(error).__name__


def _setting(where: tuple[int | str, ...], message: str) -> str:
    name = ".".join(str(part) for part in where) or "settings"
    return f"Setting {name}: {message}"


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
