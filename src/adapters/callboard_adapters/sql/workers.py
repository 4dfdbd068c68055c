"""Heartbeats of worker processes: who works, for health checks and people."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import delete, select

from callboard_adapters.sql import tables as t
from callboard_adapters.sql.dialect import insert_into
from callboard_adapters.sql.scope import Scope

w = t.workers.c


class SqlWorkers:
    """One row per worker process, in system scope."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def beat(self, name: str, now: datetime) -> None:
        """The worker is there; its first beat is when it started."""
        row = insert_into(t.workers, is_sqlite=self._scope.sqlite).values(name=name[:80], started_at=now, seen_at=now)
        await self._scope.connection.execute(row.on_conflict_do_update(index_elements=["name"], set_={"seen_at": now}))

    async def alive(self, since: datetime) -> list[str]:
        """Names seen at or after ``since``, sorted."""
        seen = select(w.name).where(w.seen_at >= since).order_by(w.name)
        return list((await self._scope.connection.execute(seen)).scalars())

    async def gone(self, name: str) -> None:
        """The worker has stopped in good order."""
        await self._scope.connection.execute(delete(t.workers).where(w.name == name[:80]))
