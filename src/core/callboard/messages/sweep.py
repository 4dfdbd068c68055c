"""The sweeper: finds whatever workers, brokers and providers left lying; reliability.md 3.1, 3.8."""

from __future__ import annotations

from collections import defaultdict
from datetime import timedelta
from typing import Protocol

import attrs

from callboard.clock import Clock
from callboard.credits.model import Entry
from callboard.credits.rules import refunded
from callboard.delivery.ports import Deliveries
from callboard.ids import TenantId
from callboard.messages import ports
from callboard.messages.dispatch import finish
from callboard.messages.model import Reason
from callboard.messages.receipts import book_proofs
from callboard.work import OpenSystemWork, OpenWork

RECONCILE_WINDOW = timedelta(seconds=86_400)
PARKED_FOR = timedelta(hours=72)
BATCH = 500


class SystemWork(ports.SystemWork, Protocol):
    """A transaction across tenants that also sees the deliveries."""

    @property
    def deliveries(self) -> Deliveries: ...


@attrs.frozen(kw_only=True)
class Swept:
    """How much one sweep found; all zero when everything is where it should be."""

    freed: int = 0
    given_up: int = 0
    finished: int = 0
    matched: int = 0
    dropped: int = 0
    waiting: int = 0
    redelivered: int = 0


@attrs.frozen(kw_only=True)
class Sweeper:
    """Run it every few seconds, in any number of processes: each step is a compare-and-set of its own."""

    system: OpenSystemWork[SystemWork]
    work: OpenWork[ports.Work]
    hints: ports.Hints
    clock: Clock
    reconcile: timedelta = RECONCILE_WINDOW
    batch: int = BATCH

    async def run_once(self) -> Swept:
        """One pass over every kind of loose end, each in its own transaction and at most one batch long."""
        async with self.system() as s:
            freed = await s.queue.expire(limit=self.batch)
        given_up = await self._give_up()
        finished = await self._finish()
        matched, dropped = await self._parked()
        async with self.system() as s:
            waiting = await s.queue.waiting()
            due = await s.deliveries.due(limit=self.batch)
        if waiting:
            await self.hints.wake("dispatch")
        for delivery in due:
            await self.hints.wake("deliver", str(delivery))
        return Swept(
            freed=freed,
            given_up=given_up,
            finished=finished,
            matched=matched,
            dropped=dropped,
            waiting=waiting,
            redelivered=len(due),
        )

    async def _give_up(self) -> int:
        """Unknown beyond the reconcile window: unconfirmed, and the credit comes back in the same transaction."""
        async with self.system() as s:
            now = self.clock.now()
            rows = await s.queue.give_up(older_than=now - self.reconcile, now=now, limit=self.batch)
            refunds: dict[TenantId, list[Entry]] = defaultdict(list)
            for row in rows:
                refunds[row.tenant_id].append(refunded(row.id, reason=Reason.NO_PROOF.value, now=now))
            for tenant, entries in sorted(refunds.items()):
                await s.accounts.book(tenant, *entries)
        return len(rows)

    async def _finish(self) -> int:
        """Runs whose last two chunks closed at the same time, or whose rows a receipt moved on."""
        async with self.system() as s:
            drained = await s.queue.drained(limit=self.batch)
        finished = 0
        for tenant, run_id in drained:
            async with self.work(tenant) as w:
                run = await w.ledger.run(run_id)
                if run is not None:
                    finished += await finish(w, run, now=self.clock.now())
        return finished

    async def _parked(self) -> tuple[int, int]:
        """Receipts that came before their message was known: applied now, or dropped after 72 h."""
        async with self.system() as s:
            now = self.clock.now()
            applied = await s.receipts.match_parked(now=now, limit=self.batch)
            await book_proofs(s, applied, now=now)
            dropped = await s.receipts.drop_parked(older_than=now - PARKED_FOR)
        return applied.changed + applied.duplicate, dropped
