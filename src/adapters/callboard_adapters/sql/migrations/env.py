"""Alembic's way in: :mod:`callboard_adapters.sql.schema` opens the connection and hands it over."""

from __future__ import annotations

from alembic import context

from callboard_adapters.sql.tables import metadata

connection = context.config.attributes["connection"]
context.configure(
    connection=connection,
    target_metadata=metadata,
    render_as_batch=connection.dialect.name == "sqlite",
    compare_type=True,
    transaction_per_migration=False,
)
# No begin_transaction(): all revisions run in the one transaction of the connection we were given.
context.run_migrations()
