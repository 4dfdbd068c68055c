"""Events: facts in the past tense, written in the transaction of the change they tell of."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import ClassVar, Protocol

import attrs

from callboard.ids import EventId, TenantId


@attrs.frozen(kw_only=True)
class Event:
    """Something that happened. ``type`` and ``version`` name the stored form; subclasses are frozen attrs classes."""

    type: ClassVar[str]
    version: ClassVar[int] = 1


@attrs.frozen(kw_only=True)
class StoredEvent:
    """An event as the outbox keeps it, with where it belongs and when it was written (UTC)."""

    id: EventId
    tenant_id: TenantId
    event: Event
    created_at: datetime


class Outbox(Protocol):
    """Where events wait until every subscriber has had its effect."""

    async def add(self, *events: Event) -> None:
        """Write events in the current transaction; they exist exactly if the transaction commits."""
        ...


class Timers(Protocol):
    """Due work that survives restarts; any number of workers may tick and nothing fires twice."""

    async def set(self, kind: str, key: str, due_at: datetime) -> None:
        """Create or move the timer ``(tenant, kind, key)``; it fires no earlier than ``due_at``."""
        ...

    async def clear(self, kind: str, key: str) -> None:
        """Remove the timer if it is there."""
        ...


def deliveries(event: Event, subscribers: Sequence[tuple[type[Event], str]]) -> list[str]:
    """The names of the subscribers of one event, in table order."""
    return [name for kind, name in subscribers if isinstance(event, kind)]
