"""The ledger's rows in memory: runs, chunks, one row per message, and the counts that move with them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from datetime import datetime

import attrs

from callboard.ids import ContactId, RunId, TenantId
from callboard.messages.model import Chunk, Reason, Run, RunState, State
from callboard_adapters.memory.journal import Journal, Rows


@attrs.frozen(kw_only=True)
class Row:
    """One message: who gets it and what became of it."""

    tenant_id: TenantId
    run_id: RunId
    seq: int
    contact_id: ContactId | None
    phone: str
    first_name: str | None
    last_name: str | None
    queued_at: datetime
    state: State = State.QUEUED
    reason: Reason | None = None
    provider_code: str | None = None
    provider_message_id: str | None = None
    attempt: int = 0
    credits: int = 1
    next_at: datetime | None = None
    sending_at: datetime | None = None
    accepted_at: datetime | None = None
    sent_at: datetime | None = None
    delivered_at: datetime | None = None
    read_at: datetime | None = None
    failed_at: datetime | None = None


@attrs.frozen(kw_only=True)
class ChunkRow:
    """A slice of a run. ``state`` is ``open``, ``closed`` or ``dead``; ``barren`` counts claims without progress."""

    tenant_id: TenantId
    run_id: RunId
    number: int
    first: int
    last: int
    due_at: datetime
    state: str = "open"
    lease_until: datetime | None = None
    worker: str | None = None
    claim: int = 0
    barren: int = 0

    def leased(self) -> Chunk:
        """What its holder sees."""
        return Chunk(
            run_id=self.run_id,
            tenant_id=self.tenant_id,
            number=self.number,
            first=self.first,
            last=self.last,
            claim=self.claim,
        )


class Book:
    """Rows are found by (run, seq), chunks by (run, number). ``counts`` is the rollup: (run, state, reason) → rows."""

    def __init__(self, journal: Journal) -> None:
        self.runs: Rows[RunId, Run] = Rows(journal)
        self.rounds: Rows[tuple[object, int], RunId] = Rows(journal)
        self.chunks: Rows[tuple[RunId, int], ChunkRow] = Rows(journal)
        self.unfinished: Rows[tuple[RunId, int], None] = Rows(journal)
        self.open_chunks: Rows[RunId, int] = Rows(journal)
        self.rows: Rows[tuple[RunId, int], Row] = Rows(journal)
        self.counts: Rows[tuple[RunId, State, Reason | None], int] = Rows(journal)
        self.unknown: Rows[tuple[RunId, int], None] = Rows(journal)
        self.by_provider_id: Rows[str, tuple[RunId, int]] = Rows(journal)

    def put(self, row: Row) -> None:
        """Insert or replace a message, and move its count in the same step."""
        key = (row.run_id, row.seq)
        before: Row | None = self.rows.get(key)
        if before is not None:
            self._count(before, -1)
        self._count(row, +1)
        self.rows.put(key, row)
        if row.state is State.UNKNOWN:
            self.unknown.put(key, None)
        elif before is not None and before.state is State.UNKNOWN:
            self.unknown.drop(key)
        if row.provider_message_id is not None and row.provider_message_id not in self.by_provider_id:
            self.by_provider_id.put(row.provider_message_id, key)

    def _count(self, row: Row, by: int) -> None:
        key = (row.run_id, row.state, row.reason)
        self.counts.put(key, self.counts.get(key, 0) + by)

    def slice(self, run: RunId, first: int, last: int) -> Iterator[Row]:
        """The rows ``first..last`` of a run."""
        return (self.rows[run, seq] for seq in range(first, last + 1))

    def of_run(self, run: Run) -> Iterator[Row]:
        """Every row of a run, by seq."""
        return self.slice(run.id, 1, run.recipients)

    def of_chunk(self, chunk: ChunkRow) -> Iterator[Row]:
        """Every row of a chunk, by seq."""
        return self.slice(chunk.run_id, chunk.first, chunk.last)

    def put_chunk(self, chunk: ChunkRow) -> None:
        """Insert or replace a chunk; closed ones are never looked at again."""
        key = (chunk.run_id, chunk.number)
        self.chunks.put(key, chunk)
        if chunk.state != "closed" and key not in self.unfinished:
            self.unfinished.put(key, None)
            self.open_chunks.put(chunk.run_id, self.open_chunks.get(chunk.run_id, 0) + 1)
        elif chunk.state == "closed" and self.unfinished.drop(key):
            self.open_chunks.put(chunk.run_id, self.open_chunks[chunk.run_id] - 1)

    def held(self, chunk: Chunk) -> ChunkRow | None:
        """The stored chunk while the holder of ``chunk`` still is the last one that claimed it."""
        stored: ChunkRow | None = self.chunks.get((chunk.run_id, chunk.number))
        if stored is None or stored.claim != chunk.claim or stored.lease_until is None:
            return None
        return stored

    def unfinished_chunks(self) -> list[ChunkRow]:
        """Chunks that are not closed."""
        return [self.chunks[key] for key in self.unfinished]

    def drained(self, run: Run) -> bool:
        """Open, and nothing of it is left to attempt."""
        return run.state is RunState.OPEN and not self.open_chunks.get(run.id, 0)

    def freeze(self, run: Run, rows: Iterable[Row], *, now: datetime, chunk: int) -> int:
        """Store the rows of a new run and cut them in chunks of ``chunk``; returns how many rows there are."""
        n = 0
        for n, row in enumerate(rows, start=1):  # noqa: B007 - the last number is the answer
            self.put(row)
        for number, first in enumerate(range(1, n + 1, chunk), start=1):
            self.put_chunk(
                ChunkRow(
                    tenant_id=run.tenant_id,
                    run_id=run.id,
                    number=number,
                    first=first,
                    last=min(first + chunk - 1, n),
                    due_at=now,
                )
            )
        self.runs.put(run.id, attrs.evolve(run, recipients=n))
        return n
