"""Connections, the command writer and migrations: one code path for SQLite and PostgreSQL."""

from calotype.db.database import Database
from calotype.db.sql import ManySql, Sql, Store
from calotype.db.tx import Tx
from calotype.db.writer import Command

__all__ = ["Command", "Database", "ManySql", "Sql", "Store", "Tx"]
