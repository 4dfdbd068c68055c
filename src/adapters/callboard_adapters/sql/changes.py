"""Batches of changes to the rows of one chunk, each one statement on PostgreSQL.

Rows are locked by number first (the CTE ``o``), which also tells what they were: the rollup needs it. SQLite has the
whole database locked by then, so there the rows are read, judged here and written by one UPDATE.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from sqlalchemy import RowMapping, text

from callboard.clock import local_date
from callboard.messages.model import Change, Chunk, State
from callboard_adapters.sql.batch import as_json, parameters, recordset, storable
from callboard_adapters.sql.counts import Key
from callboard_adapters.sql.scope import Scope
from callboard_adapters.sql.tables import UNDATED

_ANSWERABLE: Final = (State.SENDING.value, State.UNKNOWN.value)


async def mark(scope: Scope, chunk: Chunk, changes: Sequence[Change], *, now: datetime) -> frozenset[int]:
    """Queued rows take the gate's decision while the caller holds the chunk."""
    rows = [_row(change, was=change.attempt - (change.state is State.SENDING)) for change in changes]
    if not rows:
        return frozenset()
    values = _values(scope, chunk, rows, now=now)
    if scope.sqlite:
        if not await _held(scope, values, open_only=True):
            return frozenset()
        stored = await _stored(scope, values)
        done = [row for row in rows if _fits(row, stored, (State.QUEUED.value,))]
        return _counted(scope, chunk, await _write(scope, values, done, stored), now=now)
    moved = (await scope.connection.execute(_MARK, values)).mappings()
    return _counted(scope, chunk, moved, now=now)


async def settle(
    scope: Scope, chunk: Chunk, changes: Sequence[Change], *, now: datetime, remember: bool
) -> frozenset[int]:
    """Rows that wait for an answer take it; rows that a receipt moved on only learn the provider's id."""
    rows = [_row(change, was=change.attempt) for change in changes]
    if not rows:
        return frozenset()
    values = _values(scope, chunk, rows, now=now) | {"remember": remember}
    if scope.sqlite:
        answered = await _settle_sqlite(scope, values, rows, remember=remember)
        return _counted(scope, chunk, answered, now=now)
    moved = (await scope.connection.execute(_SETTLE, values)).mappings()
    return _counted(scope, chunk, moved, now=now)


def _row(change: Change, *, was: int) -> dict[str, object]:
    return {
        "seq": change.seq,
        "was": was,
        "attempt": change.attempt if change.burnt else change.attempt - 1,
        "state": change.state.value,
        "reason": change.reason.value,
        "next_at": change.next_at,
        "provider_message_id": storable(change.provider_message_id),
        "provider_code": storable(change.provider_code, at_most=80),
        "refund": change.refund,
    }


_COLUMNS: Final = {
    "seq": "int",
    "was": "int",
    "attempt": "int",
    "state": "text",
    "reason": "text",
    "next_at": "timestamptz",
    "provider_message_id": "text",
    "provider_code": "text",
    "refund": "boolean",
}


def _values(scope: Scope, chunk: Chunk, rows: Sequence[Mapping[str, Any]], *, now: datetime) -> dict[str, Any]:
    values = parameters(
        sqlite=scope.sqlite,
        tenant=scope.tenant_id,
        run=chunk.run_id,
        number=chunk.number,
        claim=chunk.claim,
        now=now,
    )
    return values | {"seqs": [row["seq"] for row in rows], "batch": as_json(rows, sqlite=scope.sqlite)}


def _counted(
    scope: Scope, chunk: Chunk, moved: Iterable[RowMapping | dict[str, Any]], *, now: datetime
) -> frozenset[int]:
    today = local_date(now, scope.timezone)
    seqs = []
    for row in moved:
        dated = row["state"] in (State.ACCEPTED.value, State.FAILED.value)
        day = today if dated else UNDATED
        scope.counts.add(Key(chunk.run_id, scope.tenant_id, UNDATED, row["old_state"], row["old_reason"]), -1)
        scope.counts.add(Key(chunk.run_id, scope.tenant_id, day, row["state"], row["reason"]), 1)
        seqs.append(row["seq"])
    return frozenset(seqs)


_SET: Final = """
    state = i.state, reason = i.reason, attempt = i.attempt, next_at = i.next_at, provider_code = i.provider_code,
    provider_message_id = coalesce(i.provider_message_id, m.provider_message_id),
    credits = CASE WHEN i.refund THEN 0 ELSE m.credits END,
    sending_at = CASE WHEN i.state = 'sending' THEN :now ELSE m.sending_at END,
    accepted_at = CASE WHEN i.state = 'accepted' THEN :now ELSE m.accepted_at END,
    failed_at = CASE WHEN i.state = 'failed' THEN :now ELSE m.failed_at END
"""

# --- PostgreSQL ---------------------------------------------------------------------------------------------------

_MINE: Final = "m.tenant_id = :tenant AND m.run_id = :run"
_HELD: Final = """
    held AS (
        SELECT 1 FROM chunks
        WHERE tenant_id = :tenant AND run_id = :run AND number = :number AND claim = :claim AND worker IS NOT NULL
        FOR UPDATE
    )
"""
_CTES: Final = f"""
    i AS MATERIALIZED (SELECT * FROM {recordset(_COLUMNS, sqlite=False)}),
    o AS MATERIALIZED (
        SELECT m.seq, m.state, coalesce(m.reason, '') AS reason FROM messages AS m
        WHERE {_MINE} AND m.seq = ANY (CAST(:seqs AS int[]))
        ORDER BY m.seq
        FOR UPDATE
    )
"""  # noqa: S608 - our own words
# the numbers once more: whatever the planner thinks of the table's size, it reads no more than these rows
_JOINED: Final = (
    f"FROM i JOIN o ON o.seq = i.seq WHERE {_MINE} AND m.seq = i.seq AND m.seq = ANY (CAST(:seqs AS int[]))"
)
_OUTCOME: Final = "m.seq, m.state, m.reason, o.state AS old_state, o.reason AS old_reason"

_MARK = text(f"""
    WITH {_HELD.replace("FOR UPDATE", "AND state = 'open' FOR UPDATE")}, {_CTES}
    UPDATE messages AS m SET {_SET} {_JOINED}
        AND m.attempt = i.was AND m.state = 'queued' AND EXISTS (SELECT 1 FROM held)
    RETURNING {_OUTCOME}
""")  # noqa: S608 - our own words
_SETTLE = text(f"""
    WITH {_HELD}, {_CTES},
    moved AS (
        UPDATE messages AS m SET {_SET} {_JOINED}
            AND m.attempt = i.was AND m.state IN ('sending', 'unknown')
            AND (i.state <> 'queued' OR EXISTS (SELECT 1 FROM held))
        RETURNING {_OUTCOME}, m.phone
    ),
    learned AS (
        UPDATE messages AS m SET provider_message_id = i.provider_message_id {_JOINED}
            AND m.attempt = i.was AND o.state NOT IN ('sending', 'unknown')
            AND m.provider_message_id IS NULL AND i.provider_message_id IS NOT NULL
        RETURNING i.state, m.phone
    ),
    touched AS (
        INSERT INTO touches (tenant_id, phone, at)
        SELECT :tenant, told.phone, :now
        FROM (SELECT state, phone FROM moved UNION ALL SELECT state, phone FROM learned) AS told
        WHERE :remember AND told.state = 'accepted'
    )
    SELECT seq, state, reason, old_state, old_reason FROM moved
""")  # noqa: S608 - our own words

# --- SQLite -------------------------------------------------------------------------------------------------------

_HELD_SQLITE = text("""
    SELECT state FROM chunks
    WHERE tenant_id = :tenant AND run_id = :run AND number = :number AND claim = :claim AND worker IS NOT NULL
""")
_STORED_SQLITE = text("""
    SELECT seq, state, coalesce(reason, '') AS reason, attempt, provider_message_id, phone FROM messages
    WHERE tenant_id = :tenant AND run_id = :run
        AND seq IN (SELECT json_extract(value, '$.seq') FROM json_each(:batch))
""")
# joined by the run as well: given as a constant it would let SQLite read the whole run for each row of the batch
_UPDATE_SQLITE = text(f"""
    UPDATE messages AS m SET {_SET}
    FROM {recordset({**_COLUMNS, "run_id": "uuid"}, sqlite=True)} WHERE m.run_id = i.run_id AND m.seq = i.seq
""")  # noqa: S608 - our own words
_LEARN_SQLITE = text("UPDATE messages SET provider_message_id = :id WHERE run_id = :run AND seq = :seq")
_TOUCH_SQLITE = text("INSERT INTO touches (tenant_id, phone, at) VALUES (:tenant, :phone, :now)")


async def _held(scope: Scope, values: Mapping[str, Any], *, open_only: bool) -> bool:
    state = (await scope.connection.execute(_HELD_SQLITE, values)).scalar_one_or_none()
    return state == "open" if open_only else state is not None


async def _stored(scope: Scope, values: Mapping[str, Any]) -> dict[int, Mapping[str, Any]]:
    found = await scope.connection.execute(_STORED_SQLITE, values)
    return {row["seq"]: row for row in found.mappings()}  # type: ignore[misc]


def _fits(row: Mapping[str, Any], stored: Mapping[int, Mapping[str, Any]], states: Sequence[str]) -> bool:
    before = stored.get(row["seq"])
    return before is not None and before["attempt"] == row["was"] and before["state"] in states


async def _write(
    scope: Scope, values: dict[str, Any], rows: Sequence[dict[str, Any]], stored: Mapping[int, Mapping[str, Any]]
) -> list[dict[str, Any]]:
    if rows:
        batch = as_json(({**row, "run_id": values["run"]} for row in rows), sqlite=True)
        await scope.connection.execute(_UPDATE_SQLITE, values | {"batch": batch})
    return [
        {**row, "old_state": stored[row["seq"]]["state"], "old_reason": stored[row["seq"]]["reason"]} for row in rows
    ]


async def _settle_sqlite(
    scope: Scope, values: dict[str, Any], rows: Sequence[dict[str, Any]], *, remember: bool
) -> list[dict[str, Any]]:
    stored = await _stored(scope, values)
    held = any(row["state"] == State.QUEUED.value for row in rows) and await _held(scope, values, open_only=False)
    answered = [row for row in rows if _fits(row, stored, _ANSWERABLE) and (row["state"] != State.QUEUED.value or held)]
    learned = [
        row
        for row in rows
        if (before := stored.get(row["seq"])) is not None
        and before["attempt"] == row["was"]
        and before["state"] not in _ANSWERABLE
        and before["provider_message_id"] is None
        and row["provider_message_id"] is not None
    ]
    moved = await _write(scope, values, answered, stored)
    for row in learned:
        known = {"run": values["run"], "seq": row["seq"], "id": row["provider_message_id"]}
        await scope.connection.execute(_LEARN_SQLITE, known)
    accepted = [row for row in (*answered, *learned) if row["state"] == State.ACCEPTED.value]
    if remember and accepted:
        touched = [{**values, "phone": stored[row["seq"]]["phone"]} for row in accepted]
        await scope.connection.execute(_TOUCH_SQLITE, touched)
    return moved
