"""Turns the failures a command can expect into one sentence; anything else is a defect and shows its traceback."""

import difflib
import re
import sqlite3
import ssl
from typing import get_args

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsError

from calotype.app import EngineRunning
from calotype.catalog import CardError
from calotype.cli.terminal import Failure
from calotype.db.connection import is_postgres
from calotype.db.schema import UnknownRevisionError
from calotype.kernel.errors import Problem
from calotype.providers.registry import UnknownKind
from calotype.settings import Settings

EXPECTED = (
    Failure, Problem, EngineRunning, CardError, UnknownKind, UnknownRevisionError, ValidationError, SettingsError,
    sqlite3.Error, ssl.SSLError, OSError, ValueError, TimeoutError,
)  # fmt: skip


def is_expected(error: BaseException) -> bool:
    """Say whether a failure is one that a command can meet, rather than a defect."""
    return isinstance(error, EXPECTED) or is_postgres(error) or _of_driver(error) is not None


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
            return "; ".join(_setting(one) for one in error.errors())
        case SettingsError():
            return f"The settings cannot be read: {_unreadable(error)}"
        case sqlite3.Error():
            return f"The database cannot be used: {_first_line(error)}"
        case ssl.SSLError():
            return f"TLS failed: {_first_line(error)}"
        case OSError() if error.strerror:
            return f"{error.strerror}: {error.filename}" if error.filename else str(error.strerror)
        case _ if is_postgres(error) or _of_driver(error) is not None:
            return f"The database cannot be used: {_first_line(_of_driver(error) or error)}"
        case _:
            return str(error) or type(error).__name__


def _of_driver(error: BaseException) -> BaseException | None:
    """Return the database driver's own error inside one of SQLAlchemy's; neither is loaded to look."""
    inner = getattr(error, "orig", None)
    return inner if isinstance(inner, sqlite3.Error) or (inner is not None and is_postgres(inner)) else None


def _setting(error: ErrorDetails) -> str:
    """Say what is wrong with a setting; a name that does not exist is answered with those near it."""
    where = error["loc"]
    name = ".".join(str(part) for part in where) or "settings"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(where[-1]), _beside(where), n=2)
        wholes = [".".join([*map(str, where[:-1]), one]) for one in near]
        return f"There is no setting {name}" + (f" (did you mean {' or '.join(wholes)}?)" if near else "")
    why = error.get("ctx", {}).get("error")
    return f"Setting {name}: {why if error['type'] == 'value_error' and why is not None else error['msg']}"


def _beside(where: tuple[int | str, ...]) -> list[str]:
    """Return the settings that stand where an unknown one was written."""
    fields = Settings.model_fields
    for part in where[:-1]:
        if part not in fields:
            continue  # a name of the operator's own, such as a provider's
        kinds = [fields[str(part)].annotation, *get_args(fields[str(part)].annotation)]
        models = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        fields = models[0].model_fields if models else {}
    return list(fields)


def _unreadable(error: SettingsError) -> str:
    """Name the variable that holds no JSON."""
    found = re.search(r'field "(\w+)"', str(error))
    return f"CALOTYPE_{found[1].upper()} is not JSON." if found else str(error)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
