"""Chunks of all tenants: who may send which slice, and what happens when nobody comes back."""

from __future__ import annotations

from datetime import datetime, timedelta

import attrs

from callboard.ids import MessageId, RunId, TenantId
from callboard.messages.model import Chunk, Reason, RunState, State
from callboard.messages.ports import Refundable
from callboard_adapters.memory.book import ChunkRow
from callboard_adapters.memory.scope import Repository, Scope, port


class MemoryQueue(Repository):
    """Leases by the store's clock."""

    name = "queue"

    def __init__(self, scope: Scope) -> None:
        super().__init__(scope)
        self._book = scope.state.book

    @port
    def claim(self, *, worker: str, lease: timedelta, max_claims: int) -> Chunk | None:
        now = self._scope.now()
        for chunk in self._claimable(now):
            if chunk.barren >= max_claims:
                self._book.put_chunk(attrs.evolve(chunk, state="dead"))
                continue
            taken = attrs.evolve(
                chunk, claim=chunk.claim + 1, barren=chunk.barren + 1, lease_until=now + lease, worker=worker
            )
            self._book.put_chunk(taken)
            self._lose_sending(taken)  # rows its last holder left behind when he gave it back
            return taken.leased()
        return None

    @port
    def expire(self, *, limit: int) -> int:
        now = self._scope.now()
        over = [c for c in self._book.unfinished_chunks() if c.lease_until is not None and c.lease_until <= now]
        for chunk in over[:limit]:
            self._lose_sending(chunk)
            self._book.put_chunk(attrs.evolve(chunk, lease_until=None, worker=None, due_at=now))
        return len(over[:limit])

    @port
    def give_up(self, *, older_than: datetime, now: datetime, limit: int) -> list[Refundable]:
        del now  # no column of ours says when a row was given up
        rows = [self._book.rows[key] for key in self._book.unknown]
        old = [row for row in rows if row.sending_at is not None and row.sending_at < older_than]
        for row in old[:limit]:
            self._book.put(attrs.evolve(row, state=State.UNCONFIRMED, reason=Reason.NO_PROOF, credits=0))
        return [Refundable(tenant_id=row.tenant_id, id=MessageId(row.run_id, row.seq)) for row in old[:limit]]

    @port
    def drained(self, *, limit: int) -> list[tuple[TenantId, RunId]]:
        return [(run.tenant_id, run.id) for run in self._book.runs.values() if self._book.drained(run)][:limit]

    @port
    def waiting(self) -> int:
        return len(self._claimable(self._scope.now()))

    @port
    def dead(self, *, limit: int = 100) -> list[Chunk]:
        return [chunk.leased() for chunk in self._book.unfinished_chunks() if chunk.state == "dead"][:limit]

    @port
    def revive(self, run: RunId, number: int) -> bool:
        chunk = self._book.chunks.get((run, number))
        if chunk is None or chunk.state != "dead":
            return False
        self._book.put_chunk(attrs.evolve(chunk, state="open", barren=0, due_at=self._scope.now()))
        return True

    def _lose_sending(self, chunk: ChunkRow) -> None:
        """Nobody will tell what became of these rows."""
        for row in self._book.of_chunk(chunk):
            if row.state is State.SENDING:
                self._book.put(attrs.evolve(row, state=State.UNKNOWN, reason=Reason.WORKER_LOST))

    def _claimable(self, now: datetime) -> list[ChunkRow]:
        """Open, due and nobody's chunks of open runs; the most urgent first, then the oldest."""
        found = []
        for chunk in self._book.unfinished_chunks():
            run = self._book.runs[chunk.run_id]
            free = chunk.state == "open" and chunk.lease_until is None and chunk.due_at <= now
            if free and run.state is RunState.OPEN:
                found.append(((run.priority.rank, run.created_at, run.id, chunk.number), chunk))
        return [chunk for _, chunk in sorted(found, key=lambda pair: pair[0])]
