"""The outbox from both ends, timers from both ends, and the marks that make an effect happen once.

Leases and due times of the queues are judged by the database's clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, Final
from uuid import UUID

from sqlalchemy import (
    Integer,
    RowMapping,
    and_,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    not_,
    select,
    text,
    update,
)

from callboard.delivery.ports import DeadDelivery, Delivery, DueTimer
from callboard.delivery.serial import dump_event, load_event
from callboard.events import Event, StoredEvent
from callboard.ids import EventId, TenantId
from callboard_adapters.sql import tables as t
from callboard_adapters.sql.batch import POSTGRESQL_NOW, SQLITE_NOW
from callboard_adapters.sql.dialect import insert_into
from callboard_adapters.sql.scope import Scope

d, o, ti = t.deliveries.c, t.outbox.c, t.timers.c


class SqlOutbox:
    """Events of one tenant's transaction."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def add(self, *events: Event) -> None:
        await _write(self._scope, self._scope.tenant_id, events)


class SqlOutboxes:
    """Every tenant's outbox, in system scope."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def add(self, tenant: TenantId, *events: Event) -> None:
        await _write(self._scope, tenant, events)


async def _write(scope: Scope, tenant: TenantId, events: Sequence[Event]) -> None:
    if not events:
        return
    rows = [
        {
            "id": scope.ids.new(),
            "tenant_id": tenant,
            "type": event.type,
            "version": event.version,
            "payload": dump_event(event),
        }
        for event in events
    ]
    await scope.connection.execute(_ADD[scope.sqlite], rows)


class SqlDeliveries:
    """One row per event and subscriber. An attempt is the number of the last claim, and fences what ends it."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope
        self._connection = scope.connection

    async def fan_out(self, subscribers: Mapping[str, Sequence[str]], *, limit: int) -> list[UUID]:
        """Three statements for a batch of events; any number of relays share the work."""
        events = (await self._connection.execute(_UNPUBLISHED, {"limit": limit})).all()
        if not events:
            return []
        rows = [
            {"id": self._scope.ids.new(), "tenant_id": event.tenant_id, "event_id": event.id, "subscriber": subscriber}
            for event in events
            for subscriber in dict.fromkeys(subscribers.get(event.type, ()))
        ]
        if rows:
            await self._connection.execute(_FAN_OUT[self._scope.sqlite], rows)
        published = update(t.outbox).where(o.id.in_([event.id for event in events]))
        await self._connection.execute(published.values(published_at=self._now))
        return [row["id"] for row in rows]

    async def due(self, *, limit: int) -> list[UUID]:
        """The longest due first."""
        waiting = select(d.id).where(self._free()).order_by(d.due_at, d.id).limit(limit)
        return list((await self._connection.execute(waiting)).scalars())

    async def claim(self, delivery: UUID, *, lease: timedelta) -> Delivery | None:
        claimed = (
            update(t.deliveries)
            .where(d.id == delivery, self._free())
            .values(attempt=d.attempt + 1, lease_until=_after(lease, sqlite=self._scope.sqlite))
            .returning(d.event_id, d.subscriber, d.attempt)
        )
        row = (await self._connection.execute(claimed)).first()
        if row is None:
            return None
        stored = (await self._connection.execute(_STORED, {"event": row.event_id})).mappings().one()
        return Delivery(id=delivery, subscriber=row.subscriber, stored=_event(stored), attempt=row.attempt)

    async def retry(self, delivery: UUID, *, attempt: int, at: datetime, error: str) -> None:
        await self._end(delivery, attempt, {"due_at": at, "error": error})

    async def bury(self, delivery: UUID, *, attempt: int, error: str) -> None:
        await self._end(delivery, attempt, {"state": "dead", "due_at": self._now, "error": error})

    async def dead(self, *, limit: int = 100) -> list[DeadDelivery]:
        """The latest first; ``at`` is when it was buried."""
        found = await self._connection.execute(_DEAD, {"limit": limit})
        return [
            DeadDelivery(
                id=row.id,
                tenant_id=row.tenant_id,
                event_type=row.type,
                subscriber=row.subscriber,
                attempts=row.attempt,
                error=row.error or "",
                at=row.due_at,
            )
            for row in found
        ]

    async def replay(self, delivery: UUID) -> bool:
        again = update(t.deliveries).where(d.id == delivery, d.state == "dead")
        values = {"state": "waiting", "attempt": 0, "due_at": self._now, "lease_until": None, "error": None}
        return bool((await self._connection.execute(again.values(values))).rowcount == 1)

    async def purge(self, *, older_than: datetime) -> int:
        unfinished = exists().where(d.event_id == o.id, d.state != "done")
        old = and_(o.published_at.is_not(None), o.created_at < older_than, not_(unfinished))
        await self._connection.execute(delete(t.deliveries).where(d.event_id.in_(select(o.id).where(old))))
        return int((await self._connection.execute(delete(t.outbox).where(old))).rowcount)

    @property
    def _now(self) -> Any:
        return text(SQLITE_NOW if self._scope.sqlite else POSTGRESQL_NOW)

    def _free(self) -> Any:
        now = self._now
        return and_(d.state == text("'waiting'"), d.due_at <= now, func.coalesce(d.lease_until <= now, True))

    async def _end(self, delivery: UUID, attempt: int, values: Mapping[str, Any]) -> None:
        open_ = update(t.deliveries).where(d.id == delivery, d.state == "waiting", d.attempt == attempt)
        await self._connection.execute(open_.values({"lease_until": None, **values}))


class SqlTimers:
    """One tenant's timers by (kind, key)."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def set(self, kind: str, key: str, due_at: datetime) -> None:
        """Set to the very time somebody has claimed, the claim moves on, so that he cannot finish the new one."""
        values = {"tenant": self._scope.tenant_id, "kind": kind, "key": key, "due": due_at}
        await self._scope.connection.execute(_SET_TIMER[self._scope.sqlite], values)

    async def clear(self, kind: str, key: str) -> None:
        gone = delete(t.timers).where(ti.tenant_id == self._scope.tenant_id, ti.kind == kind, ti.key == key)
        await self._scope.connection.execute(gone)


class SqlTimerQueue:
    """Due timers of all tenants."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def claim_due(self, *, limit: int, lease: timedelta) -> list[DueTimer]:
        """The longest due first."""
        values = {"limit": limit, "seconds": lease.total_seconds()}
        found = (await self._scope.connection.execute(_CLAIM_TIMERS[self._scope.sqlite], values)).all()
        claimed = [
            DueTimer(tenant_id=TenantId(row.tenant_id), kind=row.kind, key=row.key, due_at=row.due_at, claim=row.claim)
            for row in found
        ]
        return sorted(claimed, key=lambda timer: timer.due_at)


class SqlInbox:
    """Marks written with the effect; a second one waits for the first to commit and then finds nothing."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    async def finish_delivery(self, delivery: UUID, *, attempt: int) -> bool:
        done = (
            update(t.deliveries)
            .where(d.tenant_id == self._scope.tenant_id, d.id == delivery, d.state == "waiting", d.attempt == attempt)
            .values(state="done", lease_until=None, error=None)
        )
        return bool((await self._scope.connection.execute(done)).rowcount == 1)

    async def finish_timer(self, timer: DueTimer) -> bool:
        gone = delete(t.timers).where(
            ti.tenant_id == self._scope.tenant_id,
            ti.tenant_id == timer.tenant_id,
            ti.kind == timer.kind,
            ti.key == timer.key,
            ti.due_at == timer.due_at,
            ti.claim == timer.claim,
        )
        return bool((await self._scope.connection.execute(gone)).rowcount == 1)


def _event(row: RowMapping) -> StoredEvent:
    return StoredEvent(
        id=EventId(row["id"]),
        tenant_id=TenantId(row["tenant_id"]),
        event=load_event(row["type"], row["version"], row["payload"]),
        created_at=row["created_at"],
    )


def _after(lease: timedelta, *, sqlite: bool) -> Any:
    seconds = lease.total_seconds()
    if sqlite:
        return text("(strftime('%Y-%m-%d %H:%M:%f', 'now', :lease || ' seconds') || '000')").bindparams(lease=seconds)
    return text(f"{POSTGRESQL_NOW} + make_interval(secs => :lease)").bindparams(lease=seconds)


def _pair(make: Any) -> tuple[Any, Any]:
    """The statement for PostgreSQL and for SQLite."""
    return make(False), make(True)


def _now(*, sqlite: bool) -> Any:
    return text(SQLITE_NOW if sqlite else POSTGRESQL_NOW)


_ADD: Final = _pair(lambda sqlite: insert(t.outbox).values(created_at=_now(sqlite=sqlite)))
_UNPUBLISHED: Final = (
    select(o.id, o.tenant_id, o.type)
    .where(o.published_at.is_(None))
    .order_by(o.created_at, o.id)
    .limit(bindparam("limit", type_=Integer))
    .with_for_update(skip_locked=True)
)
_FAN_OUT: Final = _pair(
    lambda sqlite: insert_into(t.deliveries, is_sqlite=sqlite).values(
        state="waiting", attempt=0, due_at=_now(sqlite=sqlite), created_at=_now(sqlite=sqlite)
    )
)
_STORED: Final = select(t.outbox).where(o.id == bindparam("event"))
_DEAD: Final = (
    select(d.id, d.tenant_id, o.type, d.subscriber, d.attempt, d.error, d.due_at)
    .join_from(t.deliveries, t.outbox, o.id == d.event_id)
    .where(d.state == "dead")
    .order_by(d.due_at.desc(), d.id)
    .limit(bindparam("limit", type_=Integer))
)


def _set_timer(sqlite: bool) -> Any:
    row = insert_into(t.timers, is_sqlite=sqlite).values(
        tenant_id=bindparam("tenant"), kind=bindparam("kind"), key=bindparam("key"), due_at=bindparam("due"), claim=0
    )
    claimed = and_(ti.due_at == row.excluded.due_at, ti.lease_until.is_not(None))
    moved = {"due_at": row.excluded.due_at, "lease_until": None, "claim": case((claimed, ti.claim + 1), else_=0)}
    return row.on_conflict_do_update(index_elements=["tenant_id", "kind", "key"], set_=moved)


def _claim_timers(sqlite: bool) -> Any:
    now = SQLITE_NOW if sqlite else POSTGRESQL_NOW
    later = (
        "(strftime('%Y-%m-%d %H:%M:%f', 'now', :seconds || ' seconds') || '000')"
        if sqlite
        else f"{POSTGRESQL_NOW} + make_interval(secs => :seconds)"
    )
    skip_locked = "" if sqlite else "FOR UPDATE SKIP LOCKED"
    statement = text(f"""
        WITH picked (its_tenant, its_kind, its_key) AS MATERIALIZED (
            SELECT tenant_id, kind, key FROM timers
            WHERE due_at <= {now} AND (lease_until IS NULL OR lease_until <= {now})
            ORDER BY due_at, tenant_id, kind, key
            LIMIT :limit {skip_locked}
        )
        UPDATE timers SET claim = claim + 1, lease_until = {later}
        FROM picked WHERE tenant_id = its_tenant AND kind = its_kind AND key = its_key
        RETURNING tenant_id, kind, key, due_at, claim
    """)  # noqa: S608 - our own words
    return statement.columns(ti.tenant_id, ti.kind, ti.key, ti.due_at, ti.claim)


_SET_TIMER: Final = _pair(_set_timer)
_CLAIM_TIMERS: Final = _pair(_claim_timers)
