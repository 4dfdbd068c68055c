"""Idempotency keys: the first call with a key claims it, everybody after it gets the stored answer.

Each method is its own committed transaction. The claim of a call that died ends with its lease (60 s by the
database's clock); answers are kept for 24 h.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Final

import attrs
from sqlalchemy import ColumnElement, and_, delete, or_, select, update
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine

from callboard.ids import TenantId
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.dialect import database_time, insert_into
from callboard_adapters.sql.engine import is_sqlite
from callboard_adapters.sql.transactions import transaction

LEASE: Final = timedelta(seconds=60)
KEPT: Final = timedelta(hours=24)

k = t.idempotency_keys.c


@attrs.frozen
class Fresh:
    """The key is yours: do the work, then ``finish`` or ``forget``."""


@attrs.frozen
class Replay:
    """The answer of the first call."""

    status: int
    body: bytes
    content_type: str


@attrs.frozen
class InFlight:
    """The first call has not answered yet."""


@attrs.frozen
class Reused:
    """The key belongs to another body."""


Begun = Fresh | Replay | InFlight | Reused


class SqlIdempotency:
    """The store behind ``Idempotency-Key``."""

    def __init__(self, engine: AsyncEngine, *, lease: timedelta = LEASE, kept: timedelta = KEPT) -> None:
        self._engine = engine
        self._sqlite = is_sqlite(engine)
        self._lease = lease
        self._kept = kept

    def _time(self, offset: timedelta = timedelta()) -> ColumnElement[object]:
        return database_time(is_sqlite=self._sqlite, offset=offset)

    async def begin(self, tenant_id: TenantId, scope: str, key: str, body_hash: bytes) -> Begun:
        """Claim the key; exactly one of any number of racing callers gets Fresh.

        ``scope`` names the operation (at most 120 characters), ``body_hash`` is the body's SHA-256.
        """
        while True:
            async with transaction(self._engine, tenant_id) as connection:
                if await self._claim(connection, tenant_id, scope, key, body_hash):
                    return Fresh()
                rows = await connection.execute(
                    select(k.body_hash, k.status, k.body, k.content_type).where(_is(tenant_id, scope, key))
                )
                row = rows.first()
            if row is None:
                continue  # forgotten between the two statements: the key is free again
            if row.body_hash != body_hash:
                return Reused()
            if row.status is None:
                return InFlight()
            return Replay(row.status, row.body, row.content_type)

    async def _claim(
        self, connection: AsyncConnection, tenant_id: TenantId, scope: str, key: str, body_hash: bytes
    ) -> bool:
        statement = insert_into(t.idempotency_keys, is_sqlite=self._sqlite).values(
            tenant_id=tenant_id,
            scope=scope,
            key=key,
            body_hash=body_hash,
            created_at=self._time(),
            lease_until=self._time(self._lease),
        )
        new = statement.excluded
        abandoned = and_(k.status.is_(None), k.lease_until < self._time(), k.body_hash == new.body_hash)
        claim = statement.on_conflict_do_update(
            index_elements=["tenant_id", "scope", "key"],
            set_={
                "body_hash": new.body_hash,
                "status": None,
                "content_type": None,
                "body": None,
                "created_at": new.created_at,
                "lease_until": new.lease_until,
            },
            where=or_(abandoned, k.created_at < self._time(-self._kept)),
        ).returning(k.key)
        return (await connection.execute(claim)).first() is not None

    async def finish(
        self, tenant_id: TenantId, scope: str, key: str, status: int, body: bytes, content_type: str
    ) -> None:
        """Keep the answer for everybody who comes with the key; a key that was answered meanwhile stays as it is."""
        async with transaction(self._engine, tenant_id) as connection:
            await connection.execute(
                update(t.idempotency_keys)
                .where(_is(tenant_id, scope, key), k.status.is_(None))
                .values(status=status, body=body, content_type=content_type)
            )

    async def forget(self, tenant_id: TenantId, scope: str, key: str) -> None:
        """The call was refused: its key is free again. A stored answer stays."""
        async with transaction(self._engine, tenant_id) as connection:
            await connection.execute(delete(t.idempotency_keys).where(_is(tenant_id, scope, key), k.status.is_(None)))

    async def purge(self, *, limit: int = 10_000) -> int:
        """Delete up to ``limit`` keys of all tenants that are older than 24 h; returns how many went."""
        async with transaction(self._engine, None) as connection:
            old = (
                select(k.tenant_id, k.scope, k.key)
                .where(k.created_at < self._time(-self._kept))
                .limit(limit)
                .subquery()
            )
            keys = t.idempotency_keys
            gone = await connection.execute(
                delete(keys)
                .where(
                    select(old.c.key)
                    .where(old.c.tenant_id == k.tenant_id, old.c.scope == k.scope, old.c.key == k.key)
                    .exists()
                )
                .returning(k.key)
            )
            return len(gone.all())


def _is(tenant_id: TenantId, scope: str, key: str) -> ColumnElement[bool]:
    return and_(k.tenant_id == tenant_id, k.scope == scope, k.key == key)
