"""The core's services as the steps a worker repeats."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any, Final, Protocol
from uuid import UUID

import attrs
import structlog

from callboard.clock import Clock
from callboard.delivery.deliver import Deliverer, Outcome
from callboard.delivery.ports import SystemWork
from callboard.delivery.relay import Relay
from callboard.delivery.ticker import Ticker
from callboard.messages.dispatch import Dispatcher
from callboard.messages.sweep import Sweeper
from callboard.work import OpenSystemWork

_log = structlog.get_logger(__name__)
BATCH: Final = 50
EVENTS_KEPT: Final = timedelta(days=1)
CALLS_KEPT: Final = timedelta(days=8)
TOUCHES_KEPT: Final = timedelta(days=31)
"""A frequency cap looks back 30 days at most (tenants/settings.py)."""


class Workers(Protocol):
    """Who works, for health checks and people."""

    async def beat(self, name: str, now: datetime) -> None: ...

    async def gone(self, name: str) -> None: ...


class Purged(Protocol):
    """Raw callbacks, kept for a while."""

    async def purge(self, *, older_than: datetime) -> int: ...


class Touched(Protocol):
    """What frequency caps count."""

    async def forget_touches(self, *, older_than: datetime) -> int: ...


class Keys(Protocol):
    """Stored answers to idempotency keys."""

    async def purge(self) -> int: ...


class System(SystemWork, Protocol):
    """A transaction across tenants."""

    @property
    def workers(self) -> Workers: ...

    @property
    def webhook_calls(self) -> Purged: ...

    @property
    def queue(self) -> Touched: ...


@attrs.frozen(kw_only=True)
class ServiceDuties:
    """:class:`callboard_adapters.jobs.runtime.Duties` on the services of one container."""

    dispatcher: Dispatcher
    relay_service: Relay
    deliverer: Deliverer[Any]
    ticker: Ticker[Any]
    sweeper: Sweeper
    clock: Clock
    system: OpenSystemWork[System]
    idempotency: Keys

    async def dispatch(self, stopping: Callable[[], bool]) -> bool:
        """One chunk."""
        return await self.dispatcher.run_once(stopping=stopping)

    async def relay(self) -> int:
        """One batch of events."""
        return await self.relay_service.run_once()

    async def deliver(self, delivery: UUID) -> None:
        """One delivery; a failure is kept with it and only reported here."""
        outcome = await self.deliverer.deliver(delivery)
        if outcome in {Outcome.RETRY, Outcome.BURIED}:
            _log.warning("delivery.failed", delivery=str(delivery), outcome=outcome.value)

    async def deliver_due(self) -> int:
        """What waits and nobody was told of, in a handful of steps."""
        async with self.system() as s:
            due = await s.deliveries.due(limit=BATCH)
        for delivery in due:
            await self.deliver(delivery)
        return len(due)

    async def tick(self) -> int:
        """Due timers."""
        return await self.ticker.run_once()

    async def sweep(self) -> int:
        """Loose ends."""
        swept = await self.sweeper.run_once()
        found = {name: n for name, n in attrs.asdict(swept).items() if n and name != "waiting"}
        if found:
            _log.info("sweep.found", **found)
        return sum(attrs.astuple(swept))

    async def tidy(self) -> int:
        """Finished events and answers to idempotency keys go after a day, raw callbacks after eight, touches after 31.

        The receipts themselves live on in the ledger; a provider repeats a callback for at most seven days.
        """
        now = self.clock.now()
        async with self.system() as s:
            events = await s.deliveries.purge(older_than=now - EVENTS_KEPT)
        async with self.system() as s:
            calls = await s.webhook_calls.purge(older_than=now - CALLS_KEPT)
            touches = await s.queue.forget_touches(older_than=now - TOUCHES_KEPT)
        keys = await self.idempotency.purge()
        if events or calls or touches or keys:
            _log.info("tidy.removed", events=events, calls=calls, touches=touches, keys=keys)
        return 0

    async def beat(self, worker: str) -> None:
        """The heartbeat."""
        async with self.system() as s:
            await s.workers.beat(worker, self.clock.now())

    async def leave(self, worker: str) -> None:
        """Its end."""
        async with self.system() as s:
            await s.workers.gone(worker)
