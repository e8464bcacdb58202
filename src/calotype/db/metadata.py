"""The one SQLAlchemy `MetaData` all tables register with; migrations are checked against it.

Column types are Text, BigInteger and Integer only, so that both stores hold the same values: times are Unix
milliseconds (`_ms`), money is micro-USD (`_micro`), flags are 0 or 1, JSON is text.
"""

from typing import Any

from sqlalchemy import BigInteger, MetaData
from sqlalchemy.ext.compiler import compiles

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)


@compiles(BigInteger, "sqlite")
def _integer(_element: BigInteger, _compiler: Any, **_options: Any) -> str:
    """SQLite's integers have 64 bits, and a STRICT table accepts no other word for them."""
    return "INTEGER"
