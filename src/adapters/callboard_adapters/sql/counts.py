"""The rollup of the ledger: differences are collected while a transaction runs and written by one upsert at its end.

At the end, because every dispatcher and every batch of receipts of a run moves the same few counts: their rows are
then locked for the commit only, and always after message rows, runs and credit accounts (the one lock order).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from datetime import date
from typing import NamedTuple

from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncConnection

from callboard.ids import RunId, TenantId
from callboard_adapters.sql.batch import as_json, recordset


class Key(NamedTuple):
    """One count. ``day`` is ``tables.UNDATED`` before acceptance or failure; ``reason`` is empty for none."""

    run_id: RunId
    tenant_id: TenantId
    day: date
    state: str
    reason: str


class Counts:
    """What the open transaction has moved from one count to another."""

    def __init__(self) -> None:
        self._moved: Counter[Key] = Counter()

    def add(self, key: Key, n: int) -> None:
        """``n`` more rows (fewer, if negative) with this day, state and reason."""
        self._moved[key] += n

    def pending(self, tenant: TenantId, runs: Collection[RunId]) -> list[tuple[str, str, int]]:
        """State, reason and difference of what is not written yet."""
        return [
            (key.state, key.reason, n)
            for key, n in self._moved.items()
            if n and key.tenant_id == tenant and key.run_id in runs
        ]

    async def flush(self, connection: AsyncConnection, *, sqlite: bool) -> None:
        """Write what was collected; a count of zero stays as a row."""
        moved = sorted((key, n) for key, n in self._moved.items() if n)
        self._moved.clear()
        if not moved:
            return
        rows = [{**key._asdict(), "n": n} for key, n in moved]
        # sorted by key: two transactions lock the same counts in the same order
        await connection.execute(_SQLITE if sqlite else _POSTGRESQL, {"batch": as_json(rows, sqlite=sqlite)})


_COLUMNS = {"tenant_id": "uuid", "run_id": "uuid", "day": "date", "state": "text", "reason": "text", "n": "bigint"}


def _statement(*, sqlite: bool) -> str:
    return f"""
        INSERT INTO message_counts (tenant_id, run_id, day, state, reason, n)
        SELECT tenant_id, run_id, day, state, reason, n FROM {recordset(_COLUMNS, sqlite=sqlite)} WHERE true
        ON CONFLICT (run_id, day, state, reason) DO UPDATE SET n = message_counts.n + excluded.n
    """  # noqa: S608 - our own column names


_SQLITE = text(_statement(sqlite=True))
_POSTGRESQL = text(_statement(sqlite=False))
