"""Schema changes: one Alembic series for both databases."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

if TYPE_CHECKING:
    from alembic.config import Config

# The newest revision. A server whose database is there already need not load Alembic to know it.
HEAD = "0023"
LOCK_KEY = 0x6F6B6C70  # "oklp"


def alembic_config() -> Config:
    """What Alembic's own commands are given."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent).replace("%", "%%"))
    return config


def migrate(connection: sa.Connection) -> None:
    """Bring the schema to the newest revision. Safe to call from many nodes at once; idempotent.

    The connection is in autocommit; everything happens in one transaction of its own.
    """
    postgres = connection.dialect.name == "postgresql"
    if postgres:
        connection.exec_driver_sql("SET statement_timeout = 0")
        connection.exec_driver_sql("SET lock_timeout = 0")
        connection.exec_driver_sql("BEGIN")
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK_KEY})")
    else:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    from alembic import command

    config = alembic_config()
    config.attributes["connection"] = connection
    try:
        command.upgrade(config, "head")
        connection.exec_driver_sql("COMMIT")
    except BaseException:
        connection.exec_driver_sql("ROLLBACK")
        raise


def schema_is_current(connection: sa.Connection) -> bool:
    """True when the database is at the newest revision that this code knows."""
    return _revisions(connection) == [HEAD]


def schema_is_newer(connection: sa.Connection) -> bool:
    """True when the database is at a revision after the newest that this code knows: they are numbered."""
    return max(_revisions(connection), default="") > HEAD


def _revisions(connection: sa.Connection) -> list[str]:
    if not sa.inspect(connection).has_table("alembic_version"):
        return []
    return list(connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars())
