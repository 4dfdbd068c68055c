"""Chunks and rows of all tenants: who may send which slice, and what happens when nobody comes back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import RowMapping, Uuid, bindparam, delete, select, text, update

from callboard.ids import MessageId, RunId, TenantId
from callboard.messages.model import Chunk, Reason, RunState, State
from callboard.messages.ports import Refundable
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.batch import POSTGRESQL_NOW, SQLITE_NOW, as_json, parameters, recordset
from callboard_adapters.sql.counts import Key
from callboard_adapters.sql.scope import Scope

k, r = t.chunks.c, t.runs.c


class SqlQueue:
    """Leases by the database's clock."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def claim(self, *, worker: str, lease: timedelta, max_claims: int) -> Chunk | None:
        """Rows that the last holder left in ``sending`` are nobody's now: they become unknown first."""
        values = {"worker": worker[:80], "seconds": lease.total_seconds(), "max": max_claims}
        while True:
            taken = (await self._scope.connection.execute(self._pick(_CLAIM), values)).mappings().first()
            if taken is None:
                return None
            if taken["state"] == "open":
                await self._lose([taken])
                return _chunk(taken)

    async def expire(self, *, limit: int) -> int:
        freed = (await self._scope.connection.execute(self._pick(_FREE), {"limit": limit})).mappings().all()
        await self._lose(freed)
        return len(freed)

    async def give_up(self, *, older_than: datetime, now: datetime, limit: int) -> list[Refundable]:
        """Looks only into runs whose counts speak of unknown rows: there is no index on a message's state."""
        scope = self._scope
        values = parameters(sqlite=scope.sqlite, before=older_than, limit=limit)
        rows = await self._change(_OLD_UNKNOWN, State.UNCONFIRMED, Reason.NO_PROOF, values)
        return [Refundable(tenant_id=tenant, id=MessageId(run, seq)) for tenant, run, seq in rows]

    async def drained(self, *, limit: int) -> list[tuple[TenantId, RunId]]:
        found = await self._scope.connection.execute(_DRAINED, {"limit": limit})
        return [(TenantId(tenant), RunId(run)) for tenant, run in found]

    async def waiting(self) -> int:
        return int((await self._scope.connection.execute(self._pick(_WAITING))).scalar_one())

    async def dead(self, *, limit: int = 100) -> list[Chunk]:
        """By run and number."""
        found = await self._scope.connection.execute(_DEAD, {"limit": limit})
        return [_chunk(row) for row in found.mappings()]

    async def forget_touches(self, *, older_than: datetime) -> int:
        """Drop what no frequency cap can ask about any more."""
        old = delete(t.touches).where(t.touches.c.at < older_than)
        return int((await self._scope.connection.execute(old)).rowcount)

    async def revive(self, run: RunId, number: int) -> bool:
        """It waits again, or is held while its run is paused; False also when its run is over."""
        state = (await self._scope.connection.execute(_RUN_STATE, {"run": run})).scalar_one_or_none()
        if state not in {RunState.OPEN.value, RunState.PAUSED.value}:
            return False
        revived = (
            update(t.chunks)
            .where(k.run_id == run, k.number == number, k.state == "dead")
            .values(
                state="open" if state == RunState.OPEN.value else "held",
                barren=0,
                due_at=text(SQLITE_NOW if self._scope.sqlite else POSTGRESQL_NOW),
            )
        )
        return bool((await self._scope.connection.execute(revived)).rowcount == 1)

    def _pick(self, statements: tuple[Any, Any]) -> Any:
        return statements[self._scope.sqlite]

    async def _lose(self, chunks: Sequence[RowMapping]) -> None:
        """Rows in ``sending`` of chunks we have just locked."""
        if chunks:
            slices = [{name: chunk[name] for name in ("run_id", "first", "last")} for chunk in chunks]
            values = {"batch": as_json(slices, sqlite=self._scope.sqlite)}
            await self._change(_LEFT_SENDING, State.UNKNOWN, Reason.WORKER_LOST, values)

    async def _change(
        self, chosen: tuple[Any, Any], to: State, reason: Reason, values: Mapping[str, Any]
    ) -> list[tuple[TenantId, RunId, int]]:
        """Move the chosen rows, and their counts; their credit is back when they are unconfirmed."""
        scope = self._scope
        rows = (await scope.connection.execute(self._pick(chosen), values)).all()
        if not rows:
            return []
        batch = as_json(({"run_id": row.run_id, "seq": row.seq} for row in rows), sqlite=scope.sqlite)
        change = {"state": to.value, "reason": reason.value, "refund": to is State.UNCONFIRMED, "batch": batch}
        await scope.connection.execute(self._pick(_MOVE), change)
        moved = []
        for tenant, run, seq, old_state, old_reason in rows:
            key = Key(RunId(run), TenantId(tenant), t.UNDATED, old_state, old_reason)
            scope.counts.add(key, -1)
            scope.counts.add(key._replace(state=to.value, reason=reason.value), 1)
            moved.append((TenantId(tenant), RunId(run), int(seq)))
        return moved


def _chunk(row: RowMapping) -> Chunk:
    return Chunk(
        run_id=RunId(row["run_id"]),
        tenant_id=TenantId(row["tenant_id"]),
        number=row["number"],
        first=row["first"],
        last=row["last"],
        claim=row["claim"],
    )


def _both(statement: str, *columns: Any) -> tuple[Any, Any]:
    """The statement for PostgreSQL and for SQLite, which has no locks to skip and spells its clock differently."""
    spelled = (
        statement.format(
            now=POSTGRESQL_NOW,
            later=f"{POSTGRESQL_NOW} + make_interval(secs => :seconds)",
            skip_locked="FOR UPDATE SKIP LOCKED",
            lock_rows="FOR UPDATE OF m",
            lock_rows_skip="FOR UPDATE OF m SKIP LOCKED",
            slices=recordset({"run_id": "uuid", "first": "int", "last": "int"}, sqlite=False, alias="s"),
            rows=recordset({"run_id": "uuid", "seq": "int"}, sqlite=False),
        ),
        statement.format(
            now=SQLITE_NOW,
            later="(strftime('%Y-%m-%d %H:%M:%f', 'now', :seconds || ' seconds') || '000')",
            skip_locked="",
            lock_rows="",
            lock_rows_skip="",
            slices=recordset({"run_id": "uuid", "first": "int", "last": "int"}, sqlite=True, alias="s"),
            rows=recordset({"run_id": "uuid", "seq": "int"}, sqlite=True),
        ),
    )
    postgresql, sqlite = (text(words).columns(*columns) if columns else text(words) for words in spelled)
    return postgresql, sqlite


_CLAIM: Final = _both(
    """
    WITH picked (its_run, its_number) AS MATERIALIZED (
        SELECT run_id, number FROM chunks
        WHERE state = 'open' AND worker IS NULL AND due_at <= {now}
        ORDER BY priority, created_at, run_id, number
        LIMIT 1 {skip_locked}
    )
    UPDATE chunks SET
        state = CASE WHEN barren < :max THEN 'open' ELSE 'dead' END,
        claim = CASE WHEN barren < :max THEN claim + 1 ELSE claim END,
        worker = CASE WHEN barren < :max THEN :worker END,
        lease_until = CASE WHEN barren < :max THEN {later} END,
        barren = CASE WHEN barren < :max THEN barren + 1 ELSE barren END
    FROM picked WHERE run_id = its_run AND number = its_number
    RETURNING run_id, tenant_id, number, first, last, claim, state
    """,
    k.run_id,
    k.tenant_id,
    k.number,
    k.first,
    k.last,
    k.claim,
    k.state,
)
_FREE: Final = _both(
    """
    WITH picked (its_run, its_number) AS MATERIALIZED (
        SELECT run_id, number FROM chunks
        WHERE worker IS NOT NULL AND lease_until <= {now}
        ORDER BY run_id, number
        LIMIT :limit {skip_locked}
    )
    UPDATE chunks SET worker = NULL, lease_until = NULL, due_at = {now}
    FROM picked WHERE run_id = its_run AND number = its_number
    RETURNING run_id, first, last
    """,
    k.run_id,
    k.first,
    k.last,
)

_OLD = (
    t.messages.c.tenant_id,
    t.messages.c.run_id,
    t.messages.c.seq,
    t.messages.c.state,
    t.messages.c.reason,
)
_LEFT_SENDING: Final = _both(
    """
    SELECT m.tenant_id, m.run_id, m.seq, m.state, coalesce(m.reason, '') AS reason
    FROM {slices} JOIN messages AS m ON m.run_id = s.run_id AND m.seq BETWEEN s.first AND s.last
    WHERE m.state = 'sending'
    ORDER BY m.run_id, m.seq {lock_rows}
    """,
    *_OLD,
)
_OLD_UNKNOWN: Final = _both(
    """
    SELECT m.tenant_id, m.run_id, m.seq, m.state, coalesce(m.reason, '') AS reason
    FROM messages AS m
    WHERE m.run_id IN (SELECT run_id FROM message_counts WHERE state = 'unknown' AND n > 0)
        AND m.state = 'unknown' AND m.sending_at < :before
    ORDER BY m.run_id, m.seq
    LIMIT :limit {lock_rows_skip}
    """,
    *_OLD,
)
_MOVE: Final = _both(
    """
    UPDATE messages AS m
    SET state = :state, reason = :reason, credits = CASE WHEN :refund THEN 0 ELSE credits END
    FROM {rows} WHERE m.run_id = i.run_id AND m.seq = i.seq
    """
)
_DRAINED: Final = (
    select(r.tenant_id, r.id)
    .where(
        r.state == text("'open'"),
        ~select(k.number).where(k.run_id == r.id, k.state != "closed").correlate(t.runs).exists(),
    )
    .order_by(r.id)
    .limit(bindparam("limit"))
)
_WAITING: Final = _both("SELECT count(*) FROM chunks WHERE state = 'open' AND worker IS NULL AND due_at <= {now}")
_DEAD: Final = select(t.chunks).where(k.state == "dead").order_by(k.run_id, k.number).limit(bindparam("limit"))
_RUN_STATE: Final = select(r.state).where(r.id == bindparam("run", type_=Uuid())).with_for_update(read=True)
