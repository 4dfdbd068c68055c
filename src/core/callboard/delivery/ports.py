"""The queues behind the outbox and the timers (system scope)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Protocol
from uuid import UUID

import attrs

from callboard.events import StoredEvent
from callboard.ids import EventId, TenantId


@attrs.frozen(kw_only=True)
class Delivery:
    """One event for one subscriber. ``attempt`` is counted before execution."""

    id: UUID
    subscriber: str
    stored: StoredEvent
    attempt: int


@attrs.frozen(kw_only=True)
class DeadDelivery:
    """A delivery that used up its attempts; visible until somebody replays it."""

    id: UUID
    tenant_id: TenantId
    event_type: str
    subscriber: str
    attempts: int
    error: str
    at: datetime


@attrs.frozen(kw_only=True)
class DueTimer:
    """A claimed timer; it is removed in the transaction of its effect."""

    tenant_id: TenantId
    kind: str
    key: str
    due_at: datetime
    claim: int


class Deliveries(Protocol):
    """The outbox from its other end."""

    async def fan_out(self, subscribers: Mapping[str, Sequence[str]], *, limit: int) -> list[UUID]:
        """Turn unpublished events into one delivery per subscriber of their type; returns the new deliveries.

        ``subscribers`` maps an event type to names. Rows are read by their own mark with SKIP LOCKED, never "id >
        last".
        """
        ...

    async def due(self, *, limit: int) -> list[UUID]:
        """Deliveries that wait, are due and that nobody holds."""
        ...

    async def claim(self, delivery: UUID, *, lease: timedelta) -> Delivery | None:
        """Lease one and count the attempt; None when it is done, dead, held or not due."""
        ...

    async def retry(self, delivery: UUID, *, attempt: int, at: datetime, error: str) -> None: ...

    async def bury(self, delivery: UUID, *, attempt: int, error: str) -> None: ...

    async def dead(self, *, limit: int = 100) -> list[DeadDelivery]: ...

    async def replay(self, delivery: UUID) -> bool:
        """Put a dead delivery back with its attempts reset."""
        ...

    async def purge(self, *, older_than: datetime) -> int:
        """Delete events whose deliveries are all done."""
        ...


class TimerQueue(Protocol):
    """Timers from their other end."""

    async def claim_due(self, *, limit: int, lease: timedelta) -> list[DueTimer]:
        """Lease timers that are due by the database's clock."""
        ...


class Inbox(Protocol):
    """In the transaction of an effect (tenant scope): the mark that makes it exactly once."""

    async def finish_delivery(self, delivery: UUID, *, attempt: int) -> bool:
        """Mark done; False when it was done already or taken over: then roll back and stop."""
        ...

    async def finish_timer(self, timer: DueTimer) -> bool:
        """Remove the timer; False when it was moved, fired or cleared meanwhile."""
        ...


class Hints(Protocol):
    """Waking somebody up. A hint may be lost, doubled or late: the database holds the work, the sweep finds it."""

    async def wake(self, queue: str, *arguments: str) -> None:
        """Never raises and never blocks for long: a broker that is down only costs latency."""
        ...


class SystemWork(Protocol):
    """A transaction across tenants."""

    @property
    def deliveries(self) -> Deliveries: ...
    @property
    def timers(self) -> TimerQueue: ...


class Work(Protocol):
    """One tenant's transaction, as event and timer handlers see it."""

    @property
    def inbox(self) -> Inbox: ...


__all__ = [
    "DeadDelivery",
    "Deliveries",
    "Delivery",
    "DueTimer",
    "EventId",
    "Hints",
    "Inbox",
    "SystemWork",
    "TimerQueue",
    "Work",
]
