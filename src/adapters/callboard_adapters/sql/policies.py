"""Row-level security on PostgreSQL: the second wall between tenants, behind the repositories' own conditions.

FORCE makes it hold for the owner of the tables too; only a superuser passes. The settings are read in sub-selects, so
that they are evaluated once per statement and not once per row.
"""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, text

from callboard_adapters.sql.tables import SYSTEM_TABLES, metadata

MINE: Final = (
    "tenant_id = (SELECT nullif(current_setting('app.tenant', true), '')::uuid) "
    "OR (SELECT current_setting('app.scope', true)) = 'system'"
)


def protected() -> list[str]:
    """Names of the tables that belong to tenants."""
    return sorted(set(metadata.tables) - SYSTEM_TABLES)


def protect(connection: Connection) -> None:
    """Put every tenant table behind its policy; nothing to do on SQLite."""
    if connection.dialect.name != "postgresql":
        return
    for table in protected():
        for statement in statements(table):
            connection.execute(text(statement))


def statements(table: str) -> tuple[str, str, str]:
    """What protects one table."""
    return (
        f"ALTER TABLE {table} ENABLE ROW LEVEL SECURITY",
        f"ALTER TABLE {table} FORCE ROW LEVEL SECURITY",
        f"CREATE POLICY tenant ON {table} USING ({MINE})",
    )
