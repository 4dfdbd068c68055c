"""Transactions outside a unit of work: read-only ones for lists, short ones for idempotency keys."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from callboard.ids import TenantId
from callboard_adapters.sql.engine import answering, is_sqlite
from callboard_adapters.sql.turns import writing

_SET_TENANT: Final = text("SELECT set_config('app.tenant', :tenant, true)")
_SET_SYSTEM: Final = text("SELECT set_config('app.scope', 'system', true)")


@asynccontextmanager
async def transaction(engine: AsyncEngine, tenant: TenantId | None) -> AsyncIterator[AsyncConnection]:
    """One tenant's transaction, or with None one across tenants (system scope)."""
    with answering():
        async with writing(engine) as connection:
            if not is_sqlite(engine):
                await _announce(connection, tenant)
            yield connection


@asynccontextmanager
async def reading(engine: AsyncEngine, tenant: TenantId) -> AsyncIterator[AsyncConnection]:
    """One snapshot of one tenant's rows for several statements; never waits for a writer and writes nothing."""
    options = (
        {"read_only": True}
        if is_sqlite(engine)
        else {"isolation_level": "REPEATABLE READ", "postgresql_readonly": True}
    )
    with answering():
        async with engine.execution_options(**options).begin() as connection:
            if not is_sqlite(engine):
                await _announce(connection, tenant)
            yield connection


async def _announce(connection: AsyncConnection, tenant: TenantId | None) -> None:
    if tenant is None:
        await connection.execute(_SET_SYSTEM)
    else:
        await connection.execute(_SET_TENANT, {"tenant": str(tenant)})
