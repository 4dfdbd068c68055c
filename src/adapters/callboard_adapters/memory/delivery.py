"""The outbox from both ends, timers from both ends, and the marks that make an effect happen once."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from uuid import UUID

import attrs

from callboard.delivery.ports import DeadDelivery, Delivery, DueTimer
from callboard.events import Event, StoredEvent
from callboard.ids import EventId, TenantId
from callboard_adapters.memory.scope import Repository, Scope, TenantRepository, port
from callboard_adapters.memory.state import Timer, Waiting


class MemoryOutbox(TenantRepository):
    """Events of one tenant's transaction."""

    name = "outbox"

    @port
    def add(self, *events: Event) -> None:
        _write(self._scope, self._tenant_id, events)


class MemoryOutboxes(Repository):
    """Every tenant's outbox."""

    name = "outboxes"

    @port
    def add(self, tenant: TenantId, *events: Event) -> None:
        _write(self._scope, self._scope.rows_of(tenant).id, events)


def _write(scope: Scope, tenant: TenantId, events: Iterable[Event]) -> None:
    for event in events:
        stored = StoredEvent(id=EventId(scope.ids.new()), tenant_id=tenant, event=event, created_at=scope.now())
        scope.state.events.put(stored.id, stored)
        scope.state.unpublished.put(stored.id, None)


class MemoryDeliveries(Repository):
    """One row per event and subscriber. An attempt is the number of the last claim, and fences what ends it."""

    name = "deliveries"

    @port
    def fan_out(self, subscribers: Mapping[str, Sequence[str]], *, limit: int) -> list[UUID]:
        new: list[UUID] = []
        for event_id in list(self._state.unpublished)[:limit]:
            self._state.unpublished.drop(event_id)
            stored = self._state.events[event_id]
            for subscriber in dict.fromkeys(subscribers.get(stored.event.type, ())):
                waiting = Waiting(
                    id=self._scope.ids.new(),
                    tenant_id=stored.tenant_id,
                    event_id=event_id,
                    subscriber=subscriber,
                    state="waiting",
                    attempt=0,
                    due_at=self._scope.now(),
                )
                self._state.deliveries.put(waiting.id, waiting)
                new.append(waiting.id)
        return new

    @port
    def due(self, *, limit: int) -> list[UUID]:
        now = self._scope.now()
        free = [waiting for waiting in self._state.deliveries.values() if _free(waiting, now)]
        return [waiting.id for waiting in sorted(free, key=lambda w: (w.due_at, w.id))[:limit]]

    @port
    def claim(self, delivery: UUID, *, lease: timedelta) -> Delivery | None:
        now = self._scope.now()
        waiting = self._state.deliveries.get(delivery)
        if waiting is None or not _free(waiting, now):
            return None
        taken = attrs.evolve(waiting, attempt=waiting.attempt + 1, lease_until=now + lease)
        self._state.deliveries.put(delivery, taken)
        stored = self._state.events[taken.event_id]
        return Delivery(id=delivery, subscriber=taken.subscriber, stored=stored, attempt=taken.attempt)

    @port
    def retry(self, delivery: UUID, *, attempt: int, at: datetime, error: str) -> None:
        if (waiting := self._held(delivery, attempt)) is not None:
            self._state.deliveries.put(delivery, attrs.evolve(waiting, due_at=at, lease_until=None, error=error))

    @port
    def bury(self, delivery: UUID, *, attempt: int, error: str) -> None:
        if (waiting := self._held(delivery, attempt)) is not None:
            now = self._scope.now()
            dead = attrs.evolve(waiting, state="dead", lease_until=None, error=error, error_at=now)
            self._state.deliveries.put(delivery, dead)

    @port
    def dead(self, *, limit: int = 100) -> list[DeadDelivery]:
        shelf = [waiting for waiting in self._state.deliveries.values() if waiting.state == "dead"]
        return [
            DeadDelivery(
                id=waiting.id,
                tenant_id=waiting.tenant_id,
                event_type=self._state.events[waiting.event_id].event.type,
                subscriber=waiting.subscriber,
                attempts=waiting.attempt,
                error=waiting.error or "",
                at=waiting.error_at or waiting.due_at,
            )
            for waiting in shelf[:limit]
        ]

    @port
    def replay(self, delivery: UUID) -> bool:
        waiting = self._state.deliveries.get(delivery)
        if waiting is None or waiting.state != "dead":
            return False
        again = attrs.evolve(waiting, state="waiting", attempt=0, due_at=self._scope.now(), error=None, error_at=None)
        self._state.deliveries.put(delivery, again)
        return True

    @port
    def purge(self, *, older_than: datetime) -> int:
        unfinished = {waiting.event_id for waiting in self._state.deliveries.values() if waiting.state != "done"}
        old = [
            stored.id
            for stored in self._state.events.values()
            if stored.created_at < older_than
            and stored.id not in unfinished
            and stored.id not in self._state.unpublished
        ]
        gone = frozenset(old)
        for waiting in list(self._state.deliveries.values()):
            if waiting.event_id in gone:
                self._state.deliveries.drop(waiting.id)
        for event_id in old:
            self._state.events.drop(event_id)
        return len(old)

    def _held(self, delivery: UUID, attempt: int) -> Waiting | None:
        waiting = self._state.deliveries.get(delivery)
        return waiting if waiting is not None and waiting.state == "waiting" and waiting.attempt == attempt else None


def _free(waiting: Waiting, now: datetime) -> bool:
    """It waits, is due and nobody holds it."""
    held = waiting.lease_until is not None and waiting.lease_until > now
    return waiting.state == "waiting" and waiting.due_at <= now and not held


class MemoryTimers(TenantRepository):
    """One tenant's timers by (kind, key)."""

    name = "timers"

    @port
    def set(self, kind: str, key: str, due_at: datetime) -> None:
        before = self._mine.timers.get((kind, key))
        # set to the very time somebody has claimed: the claim moves on, so that he cannot finish the new one
        claim = before.claim + 1 if before is not None and before.due_at == due_at and before.lease_until else 0
        self._mine.timers.put((kind, key), Timer(due_at=due_at, claim=claim))

    @port
    def clear(self, kind: str, key: str) -> None:
        self._mine.timers.drop((kind, key))


class MemoryTimerQueue(Repository):
    """Due timers of all tenants."""

    name = "timers"

    @port
    def claim_due(self, *, limit: int, lease: timedelta) -> list[DueTimer]:
        now = self._scope.now()
        due = [
            (timer.due_at, mine, kind, key, timer)
            for mine in self._state.tenants.values()
            for (kind, key), timer in mine.timers.items()
            if timer.due_at <= now and (timer.lease_until is None or timer.lease_until <= now)
        ]
        claimed: list[DueTimer] = []
        for due_at, mine, kind, key, timer in sorted(due, key=lambda found: found[0])[:limit]:
            taken = attrs.evolve(timer, claim=timer.claim + 1, lease_until=now + lease)
            mine.timers.put((kind, key), taken)
            claimed.append(DueTimer(tenant_id=mine.id, kind=kind, key=key, due_at=due_at, claim=taken.claim))
        return claimed


class MemoryInbox(TenantRepository):
    """Marks written with the effect."""

    name = "inbox"

    @port
    def finish_delivery(self, delivery: UUID, *, attempt: int) -> bool:
        waiting: Waiting | None = self._state.deliveries.get(delivery)
        if waiting is None or waiting.tenant_id != self._tenant_id:
            return False
        if waiting.state != "waiting" or waiting.attempt != attempt:
            return False
        self._state.deliveries.put(delivery, attrs.evolve(waiting, state="done", lease_until=None, error=None))
        return True

    @port
    def finish_timer(self, timer: DueTimer) -> bool:
        stored = self._mine.timers.get((timer.kind, timer.key))
        if timer.tenant_id != self._tenant_id or stored is None:
            return False
        if (stored.due_at, stored.claim) != (timer.due_at, timer.claim):
            return False
        return self._mine.timers.drop((timer.kind, timer.key))
